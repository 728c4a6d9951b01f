"""The GUID partition table as it lies on the disk: a small strict reader. UEFI 2.10, chapter 5.3.

libparted does not tell unique partition GUIDs, attributes, or where both copies lie, and an image
needs all three. Only ``table`` uses this.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from rescue.devices.model import MAX_PARTITIONS, Partition

SIGNATURE = b"EFI PART"
# signature, revision, header size, header CRC, reserved, this LBA, other LBA, first usable,
# last usable, disk GUID, entry array LBA, number of entries, size of an entry, array CRC
_HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
# type GUID, unique GUID, first LBA, last LBA (inclusive), attributes, name in UTF-16LE
_ENTRY = struct.Struct("<16s16sQQQ72s")
_ZERO = bytes(16)
# The specification's 128 entries take 16 KiB; partitioning tools never make more than 1 MiB.
_MAX_ARRAY = 1 << 20
_ATTRIBUTES = {0: "required", 1: "no-block-io", 2: "legacy-boot"}

Read = Callable[[int, int], bytes]
"""``read(length, offset)`` in bytes, short at the end of the disk."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One valid copy of the table: header and entry array agree with their checksums.

    Attributes:
        lba, other_lba: sectors of this header, and of the other copy's as this one says.
        array: the whole entry array, as it is stored.
        array_lba: first sector of the array.
    """

    lba: int
    other_lba: int
    first_usable: int
    last_usable: int
    disk_guid: bytes
    array_lba: int
    entry_size: int
    array: bytes

    def extents(self, sector: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(start, end) in bytes of the header's sector and of the entry array's sectors."""
        start = self.array_lba * sector
        length = -(-len(self.array) // sector) * sector
        return (self.lba * sector, (self.lba + 1) * sector), (start, start + length)

    @property
    def disk_id(self) -> str:
        """The disk's GUID as text."""
        return guid(self.disk_guid)

    def header(self, *, lba: int, other_lba: int, array_lba: int) -> bytes:
        """The 92 bytes of a header for this table at another place, checksums right."""
        fields = (
            lba,
            other_lba,
            self.first_usable,
            self.last_usable,
            self.disk_guid,
            array_lba,
            len(self.array) // self.entry_size,
            self.entry_size,
            zlib.crc32(self.array),
        )
        blank = _HEADER.pack(SIGNATURE, b"\0\0\1\0", _HEADER.size, 0, 0, *fields)
        checksum = zlib.crc32(blank)
        return _HEADER.pack(SIGNATURE, b"\0\0\1\0", _HEADER.size, checksum, 0, *fields)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found where a GPT's two copies should be.

    Attributes:
        primary, backup: the valid copies.
        signed: whether a signature stands at either place, valid or not.
    """

    primary: Copy | None
    backup: Copy | None
    signed: bool

    @property
    def copy(self) -> Copy | None:
        """The copy to believe: the primary where it is valid."""
        return self.primary or self.backup


def guid(raw: bytes) -> str:
    """Text of a GUID as a GPT stores it (first three fields little-endian)."""
    return str(uuid.UUID(bytes_le=raw))


def find(read: Read, size: int, sector: int) -> Found:
    """Look for both copies: at sector 1, where it says the other is, and in the last sector.

    Raises:
        OSError: a sector there could not be read.
    """
    sectors = size // sector
    primary = read_copy(read, sectors, sector, 1)
    places = [sectors - 1]
    if primary is not None and 1 < primary.other_lba < sectors:
        places.insert(0, primary.other_lba)
    backup = None
    signed = _signed(read, sector, 1)
    for lba in places:
        if lba <= 1:
            continue
        signed = signed or _signed(read, sector, lba)
        copy = read_copy(read, sectors, sector, lba)
        # An old backup of another table may still lie in the last sector.
        if copy and (primary is None or copy.disk_guid == primary.disk_guid):
            backup = copy
            break
    return Found(primary, backup, signed)


def _signed(read: Read, sector: int, lba: int) -> bool:
    return read(8, lba * sector) == SIGNATURE


def read_copy(read: Read, sectors: int, sector: int, lba: int) -> Copy | None:
    """The copy whose header is in sector ``lba``, or None when anything about it is wrong."""
    raw = read(sector, lba * sector)
    if len(raw) < sector or raw[:8] != SIGNATURE:
        return None
    fields = _HEADER.unpack_from(raw)
    _, _, header_size, checksum, _, here, other, first, last, disk, array_lba, count, one, crc = (
        fields
    )
    if not _HEADER.size <= header_size <= sector or here != lba:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:header_size]) != checksum:
        return None
    if one < 128 or one % 8 or not 0 < count <= MAX_PARTITIONS or count * one > _MAX_ARRAY:
        return None
    # The last usable sector may lie behind a disk that was cut; each partition is checked later.
    if not 1 < array_lba < sectors or first > last + 1:
        return None
    array = read(count * one, array_lba * sector)
    if len(array) != count * one or zlib.crc32(array) != crc:
        return None
    return Copy(lba, other, first, last, disk, array_lba, one, array)


def entries(copy: Copy, sector: int) -> tuple[Partition, ...]:
    """Used entries of the array, by number. Places are not checked against the disk here."""
    found = []
    for index in range(len(copy.array) // copy.entry_size):
        kind, unique, first, last, attributes, name = _ENTRY.unpack_from(
            copy.array, index * copy.entry_size
        )
        if kind == _ZERO:
            continue
        found.append(
            Partition(
                number=index + 1,
                start=first * sector,
                length=max(0, last - first + 1) * sector,
                kind="gpt",
                type_id=guid(kind),
                name=name.decode("utf-16-le", errors="replace").split("\0", 1)[0],
                uuid=guid(unique),
                flags=tuple(
                    _ATTRIBUTES.get(bit, f"bit-{bit}") for bit in range(64) if attributes >> bit & 1
                ),
            )
        )
    return tuple(found)


def picture(copy: Copy, last: int, sector: int) -> tuple[tuple[int, bytes], ...]:
    """(offset, bytes) of a whole GPT with the entries of ``copy``; the disk ends with ``last``."""
    length = -(-len(copy.array) // sector)
    behind = last - length
    mended = replace(
        copy,
        first_usable=max(copy.first_usable, 2 + length),
        last_usable=min(copy.last_usable, behind - 1),
    )
    protective = bytearray(512)
    protective[446:462] = b"\0\0\2\0\xee\xff\xff\xff\1\0\0\0\xff\xff\xff\xff"
    protective[510:512] = b"\x55\xaa"
    return (
        (0, bytes(protective)),
        (sector, mended.header(lba=1, other_lba=last, array_lba=2)),
        (2 * sector, mended.array),
        (behind * sector, mended.array),
        (last * sector, mended.header(lba=last, other_lba=1, array_lba=behind)),
    )
