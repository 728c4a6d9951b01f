"""Boot code that knows where on the disk something lies, told anew where that moved.

* GRUB's first sector holds the sector of its second stage (boot.S, ``kernel_sector`` at 0x5C), and
  that one a list of the sectors behind it (diskboot.S, from the end of its sector downwards). Both
  are changed when the second stage lies in a partition that moved: a BIOS boot partition, or a
  filesystem into which GRUB was installed by lists of blocks.
* FAT and NTFS boot sectors hold the number of sectors in front of their partition at 0x1C ("hidden
  sectors"), which Windows' boot code uses to find its files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rescue.core.errors import from_os_error
from rescue.core.progress import Reporter
from rescue.devices.target import SafeTarget
from rescue.restore.layout import Place

_KERNEL_SECTOR = 0x5C
_LIST_END = 0x1F4
_BLOCK = struct.Struct("<QHH")
_MAX_BLOCKS = 32
_HIDDEN = 28


def grub(head: bytes, places: Sequence[Place], sector: int) -> tuple[bytes, int]:
    """The first bytes of a disk with GRUB's first stage following its second.

    Returns:
        Them, and the number of the partition that holds the second stage and moved; else 0.
    """
    kernel = first_stage(head)
    if not kernel:
        return head, 0
    place = _holder(places, kernel * sector)
    if place is None or place.new.start == place.old.start:
        return head, 0
    changed = bytearray(head)
    moved = (place.new.start - place.old.start) // sector
    struct.pack_into("<Q", changed, _KERNEL_SECTOR, kernel + moved)
    return bytes(changed), place.number


def second_stage(head: bytes, places: Sequence[Place], sector: int) -> tuple[Place, int] | None:
    """The partition that holds GRUB's second stage, and where in it; None: none does."""
    start = first_stage(head) * sector
    place = _holder(places, start) if start else None
    return (place, start - place.old.start) if place else None


def first_stage(head: bytes) -> int:
    """The sector that GRUB's first stage loads; 0: this is no first stage."""
    if b"GRUB " not in head[:512]:
        return 0
    return int(struct.unpack_from("<Q", head, _KERNEL_SECTOR)[0])


def _holder(places: Sequence[Place], offset: int) -> Place | None:
    """The partition that held this byte."""
    return next((p for p in places if p.kind != "extended" and p.old.contains(offset)), None)


def block_list(second: bytes, place: Place, sector: int) -> bytes | None:
    """GRUB's second stage's first sector with its list of sectors moved; None: it has no list.

    Every sector that it names must lie in the partition that moved.
    """
    moved = (place.new.start - place.old.start) // sector
    area = bytearray(second)
    at, found = _LIST_END, 0
    while found < _MAX_BLOCKS:
        start, length, segment = _BLOCK.unpack_from(area, at)
        if length == 0:
            break
        first, behind = start * sector, (start + length) * sector
        if segment == 0 or first < place.old.start or behind > place.old.end:
            return None
        _BLOCK.pack_into(area, at, start + moved, length, segment)
        at, found = at - _BLOCK.size, found + 1
    return bytes(area) if found else None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do to a partition that moved.

    Attributes:
        second_at: where in it GRUB's second stage lies; negative: not in it.
    """

    words: str
    place: Place
    old_sector: int
    sector: int
    second_at: int = -1

    def run(self, target: SafeTarget, _reporter: Reporter) -> bool:
        """Look at what the target holds there now, and change it where it is such boot code."""
        start, changed = self.place.new.start, False
        try:
            first = os.pread(target.fd, 512, start)
            second = first
            if self.second_at > 0:
                second = os.pread(target.fd, 512, start + self.second_at)
            for offset, data in (*self._hidden(first), *self._list(first, second)):
                os.pwrite(target.fd, data, offset)
                changed = True
        except OSError as error:
            raise from_os_error(error, f"write {target.path}") from error
        return changed

    def _hidden(self, first: bytes) -> Iterator[tuple[int, bytes]]:
        start = self.place.new.start
        was, now = self.place.old.start // self.old_sector, start // self.sector
        if _has_hidden(first):
            if int.from_bytes(first[_HIDDEN : _HIDDEN + 4], "little") != was or now >= 1 << 32:
                return
            changed = now.to_bytes(4, "little")
            yield start + _HIDDEN, changed
            size = int.from_bytes(first[11:13], "little")
            if first[3:11] == b"NTFS    ":
                total = int.from_bytes(first[40:48], "little")
                yield start + total * size + _HIDDEN, changed
            elif first[82:87] == b"FAT32":
                backup = int.from_bytes(first[50:52], "little")
                if 0 < backup < 0xFFFF:
                    yield start + backup * size + _HIDDEN, changed

    def _list(self, first: bytes, second: bytes) -> Iterator[tuple[int, bytes]]:
        # Only what the first stage named is looked at: anything else may be anybody's data.
        if self.second_at < 0 or (self.second_at == 0 and _has_hidden(first)):
            return
        listed = block_list(second, self.place, self.sector)
        if listed is not None:
            yield self.place.new.start + self.second_at, listed


def _has_hidden(first: bytes) -> bool:
    return first[3:11] == b"NTFS    " or first[82:87] == b"FAT32" or first[54:57] == b"FAT"


def steps(place: Place, old_sector: int, sector: int, second_at: int = -1) -> Iterator[Step]:
    """What may have to be done to a partition that moved; each step looks first."""
    words = f"boot code in partition {place.number} was told where it lies now"
    yield Step(words, place, old_sector, sector, second_at)
