"""Partition tables with other places in them, made from those that the image holds. Pure.

Everything but places stays as it was: types, names, attributes, boot code, the number of entries,
and identifiers unless new ones are asked for. The first sectors of the disk are not written here
with the rest: they are the last thing that a restore writes (``pipeline``), so they come as
``head``.
"""

from __future__ import annotations

import struct
import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rescue.core.errors import ImageDamaged
from rescue.devices import gpt
from rescue.devices.model import Layout, order
from rescue.restore.identity import Identity
from rescue.restore.layout import Arrangement

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` of the image."""
Write = tuple[int, bytes]

HEAD = 4096
"""Bytes that are written last: with them a disk becomes one that firmware starts."""
_ENTRY = struct.Struct("<B3sB3sII")
_TABLE = 446
_SIGNATURE = 0x1B8
_NO_CHS = b"\xfe\xff\xff"  # "beyond what cylinders and heads can say": everything uses the LBA
_PROTECTIVE = 0xEE
_MAX32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Tables:
    """The new tables: writes to places on the target, and the first bytes of the disk.

    Attributes:
        in_order: each write reaches the disk before the next one begins.
    """

    writes: tuple[Write, ...]
    head: bytes
    in_order: bool = False


def build(
    read: Read,
    old: Layout,
    arrangement: Arrangement,
    front: bytes,
    identity: Identity | None = None,
) -> Tables:
    """Tables for an arrangement.

    Args:
        read: reads the image.
        front: the first bytes of the target as they will be but for the table: boot code.
        identity: new identifiers of disk and partitions; None: they stay.

    Raises:
        ImageDamaged: the image holds no table of the kind its layout names.
    """
    if old.label == "gpt":
        return _gpt(read, old, arrangement.layout, front, identity)
    if old.label == "msdos":
        disk = identity.of("disk") if identity else None
        if disk is not None:
            number = int(disk.new, 16).to_bytes(4, "little")
            front = front[:_SIGNATURE] + number + front[_SIGNATURE + 4 :]
        return _msdos(read, old, arrangement, front)
    return Tables((), front)


def _gpt(read: Read, old: Layout, new: Layout, front: bytes, identity: Identity | None) -> Tables:
    """Both copies; the backup at the true end."""
    found = gpt.find(lambda length, offset: read(offset, length), old.size, old.sector_size)
    if found.copy is None:
        raise ImageDamaged("the image holds no whole GPT, though its layout names one")
    copy, sector = found.copy, new.sector_size
    array = bytearray(copy.array)
    for partition in new.partitions:
        at = (partition.number - 1) * copy.entry_size
        first = partition.start // sector
        struct.pack_into("<QQ", array, at + 32, first, first + partition.length // sector - 1)
        one = identity.of("partition", partition.number) if identity else None
        if one is not None:
            array[at + 16 : at + 32] = uuid.UUID(one.new).bytes_le
    disk = identity.of("disk") if identity else None
    last = new.size // sector - 1
    length = -(-len(array) // sector)
    behind = last - length
    first_usable = max(2 + length, -(-copy.first_usable * old.sector_size // sector))
    starts = [p.start // sector for p in new.partitions]
    table = replace(
        copy,
        array=bytes(array),
        first_usable=min([first_usable, *starts]),
        last_usable=behind - 1,
        disk_guid=uuid.UUID(disk.new).bytes_le if disk else copy.disk_guid,
    )
    array_lba = 2 if old.sector_size != sector else copy.array_lba
    if found.primary is None:
        array_lba = 2
    head = bytearray(front)
    if sector != old.sector_size:
        # A header where a disk with the old sectors had one would be found and believed, and
        # entries of a hybrid table count in the old sectors.
        head[_TABLE:510] = bytes(64)
        head[512:] = bytes(len(head) - 512)
    _protective(head, new.size // sector)
    head[sector : 2 * sector] = table.header(lba=1, other_lba=last, array_lba=array_lba).ljust(
        sector, b"\0"
    )
    padded = bytes(array).ljust(length * sector, b"\0")
    writes: list[Write] = [
        (behind * sector, padded),
        (last * sector, table.header(lba=last, other_lba=1, array_lba=behind).ljust(sector, b"\0")),
    ]
    # The entries may begin inside the head; what lies behind it is written with the rest.
    at = array_lba * sector
    if sector < old.sector_size:
        # What is left of the old entries, behind the new ones.
        end = copy.extents(old.sector_size)[1][1]
        padded = padded.ljust(min([end, *(p.start for p in new.partitions)]) - at, b"\0")
    inside = padded[: max(0, len(head) - at)]
    head[at : at + len(inside)] = inside
    if len(inside) < len(padded):
        writes.insert(0, (at + len(inside), padded[len(inside) :]))
    return Tables(tuple(writes), bytes(head))


def _protective(head: bytearray, sectors: int) -> None:
    """The protective entry covers the disk as far as 32 bits reach; a hybrid one is left alone."""
    if head[510:512] != b"\x55\xaa":
        head[510:512] = b"\x55\xaa"
    if head[_TABLE + 4] == _PROTECTIVE:
        struct.pack_into("<I", head, _TABLE + 12, min(_MAX32, sectors - 1))
    elif not any(head[_TABLE : _TABLE + 64]):
        entry = _ENTRY.pack(0, b"\0\2\0", _PROTECTIVE, b"\xff\xff\xff", 1, min(_MAX32, sectors - 1))
        head[_TABLE : _TABLE + 16] = entry


def _msdos(read: Read, old: Layout, arrangement: Arrangement, front: bytes) -> Tables:
    """The MBR, and one extended boot record in front of each logical partition."""
    sector = arrangement.layout.sector_size
    head = bytearray(front)
    for place in arrangement.places:
        if place.kind in ("primary", "extended"):
            at = _TABLE + 16 * (place.number - 1)
            _set(head, at, place.new.start // sector, place.new.length // sector)
    writes = _logical(read, old, arrangement, sector)
    return Tables(tuple(writes), bytes(head))


def _set(area: bytearray, at: int, first: int, sectors: int) -> None:
    """Another place in an entry; one that did not change keeps its cylinders and heads."""
    active, begin, kind, end, was, long = _ENTRY.unpack_from(area, at)
    if (was, long) != (first, sectors):
        begin, end = _NO_CHS, _NO_CHS
    area[at : at + 16] = _ENTRY.pack(active, begin, kind, end, first, sectors)


def _logical(read: Read, old: Layout, arrangement: Arrangement, sector: int) -> list[Write]:
    extended = next((p for p in arrangement.places if p.kind == "extended"), None)
    chain = [p for p in arrangement.places if p.kind == "logical"]
    if extended is None:
        return []
    if not chain:
        return [(extended.new.start, read(extended.old.start, sector))]
    # The kernel counts logical partitions in the order of the chain, so that order is kept.
    chain.sort(key=lambda place: place.number)
    starts = old.table_extents.starts
    records: list[tuple[int, int]] = []
    for index, place in enumerate(chain):
        known = starts[max(0, bisect_right(starts, place.old.start) - 1)] if starts else 0
        lead = place.old.start - known
        new = extended.new.start if index == 0 else place.new.start - lead
        records.append((known, new))
    writes: list[Write] = []
    for index, place in enumerate(chain):
        known, here = records[index]
        area = bytearray(read(known, sector)).ljust(sector, b"\0")
        _set(area, _TABLE, (place.new.start - here) // sector, place.new.length // sector)
        if index + 1 < len(chain):
            following, there = chain[index + 1], records[index + 1][1]
            length = following.new.end - there
            area[_TABLE + 16 + 4] = area[_TABLE + 16 + 4] or 0x05
            _set(area, _TABLE + 16, (there - extended.new.start) // sector, length // sector)
        else:
            area[_TABLE + 16 : _TABLE + 32] = bytes(16)
        area[510:512] = b"\x55\xaa"
        writes.append((here, bytes(area)))
    return writes


def overlapping(layout: Layout, writes: Sequence[Write]) -> list[int]:
    """Numbers of partitions that a table would lie in; empty when all is well."""
    found = []
    for partition in sorted(layout.partitions, key=order):
        if partition.kind == "extended":
            continue
        for offset, data in writes:
            if offset < partition.extent.end and offset + len(data) > partition.start:
                found.append(partition.number)
    return found
