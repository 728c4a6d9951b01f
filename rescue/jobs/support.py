"""A support bundle: what somebody who helps needs to know, and no secret.

Hardware, disks, the kernel's words, the medium, and every task with its command, log and result.
Passphrases and keys are nowhere in these: they are never arguments and never logged. Values on the
kernel line that look like secrets are blacked out all the same, because a person may have put one
there.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from rescue import __version__
from rescue.core import process
from rescue.core.errors import RescueError, UsageError, from_os_error
from rescue.jobs import describe, tasks
from rescue.jobs.places import list_filesystems

_MAX = 2 << 20
_SECRET = re.compile(
    r"(?i)\b([\w.-]*(?:pass|secret|token|key|psk|pwd)[\w.-]*)([=:]\s*)(\"[^\"]*\"|\S+)"
)
_HASH = re.compile(r"rescue-secret-\S+")
_COMMANDS = {
    "lsblk.txt": ["lsblk", "--output", "NAME,TYPE,SIZE,RO,FSTYPE,LABEL,MODEL,SERIAL,TRAN"],
    "mounts.txt": ["findmnt", "--real"],
    "kernel.txt": ["dmesg"],
    "network.txt": ["ip", "-brief", "address"],
    "units.txt": ["systemctl", "list-units", "--failed", "--no-legend", "--plain"],
    "pci.txt": ["lspci"],
    "memory.txt": ["free", "-h"],
}
_FILES = {
    "kernel-line.txt": Path("/proc/cmdline"),
    "processor.txt": Path("/proc/cpuinfo"),
    "medium.txt": Path("/run/live/medium/.disk/info"),
    "packages.txt": Path("/run/live/medium/live/packages.txt"),
}
_DMI = ("sys_vendor", "product_name", "product_version", "bios_vendor", "bios_version", "bios_date")


def without_secrets(text: str) -> str:
    """``text`` with what looks like a secret blacked out."""
    return _HASH.sub("rescue-secret-(removed)", _SECRET.sub(r"\1\2(removed)", text))


def gather() -> Iterator[tuple[str, str]]:
    """Name and text of everything in the bundle; what cannot be had says why."""
    yield "about.txt", f"rescue {__version__}\nmade {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n"
    yield "machine.txt", "".join(f"{name}: {_read(_dmi(name))}\n" for name in _DMI)
    for name, path in _FILES.items():
        yield name, _read(path)
    for name, command in _COMMANDS.items():
        yield name, _printed(command)
    yield "disks.json", _disks()
    for task in tasks.listing():
        for file in ("task.json", "state.json", "log.txt", "output.txt", "end.json"):
            yield f"tasks/{task.id}/{file}", _read(task.folder / file)


def _dmi(name: str) -> Path:
    return Path("/sys/class/dmi/id") / name


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX).decode(errors="replace")
    except OSError as error:
        return f"({(error.strerror or str(error)).lower()})"


def _printed(command: list[str]) -> str:
    try:
        done = process.run(command, check=False, timeout=30)
    except RescueError as error:
        return f"({error.message})\n"
    return (done.stdout[-_MAX:] + done.stderr[-4096:]).decode(errors="replace")


def _disks() -> str:
    from rescue.devices.discover import list_disks

    try:
        filesystems = list_filesystems()
        disks = [describe.disk_json(d, describe.volumes_of(d, filesystems)) for d in list_disks()]
    except RescueError as error:
        return f"({error.message})\n"
    return json.dumps(disks, indent=1)


def save(path: Path) -> list[str]:
    """Write the bundle to a new ``.tar.gz``; the names of what is in it.

    Raises:
        UsageError: there is something at ``path``.
        DiskTrouble: it cannot be written.
    """
    top = path.name.removesuffix(".gz").removesuffix(".tar")
    names = []
    try:
        with path.open("xb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, text in gather():
                data = without_secrets(text).encode(errors="replace")
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size, member.mtime, member.mode = len(data), int(time.time()), 0o644
                tar.addfile(member, io.BytesIO(data))
                names.append(name)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", hint="choose another name") from error
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    return names
