"""Where everything lies on a stick, and how a stick is known again. Pure.

    1  rescue BIOS       two areas of 1 MiB: GRUB's core image of each system
    2  rescue EFI        FAT32 with a tree for each system (fat.py)
    3  rescue system A   an ISO's filesystem; its first 32 KiB are empty
    4  rescue system B   the same, for the next update
    5  RESCUE-DATA       the rest: exFAT, ext4 or NTFS

System 0 is A: its core image, its EFI tree and its slot belong together.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.iso.seal import SYSTEM_AREA
from builder.usb.fat import Fat
from rescue.core.units import MIB
from rescue.devices.model import Layout, NewPartition

SECTOR = 512
DATA_NAME = "RESCUE-DATA"
NAMES = ("rescue BIOS", "rescue EFI", "rescue system A", "rescue system B", DATA_NAME)
LETTERS = "AB"
CORE_AREA = MIB
EFI_NUMBER = 2
"""The EFI partition's number, which GRUB's BIOS image is told."""

_CORE, _EFI, _SLOTS = MIB, 4 * MIB, 68 * MIB
_MIN_SLOT = 512 * MIB
MIN_DATA = 64 * MIB


@dataclass(frozen=True, slots=True)
class Stick:
    """The places on one stick, in bytes; all but the table follows from two sizes."""

    size: int
    slot_size: int

    @property
    def fat(self) -> Fat:
        """The EFI system partition."""
        return Fat(_SLOTS - _EFI)

    @property
    def efi(self) -> int:
        """Where it begins."""
        return _EFI

    def core(self, system: int) -> int:
        """GRUB's core image of a system."""
        return _CORE + system * CORE_AREA

    def slot(self, system: int) -> int:
        """The slot of a system."""
        return _SLOTS + system * self.slot_size

    @property
    def data(self) -> int:
        """The data partition's start."""
        return self.slot(2)

    @property
    def data_size(self) -> int:
        """The data partition's length: up to the last whole MiB before the backup table."""
        return (self.size - MIB) // MIB * MIB - self.data

    def partitions(self, *, shown: bool) -> tuple[NewPartition, ...]:
        """What the table will hold; ``shown``: the data partition has Windows' type."""
        bios, efi, first, second, data = NAMES
        return (
            NewPartition(bios, _CORE, 2 * CORE_AREA, "bios"),
            NewPartition(efi, _EFI, _SLOTS - _EFI, "esp"),
            NewPartition(first, self.slot(0), self.slot_size, "linux"),
            NewPartition(second, self.slot(1), self.slot_size, "linux"),
            NewPartition(data, self.data, self.data_size, "data" if shown else "linux"),
        )


def slot_for(system: int) -> int:
    """Bytes of a slot for a system of ``system`` bytes: a quarter more, for what comes later."""
    return max(_MIN_SLOT, -(-5 * system // 4 // MIB) * MIB)


def needed(system: int) -> int:
    """Bytes that a disk must have."""
    return _SLOTS + 2 * slot_for(system) + MIN_DATA + 2 * MIB


def known(layout: Layout) -> Stick | None:
    """The stick whose table this is; None for every other disk."""
    if layout.label != "gpt" or layout.sector_size != SECTOR:
        return None
    found = {part.number: part for part in layout.partitions}
    if not {1, 2, 3, 4} <= set(found):
        return None
    stick = Stick(layout.size, found[3].length)
    if stick.slot_size < SYSTEM_AREA or stick.slot_size % MIB:
        return None
    for number, wanted in enumerate(stick.partitions(shown=True)[:4], start=1):
        part = found[number]
        if (part.name, part.start, part.length) != (wanted.name, wanted.start, wanted.length):
            return None
    # What lies behind the slots is the person's own, however it is divided now.
    return stick
