"""Filesystems that could hold images, and mounting exactly the one that was asked for.

On the rescue media the kernel refuses every write to every disk. A place that must be written
(a capture, a log) is set writable for as long as it is mounted, and read-only again afterwards.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rescue.core import process
from rescue.core.errors import DiskTrouble, ProgramFailed, UsageError

_UDEV = Path("/run/udev/data")
MOUNT_ROOT = Path("/run/rescue/places")
# Without NAME lsblk prints a flat list, and nothing says which disk a partition lies on.
_COLUMNS = "NAME,PATH,TYPE,SIZE,FSTYPE,LABEL,PARTLABEL,UUID,PARTUUID,MOUNTPOINTS"
_FLAGS = "nodev,nosuid,noexec"
_TRIES = 5
# These hold parts of something else; they cannot be mounted themselves.
_NOT_MOUNTABLE = frozenset(
    {"", "swap", "crypto_LUKS", "LVM2_member", "linux_raid_member", "BitLocker", "zfs_member"}
)
# Read-only is not enough: without these the kernel replays a journal, which writes to the disk.
_NO_REPLAY = {
    "ext3": "noload",
    "ext4": "noload",
    "xfs": "norecovery",
    "btrfs": "rescue=nologreplay",
}


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A node that holds something, as lsblk tells it.

    Attributes:
        node: its device node.
        disk: the whole disk it lies on (the node itself when it covers the disk).
        size: bytes.
        kind: "ext4", "ntfs", "swap", … or empty.
        label: of the filesystem.
        partition_label: of the GPT entry.
        mounted: where, or None.
        start: byte of the disk at which a partition begins; None for anything else.
    """

    node: Path
    disk: Path
    size: int
    kind: str
    label: str
    partition_label: str
    uuid: str
    mounted: Path | None
    start: int | None = None

    @property
    def mountable(self) -> bool:
        """Whether it can hold files."""
        return self.kind not in _NOT_MOUNTABLE


@dataclass(frozen=True, slots=True)
class Place:
    """A mounted filesystem."""

    filesystem: Filesystem
    root: Path
    writable: bool

    def file(self, path: str) -> Path:
        """The file at ``path`` of this filesystem.

        Raises:
            UsageError: the path leads out of the filesystem.
        """
        joined = Path(os.path.normpath(self.root / path.lstrip("/")))
        if not joined.is_relative_to(self.root) or ".." in Path(path).parts:
            raise UsageError(f"the path {path!r} leads out of the filesystem")
        return joined


def list_filesystems() -> tuple[Filesystem, ...]:
    """Every partition or disk with something on it, in the kernel's order.

    Raises:
        ProgramFailed: lsblk is missing or failed.
    """
    nodes = parse_lsblk(process.run(["lsblk", "--json", "--bytes", "--output", _COLUMNS]).text)
    if not _UDEV.is_dir() and nodes:
        # lsblk takes types and labels from udev; a system without it is asked node by node, because
        # blkid stops at the first one that it cannot read.
        command = ["blkid", "--probe", "--output", "export"]
        nodes = tuple(
            add_blkid(one, process.run([*command, one.node], check=False, timeout=60).text)
            for one in nodes
        )
    return without_bare_disks(tuple(replace(one, start=_start(one.node)) for one in nodes))


def _start(node: Path, folder: Path = Path("/sys/class/block")) -> int | None:
    """Where a partition begins, as the kernel tells it in sectors of 512 bytes, always."""
    try:
        return int((folder / node.name / "start").read_text()) * 512
    except (OSError, ValueError):
        return None


def without_bare_disks(nodes: tuple[Filesystem, ...]) -> tuple[Filesystem, ...]:
    """Everything but disks that hold no filesystem themselves: their partitions tell of them."""
    return tuple(one for one in nodes if one.kind or one.node != one.disk)


