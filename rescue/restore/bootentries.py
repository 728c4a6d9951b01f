"""Boot entries in the firmware: which are there, and those that a restored disk needs made.

Entries are read as the firmware keeps them (UEFI 2.10, 3.1.3 and 10.3) and made by efibootmgr. One
that already leads to the loader is left alone, and none is ever removed.
"""

from __future__ import annotations

import os
import re
import struct
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.devices.model import Disk
from rescue.restore.esp import Loader, efi

VARIABLES = Path("/sys/firmware/efi/efivars")
_ENTRY = re.compile(r"Boot[0-9A-F]{4}-8be4df61-93ca-11d2-aa0d-00e098032b8c")
_PREFIX = struct.Struct("<IIH")  # the variable's attributes; the option's, and its paths' length
_NODE = struct.Struct("<BBH")
_HARD_DRIVE = struct.Struct("<IQQ16sBB")  # partition, start, size, signature, format, kind
_MEDIA, _IS_DRIVE, _IS_FILE, _END = 4, 1, 4, 0x7F
_GUID_SIGNATURE = 2
# Firmware keeps its variables in some hundred KiB.
_MOST = 65536
_ATTACHED = ("usb", "loop", "file", "nbd", "iscsi", "firewire")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a boot entry leads: a partition by its GUID, and a path in it."""

    guid: str
    partition: int
    path: str

    def same(self, other: Target) -> bool:
        """Whether firmware that is led to either finds the same file; it knows no letter case."""
        mine = (self.guid.lower(), self.partition, self.path.casefold())
        return mine == (other.guid.lower(), other.partition, other.path.casefold())


def parse(variable: bytes) -> Target | None:
    """Where the entry in a variable leads; None: not to a file on a partition with a GUID."""
    if not _PREFIX.size <= len(variable) <= _MOST:
        return None
    _, _, length = _PREFIX.unpack_from(variable)
    at = _PREFIX.size
    while at + 1 < len(variable) and variable[at : at + 2] != b"\0\0":
        at += 2
    at += 2
    end = min(len(variable), at + length)
    guid, number, path = "", 0, ""
    while at + _NODE.size <= end:
        kind, sub, size = _NODE.unpack_from(variable, at)
        if size < _NODE.size or kind == _END:
            break
        body = variable[at + _NODE.size : min(at + size, end)]
        if (kind, sub) == (_MEDIA, _IS_DRIVE) and len(body) >= _HARD_DRIVE.size:
            number, _, _, raw, _, sort = _HARD_DRIVE.unpack_from(body)
            guid = str(uuid.UUID(bytes_le=raw)) if sort == _GUID_SIGNATURE else ""
        elif (kind, sub) == (_MEDIA, _IS_FILE):
            path += body.decode("utf-16-le", "replace").split("\0", 1)[0]
        at += size
    return Target(guid, number, path) if guid and path else None


def read(folder: Path = VARIABLES) -> list[Target]:
    """Where every entry of this machine leads; one that cannot be read is passed over."""
    found = []
    try:
        files = sorted(file for file in folder.iterdir() if _ENTRY.fullmatch(file.name))
    except OSError:
        return []
    for file in files:
        try:
            target = parse(file.read_bytes())
        except OSError:
            continue
        if target is not None:
            found.append(target)
    return found


def why_not(disk: Disk | None, folder: Path = VARIABLES) -> str:
    """Why no entry can be made for what is restored to this disk; empty: it can.

    An entry belongs into the machine that the disk stays in, which is not the one that writes a
    file or a disk on a cable.
    """
    if disk is None or disk.kind != "block" or disk.node_type == "loop":
        return "the target is no disk of this machine"
    if disk.removable or disk.transport in _ATTACHED:
        return "the target is not built into this machine"
    if not folder.is_dir():
        return "this system was not started by UEFI"
    try:
        if os.statvfs(folder).f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK):
            return "the firmware's variables cannot be written here"
        if not any(folder.iterdir()):
            return "the firmware shows no variables"
    except OSError:
        return "the firmware's variables cannot be read"
    if process.find("efibootmgr") is None:
        return "the program efibootmgr is not installed"
    return ""


def missing(
    loaders: Iterable[Loader], guid: str, partition: int, there: Sequence[Target]
) -> list[Loader]:
    """The loaders that no entry leads to. Pure."""
    return [
        loader
        for loader in loaders
        if not any(one.same(Target(guid, partition, efi(loader.path))) for one in there)
    ]


def make(loaders: Sequence[Loader], disk: Path, guid: str, partition: int) -> list[str]:
    """Make the entries that are missing; what was done, in words. The first loader comes first.

    A firmware that takes none is told and no more: the disk is restored all the same.
    """
    wanted = missing(loaders, guid, partition, read())
    words = [
        f"the firmware has an entry for {efi(loader.path)} already"
        for loader in loaders
        if loader not in wanted
    ]
    # Each new entry is put in front of the others.
    for loader in reversed(wanted):
        command = ["efibootmgr", "--quiet", "--create", "--disk", str(disk)]
        command += ["--part", str(partition), "--label", loader.label]
        command += ["--loader", efi(loader.path)]
        try:
            process.run(command, timeout=60)
        except ProgramFailed as error:
            words.append(f"no boot entry was made for {efi(loader.path)}: {error.message}")
            continue
        if missing([loader], guid, partition, read()):
            words.append(f"no boot entry was made for {efi(loader.path)}: it is not there")
        else:
            words.append(f"boot entry {loader.label!r} made for {efi(loader.path)}")
    return words
