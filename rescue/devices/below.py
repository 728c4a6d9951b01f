"""What a file or device rests on: file -> filesystem -> partition, volume, loop -> disk -> ….

Used so that a restore never overwrites the disk that holds the image it reads, however many layers
lie between. Things are named by tuples: ("disk", major, minor) and ("file", device, inode).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rescue.devices.discover import mount_by_id

Node = tuple[str, int, int]


def node_of(path: Path) -> Node:
    """The device or file that ``path`` names.

    Raises:
        OSError: it is missing.
    """
    status = path.stat()
    if stat.S_ISBLK(status.st_mode):
        return "disk", os.major(status.st_rdev), os.minor(status.st_rdev)
    return "file", status.st_dev, status.st_ino


def everything_below(path: Path) -> frozenset[Node]:
    """``path`` itself and all it rests on, down to whole disks.

    A missing file counts as the folder it would be in. Unknown layers (network filesystems, memory)
    rest on nothing here.
    """
    existing = path.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    found: set[Node] = set()
    files, devices = [existing], list[Node]()
    while files or devices:
        if files:
            file = files.pop()
            node = node_of(file)
            if node[0] == "disk":
                devices.append(node)
            elif node not in found:
                found.add(node)
                devices += _devices_of_filesystem(file, node[1])
            continue
        node = devices.pop()
        if node in found:
            continue
        found.add(node)
        devices += _under_device(node[1], node[2])
        behind = _backing(_system(node[1], node[2]))
        if behind is not None:
            files.append(behind)
    return frozenset(found)


def overwritten_with(path: Path) -> frozenset[Node]:
    """What a write to ``path`` changes: itself, and for a loop device the file behind it."""
    found = {node_of(path)}
    waiting = list(found)
    while waiting:
        kind, major, minor = waiting.pop()
        behind = _backing(_system(major, minor)) if kind == "disk" else None
        node = node_of(behind) if behind is not None else None
        if node is not None and node not in found:
            found.add(node)
            waiting.append(node)
    return frozenset(found)


def _system(major: int, minor: int) -> Path:
    return Path(f"/sys/dev/block/{major}:{minor}")


def _number(path: Path) -> Node | None:
    """The node whose number is in a ``dev`` file of /sys."""
    try:
        major, minor = path.read_text().strip().split(":")
        return "disk", int(major), int(minor)
    except (OSError, ValueError):
        return None


def _devices_of_filesystem(path: Path, device: int) -> Iterator[Node]:
    """Devices under the filesystem that holds ``path``, whose ``st_dev`` is ``device``."""
    major, minor = os.major(device), os.minor(device)
    if _system(major, minor).exists():
        yield "disk", major, minor
        return
    # btrfs gives each subvolume a number of its own, which no table knows; the mount is known.
    mounted = _mount_of(path)
    if mounted is None:
        return
    named = Path(mounted[2])
    if not named.is_absolute() or not named.is_block_device():
        return
    first = node_of(named)
    yield first
    for filesystem in Path("/sys/fs/btrfs").glob("*/devices"):
        members = [node for child in filesystem.iterdir() if (node := _number(child / "dev"))]
        if first in members:
            yield from members


def _mount_of(path: Path) -> tuple[str, str, str] | None:
    """The line of the table of mounts for the mount that ``path`` lies on. proc(5), fdinfo."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        information = Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)
    for line in information.splitlines():
        key, _, value = line.partition(":")
        if key == "mnt_id":
            return mount_by_id(value.strip())
    return None


def _under_device(major: int, minor: int) -> Iterator[Node]:
    """The disk of a partition, the members of a dm or md device."""
    system = _system(major, minor)
    if (system / "partition").exists():
        node = _number(system.resolve().parent / "dev")
        if node:
            yield node
    try:
        slaves = list((system / "slaves").iterdir())
    except OSError:
        slaves = []
    for slave in slaves:
        node = _number(slave / "dev")
        if node:
            yield node


def _backing(system: Path) -> Path | None:
    """The file or device behind a loop device; None for other devices and removed files."""
    try:
        path = Path((system / "loop" / "backing_file").read_text().rstrip("\n"))
    except OSError:
        return None
    return path if path.exists() else None