def add_blkid(node: Filesystem, text: str) -> Filesystem:
    """A node with what ``blkid --output export`` printed of it; pure."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return replace(
        node,
        kind=node.kind or pairs.get("TYPE", ""),
        label=node.label or _unquote(pairs.get("LABEL", "")),
        partition_label=node.partition_label or _unquote(pairs.get("PART_ENTRY_NAME", "")),
        uuid=node.uuid or pairs.get("UUID", ""),
    )


def _unquote(value: str) -> str:
    """blkid writes spaces as ``\\ `` or ``\\x20`` in this form."""
    plain = re.sub(r"\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), value)
    return re.sub(r"\\(.)", r"\1", plain)


def parse_lsblk(text: str) -> tuple[Filesystem, ...]:
    """Every node that lsblk printed, as values; pure.

    Raises:
        DiskTrouble: the text is not what lsblk prints.
    """
    found: dict[Path, Filesystem] = {}
    try:
        for node in json.loads(text)["blockdevices"]:
            for filesystem in _walk(node, Path(str(node["path"]))):
                found.setdefault(filesystem.node, filesystem)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DiskTrouble(f"lsblk printed something unexpected: {error}") from error
    return tuple(found.values())


def _walk(node: dict[str, Any], disk: Path) -> Iterator[Filesystem]:
    points = [point for point in node.get("mountpoints") or [] if point and point != "[SWAP]"]
    if node.get("type") not in ("rom",) and node.get("size"):
        yield Filesystem(
            node=Path(str(node["path"])),
            disk=disk,
            size=int(node["size"] or 0),
            kind=str(node.get("fstype") or ""),
            label=str(node.get("label") or ""),
            partition_label=str(node.get("partlabel") or ""),
            uuid=str(node.get("uuid") or ""),
            mounted=Path(points[0]) if points else None,
        )
    for child in node.get("children") or []:
        yield from _walk(child, disk)


def by_label(label: str, filesystems: tuple[Filesystem, ...]) -> Filesystem:
    """The one filesystem with this label; a partition's name counts when no filesystem has it.

    Raises:
        DiskTrouble: there is none, or more than one.
    """
    matches = [one for one in filesystems if one.label == label]
    matches = matches or [one for one in filesystems if one.partition_label == label]
    if not matches:
        raise DiskTrouble(
            f"no filesystem or partition has the label {label!r}",
            hint="is the disk plugged in? rescue disks shows the labels",
        )
    if len(matches) > 1:
        nodes = ", ".join(str(one.node) for one in matches)
        raise DiskTrouble(
            f"the label {label!r} is not clear: {nodes}",
            hint="unplug all but one of them, or change a label",
        )
    return matches[0]


def mount(filesystem: Filesystem, root: Path, *, writable: bool) -> None:
    """Mount a filesystem on a folder that is there; read-only means that nothing is replayed.

    Raises:
        DiskTrouble: it cannot be mounted, or not for writing.
    """
    tries = [f"rw,{_FLAGS}"] if writable else [f"ro,{_FLAGS}"]
    if not writable and filesystem.kind in _NO_REPLAY:
        tries.insert(0, f"ro,{_FLAGS},{_NO_REPLAY[filesystem.kind]}")
    last = ""
    for options in tries:
        try:
            done = process.run(
                ["mount", "--options", options, filesystem.node, root], check=False, timeout=120
            )
        except ProgramFailed as error:
            raise DiskTrouble(f"cannot mount {filesystem.node}: {error.message}") from error
        if done.status == 0:
            if writable and not os.access(root, os.W_OK):
                unmount(root)
                raise DiskTrouble(
                    f"cannot mount {filesystem.node}: it can only be read",
                    hint="check its filesystem, or use another disk",
                )
            return
        words = done.stderr.decode(errors="replace").strip().splitlines()
        last = words[0].removeprefix("mount: ") if words else f"status {done.status}"
    raise DiskTrouble(
        f"cannot mount {filesystem.node}: {last.rstrip('.')}",
        hint="check its filesystem, or use another disk",
    )


def unmount(root: Path) -> None:
    """Unmount a folder and remove it; whoever stands in it keeps it until they leave."""
    for _ in range(_TRIES):
        done = process.run(["umount", root], check=False)
        if done.status == 0:
            break
        time.sleep(0.2)  # somebody who only looked (lsblk, a search) is gone at once
    else:
        # Somebody stands in it: it goes when they leave, and nothing waits for them.
        process.run(["umount", "--lazy", root], check=False)
    try:
        root.rmdir()
    except OSError:
        return


def make_writable(filesystem: Filesystem) -> list[Path]:
    """Let the kernel accept writes to the node and its disk; the nodes that refused them before."""
    changed: list[Path] = []
    for node in dict.fromkeys((filesystem.disk, filesystem.node)):
        if process.run(["blockdev", "--getro", node]).text.strip() == "1":
            process.run(["blockdev", "--setrw", node])
            changed.append(node)
    return changed


def make_read_only(nodes: Sequence[Path]) -> None:
    """Forbid writes again; a disk that was pulled out is no failure."""
    for node in reversed(nodes):
        process.run(["blockdev", "--setro", node], check=False)
