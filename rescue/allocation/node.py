"""A path at which exactly one region of a disk can be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.core.errors import DiskTrouble, ProgramFailed
from rescue.core.extent import Extent
from rescue.devices import loop
from rescue.devices.model import Disk

_SYSTEM = Path("/sys/class/block")
_MOUNTS = Path("/proc/self/mountinfo")


@contextmanager
def own_device(disk: Disk, region: Extent) -> Iterator[Path]:
    """A path at which exactly ``region`` can be read: file, disk, partition node, or loop device.

    A loop device is read-only and is detached at the end, whatever happens. It is also what is
    taken where the node is mounted to be read, as the restore shell does for its look at each
    filesystem: partclone refuses a mounted node, and nothing can change below such a mount.

    Raises:
        ProgramFailed: a loop device is needed and cannot be had (not root).
    """
    node = existing_node(disk, region)
    if node is not None and not (os.geteuid() == 0 and is_only_read(node)):
        yield node
        return
    if os.geteuid() != 0:
        raise ProgramFailed("reading a filesystem inside a disk needs root")
    try:
        with loop.read_only_part(disk.path, region) as device:
            yield device
    except DiskTrouble as error:
        raise ProgramFailed(error.message, hint=error.hint) from error


def is_only_read(node: Path) -> bool:
    """Whether a block device is mounted, and nowhere so that it can be written."""
    try:
        status = node.stat()
        table = _MOUNTS.read_text(errors="replace")
    except OSError:
        return False
    if not stat.S_ISBLK(status.st_mode):
        return False
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return mounted_read_only(table, number, str(node.resolve()))


def mounted_read_only(table: str, number: str, name: str) -> bool:
    """The same of /proc/self/mountinfo (proc(5)); pure.

    What counts are the filesystem's own options, the last word: a mount may be read-only where
    another one of the same filesystem is not. btrfs has numbers of its own, and the name.
    """
    found = []
    for line in table.splitlines():
        words = line.split(" ")
        if "-" not in words[6:] or len(words) <= (dash := words.index("-", 6)) + 3:
            continue
        if words[2] == number or words[dash + 2] == name:
            found.append("ro" in words[dash + 3].split(","))
    return bool(found) and all(found)


def existing_node(disk: Disk, region: Extent) -> Path | None:
    """The file, disk or partition node that is exactly ``region`` already, or None."""
    if region.start == 0 and region.length == disk.size:
        return disk.path
    return partition_node(disk, region) if disk.kind == "block" else None


def partition_node(disk: Disk, region: Extent) -> Path | None:
    """The kernel's node of the partition that is exactly ``region``, or None."""
    system = _SYSTEM / disk.path.resolve().name
    try:
        children = sorted(child for child in system.iterdir() if (child / "partition").exists())
        for child in children:
            # sysfs counts in 512 bytes whatever the disk's sector is.
            start = int((child / "start").read_text()) * 512
            length = int((child / "size").read_text()) * 512
            node = Path("/dev") / child.name
            if (start, length) == (region.start, region.length) and node.exists():
                return node
    except (OSError, ValueError):
        return None
    return None
