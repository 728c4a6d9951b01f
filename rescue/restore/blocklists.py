"""GRUB among the files of a filesystem that was resized: its lists of sectors made anew.

Where there is no room in front of the partitions, and in a partition's own boot sector, GRUB is
installed by lists: the disk's first sector names one sector of the file ``core.img``, and that one
all the others (diskboot.S). A resized filesystem may have put the file elsewhere. The kernel tells
where it lies now (FIEMAP, Documentation/filesystems/fiemap.rst); grub-install does no more, but
needs a running system around it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rescue.core.errors import ProgramFailed, from_os_error
from rescue.core.progress import Reporter
from rescue.devices import loop
from rescue.devices.target import SafeTarget
from rescue.image.reader import Image
from rescue.restore import bootblocks
from rescue.restore.growing import private_mount
from rescue.restore.layout import Place
from rescue.restore.plan import RestorePlan
from rescue.restore.work import After, Prepared

KINDS = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "xfs": "xfs"}
"""Filesystems that give a file's places, and by which driver each is mounted."""

_PATHS = tuple(
    f"{top}{name}/i386-pc/core.img" for top in ("boot/", "") for name in ("grub", "grub2")
)
_SECTOR = 512
_KERNEL_SECTOR = 0x5C
_LIST_END = 0x1F4
_BLOCK = struct.Struct("<QHH")
_FIRST_SEGMENT = 0x820
# linux/fiemap.h
_FIEMAP = 0xC020660B
_HEADER = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQ16xI12x")
_SYNC, _LAST = 1, 1
_NO_PLACE = 0x2 | 0x4 | 0x8 | 0x100 | 0x200 | 0x800
_MANY = 64


class NoList(ValueError):
    """The sectors cannot be listed; the words say why."""


Runs = Sequence[tuple[int, int]]
"""First sector and number of sectors, in the order of the file."""


def listed(first: bytes, runs: Runs) -> bytes:
    """The core's first sector with the list of all sectors behind it.

    Raises:
        NoList: the list has no room: the file is in too many pieces.
    """
    area = bytearray(first)
    at = _LIST_END
    while at > 0 and _BLOCK.unpack_from(area, at)[1]:
        area[at : at + _BLOCK.size] = bytes(_BLOCK.size)
        at -= _BLOCK.size
    at, segment = _LIST_END, _FIRST_SEGMENT
    for start, count in runs:
        if at < _BLOCK.size or any(area[at - _BLOCK.size : at + _BLOCK.size]):
            raise NoList("it lies in too many pieces")
        _BLOCK.pack_into(area, at, start, count, segment)
        at, segment = at - _BLOCK.size, segment + count * (_SECTOR >> 4)
    return bytes(area)


