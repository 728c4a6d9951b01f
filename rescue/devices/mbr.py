"""The MBR partition table as it lies on the disk: entries, and the chain of extended boot records.

Only ``table`` uses this: libparted does not tell where the EBRs lie, and an image needs them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from rescue.devices.model import Partition

_ENTRY = struct.Struct("<B3sB3sII")
_TABLE = 446
EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE = 0xEE
# The kernel stops at 256 partitions of a disk; a longer chain is a loop or garbage.
_MAX_LOGICAL = 256
# OEM names in boot sectors of filesystems that cover a whole disk ("superfloppy").
_BOOT_SECTORS = (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"MSWIN4.1", b"MSDOS5.0", b"mkfs.fat")

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One 16-byte entry, in sectors as it stands there."""

    active: int
    type_id: int
    first: int
    sectors: int

    @property
    def used(self) -> bool:
        """Whether it describes anything."""
        return self.type_id != 0 and self.sectors != 0


@dataclass(frozen=True, slots=True)
class Mbr:
    """A parsed MBR with its logical partitions.

    Attributes:
        disk_id: disk signature as eight hexadecimal digits.
        partitions: primary, extended and logical, numbered as the kernel does.
        ebr_offsets: byte offset of each extended boot record.
        trouble: why the chain of EBRs could not be followed to its end, or empty.
    """

    disk_id: str
    partitions: tuple[Partition, ...]
    ebr_offsets: tuple[int, ...]
    trouble: str = ""


def has_signature(raw: bytes) -> bool:
    """Whether the sector ends its first 512 bytes with 55 AA."""
    return raw[510:512] == b"\x55\xaa"


def table_entries(raw: bytes) -> tuple[Entry, ...]:
    """The four entries of an MBR or EBR."""
    found = []
    for index in range(4):
        active, _, kind, _, first, sectors = _ENTRY.unpack_from(raw, _TABLE + 16 * index)
        found.append(Entry(active, kind, first, sectors))
    return tuple(found)


def is_protective(raw: bytes) -> bool:
    """Whether one of the entries says that a GPT is there."""
    return has_signature(raw) and any(e.type_id == PROTECTIVE for e in table_entries(raw))


def is_boot_sector(raw: bytes) -> bool:
    """Whether this is the first sector of a FAT, exFAT, NTFS or BitLocker volume, not an MBR."""
    return raw[3:11] in _BOOT_SECTORS or raw[54:57] == b"FAT" or raw[82:85] == b"FAT"


def parse(read: Read, size: int, sector: int) -> Mbr:
    """Read the MBR and follow the chain of extended boot records.

    Raises:
        OSError: a sector could not be read.
    """
    raw = read(512, 0)
    disk_id = f"{struct.unpack_from('<I', raw, 440)[0]:08x}"
    partitions: list[Partition] = []
    offsets: list[int] = []
    trouble = ""
    extended: Entry | None = None
    for number, entry in enumerate(table_entries(raw), 1):
        if not entry.used:
            continue
        kind = "extended" if entry.type_id in EXTENDED else "primary"
        partitions.append(_partition(disk_id, number, entry, entry.first, sector, kind))
        if kind == "extended" and extended is None:
            extended = entry
    if extended is not None:
        logical, offsets, trouble = _logical(read, extended, disk_id, size, sector)
        partitions += logical
    return Mbr(disk_id, tuple(partitions), tuple(offsets), trouble)


def _logical(
    read: Read, extended: Entry, disk_id: str, size: int, sector: int
) -> tuple[list[Partition], list[int], str]:
    """Logical partitions, offsets of the EBRs, and what stopped the walk."""
    found: list[Partition] = []
    offsets: list[int] = []
    at = extended.first
    while len(offsets) < _MAX_LOGICAL:
        offset = at * sector
        inside = extended.first <= at < extended.first + extended.sectors
        if not inside or offset + sector > size or offset in offsets:
            return found, offsets, f"the chain of logical partitions leads to sector {at}"
        raw = read(512, offset)
        if len(raw) < 512 or not has_signature(raw):
            if at == extended.first:  # an extended partition that was never filled
                return found, offsets, ""
            return found, offsets, f"sector {at} is no extended boot record"
        offsets.append(offset)
        here, link = table_entries(raw)[:2]
        if here.used and here.type_id not in EXTENDED:
            found.append(
                _partition(disk_id, 5 + len(found), here, at + here.first, sector, "logical")
            )
        if not link.used or link.type_id not in EXTENDED:
            return found, offsets, ""
        at = extended.first + link.first
    return found, offsets, f"there are more than {_MAX_LOGICAL} logical partitions"


def _partition(
    disk_id: str, number: int, entry: Entry, first: int, sector: int, kind: str
) -> Partition:
    """A Partition from an entry whose first sector is known."""
    assert kind in ("primary", "extended", "logical")
    return Partition(
        number=number,
        start=first * sector,
        length=entry.sectors * sector,
        kind=kind,  # type: ignore[arg-type]
        type_id=f"{entry.type_id:02x}",
        uuid=f"{disk_id}-{number:02x}",
        flags=("active",) if entry.active & 0x80 else (),
    )