def runs_of(extents: Sequence[tuple[int, int, int]], size: int, base: int) -> list[tuple[int, int]]:
    """Runs of sectors of a file on the disk.

    Args:
        extents: (place in the file, place in the volume, length), in bytes.
        base: where the volume starts on the disk.

    Raises:
        NoList: a part of the file lies nowhere.
    """
    found: list[tuple[int, int]] = []
    reached = 0
    for logical, physical, length in extents:
        length = min(length, -(-size // _SECTOR) * _SECTOR - logical)
        if logical != reached or (base + physical) % _SECTOR or length <= 0:
            raise NoList("a part of it has no place")
        start, count = (base + physical) // _SECTOR, -(-length // _SECTOR)
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + count)
        else:
            found.append((start, count))
        reached += length
    if reached < size:
        raise NoList("a part of it has no place")
    return found


def _extents(fd: int, size: int) -> list[tuple[int, int, int]]:
    request = bytearray(_HEADER.size + _MANY * _EXTENT.size)
    _HEADER.pack_into(request, 0, 0, size, _SYNC, 0, _MANY, 0)
    fcntl.ioctl(fd, _FIEMAP, request)
    (_, _, _, mapped, _, _) = _HEADER.unpack_from(request)
    found = []
    for index in range(mapped):
        one = _EXTENT.unpack_from(request, _HEADER.size + index * _EXTENT.size)
        logical, physical, length, flags = one
        if flags & _NO_PLACE:
            raise NoList("a part of it has no place")
        found.append((logical, physical, length))
    return found


@dataclass(slots=True)
class _Step:
    """Finds the core on the target and lists its sectors; then says what the first sector names."""

    place: Place
    kind: str
    sector: int
    old: bytes
    kernel: int = 0

    def run(self, target: SafeTarget, _reporter: Reporter) -> Sequence[str]:
        """Look for the core among the files, and write its first sector."""
        name = f"partition {self.place.number}"
        try:
            size, extents = self._look(target)
            runs = runs_of(extents, size, self.place.new.start)
            start, count = runs[0]
            rest = [(start + 1, count - 1), *runs[1:]] if count > 1 else runs[1:]
            fresh = listed(self.old, rest)
            os.pwrite(target.fd, fresh, start * _SECTOR)
            target.flush()
        except NoList as error:
            return (
                f"GRUB's core on {name} could not be followed ({error}): if it does not start by "
                "BIOS, run grub-install from a chroot",
            )
        except OSError as error:
            raise from_os_error(error, f"follow GRUB on {name}") from error
        self.kernel = start
        return (f"GRUB's list of sectors on {name} was made anew",)

    def _look(self, target: SafeTarget) -> tuple[int, list[tuple[int, int, int]]]:
        """Size and places of the file that was the core."""
        with loop.writable_part(target, self.place.new, self.sector) as node:
            try:
                with private_mount(node, self.kind, "ro") as folder:
                    for path in _PATHS:
                        found = self._match(folder, path)
                        if found is not None:
                            return found
            except ProgramFailed as error:
                raise NoList(error.message) from error
        raise NoList("its file core.img was not found")

    def _match(self, folder: Path, path: str) -> tuple[int, list[tuple[int, int, int]]] | None:
        inside = folder
        for name in path.split("/"):
            inside /= name
            if inside.is_symlink():
                return None
        if not inside.is_file():
            return None
        fd = os.open(inside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.pread(fd, _SECTOR, 0) != self.old:
                return None
            size = os.fstat(fd).st_size
            return size, _extents(fd, size)
        finally:
            os.close(fd)

    def settle(self, head: bytes) -> bytes:
        """The disk's first bytes, naming the core's first sector."""
        if not self.kernel:
            return head
        number = self.kernel.to_bytes(8, "little")
        return head[:_KERNEL_SECTOR] + number + head[_KERNEL_SECTOR + 8 :]


def held(plan: RestorePlan, image: Image) -> tuple[Place, str] | None:
    """The partition that is resized and has GRUB's core among its files, and its filesystem.

    Raises:
        ImageDamaged: the first sector cannot be read.
    """
    sector = plan.layout.sector_size
    if plan.arrangement is None or not plan.whole or plan.sector != sector:
        return None  # no BIOS starts from other sectors
    second = bootblocks.second_stage(image.read(0, _SECTOR), plan.arrangement.places, sector)
    for resize in plan.resizes if second else ():
        if second and resize.volume.partition == second[0].number and resize.means != "none":
            return second[0], resize.volume.fs
    return None


def followed(plan: RestorePlan, image: Image, ready: Prepared) -> Prepared:
    """What will be written, with a step that makes the lists anew where they must be."""
    found = held(plan, image)
    if found is None or plan.arrangement is None or found[1] not in KINDS:
        return ready
    place, fs = found
    sector = plan.arrangement.layout.sector_size
    stage = bootblocks.first_stage(image.read(0, _SECTOR)) * sector
    if sector != _SECTOR:
        return ready
    step = _Step(place, KINDS[fs], sector, image.read(stage, _SECTOR))
    return replace(ready, after=(*ready.after, After(step.run)), settle=step.settle)
