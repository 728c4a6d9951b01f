"""New entries in the table that a target has already: the sectors to write, in their order. Pure.

Nothing of the other partitions changes. A GPT has two copies, and one of them is whole at each
moment: the second is written first. An MBR or the link to a logical partition is one sector, which
a disk writes whole or not at all. So until the last write the table is the old one, and after it
the new one. A table that is not quite understood is not written.
"""

from __future__ import annotations

import struct
import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rescue.core.errors import TargetRefused
from rescue.core.extent import Extent
from rescue.devices import gpt
from rescue.devices.model import Layout, Partition, PartitionKind
from rescue.restore.tables import Write

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` of a disk."""

_MBR = struct.Struct("<B3sB3sII")
_TABLE, _SIGNED = 446, 510
_NO_CHS = b"\xfe\xff\xff"
_LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
# MBR types and the GPT types that mean the same; the first of several is the one that is chosen.
_TYPES = (
    ("83", _LINUX), ("07", _DATA), ("0c", _DATA), ("0b", _DATA), ("0e", _DATA), ("06", _DATA),
    ("82", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), ("ef", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
    ("8e", "e6d6d379-f507-44c2-a23c-238f2a3df928"), ("fd", "a19d880f-05fc-4d3b-a006-743f0f84911e"),
    ("27", "de94bba4-06d1-4d40-a16a-bfd50179d6ac"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A partition that is to be made: where, and what it is of the image.

    Attributes:
        record: byte at which the record of a logical partition goes.
        unique: the identifier that it gets in a GPT; empty: its own, where that is not taken.
    """

    place: Extent
    kind: PartitionKind
    of: Partition
    fs: str
    record: int = 0
    unique: str = ""


@dataclass(frozen=True, slots=True)
class Addition:
    """What is written to a target's table, one write after the other has reached the disk.

    Attributes:
        expected: what stands at some places now; where it does not, the table was changed since.
        writes: in their order.
        numbers: of the new partitions.
        notes: for a person.
    """

    expected: tuple[Write, ...]
    writes: tuple[Write, ...]
    numbers: tuple[int, ...]
    notes: tuple[str, ...]


def usable(read: Read, layout: Layout) -> Extent:
    """Where the table of the target lets partitions be.

    Raises:
        TargetRefused: the table is not whole.
    """
    sector = layout.sector_size
    if layout.label == "gpt":
        copy, _ = _copies(read, layout)
        return Extent(
            copy.first_usable * sector, (copy.last_usable + 1 - copy.first_usable) * sector
        )
    if layout.label == "msdos":
        end = min(layout.size, sector << 32)
        return Extent(sector, end // sector * sector - sector)
    raise TargetRefused(
        "the target has no partition table that a partition could be added to",
        hint="restore the whole disk, or make a partition table first",
    )


def add(read: Read, old: Layout, image_read: Read, image: Layout, new: Sequence[Entry]) -> Addition:
    """The new table.

    Args:
        read, old: of the target.
        image_read, image: of the image, whose entries are kept where tables are of one kind.

    Raises:
        TargetRefused: there is no entry left, or the table is not understood.
    """
    if old.label == "gpt":
        return _add_gpt(read, old, image_read, image, new)
    return _add_msdos(read, old, image, new)


def _copies(read: Read, layout: Layout) -> tuple[gpt.Copy, gpt.Copy]:
    """Both copies, which must say the same."""
    found = gpt.find(lambda length, at: read(at, length), layout.size, layout.sector_size)
    one, two = found.primary, found.backup
    if one is None or two is None or one.array != two.array:
        raise TargetRefused(
            "the partition table of the target is damaged: its two copies are not alike",
            hint="repair it first (sgdisk, gdisk), or restore the whole disk",
        )
    return one, two


def _add_gpt(
    read: Read, old: Layout, image_read: Read, image: Layout, new: Sequence[Entry]
) -> Addition:
    sector = old.sector_size
    one, two = _copies(read, old)
    size = one.entry_size
    array = bytearray(one.array)
    source = None
    if image.label == "gpt":
        source = gpt.find(
            lambda length, at: image_read(at, length), image.size, image.sector_size
        ).copy
    numbers, notes = [], []
    for entry in new:
        free = [n for n in range(len(array) // size) if not any(array[n * size : n * size + 16])]
        if not free:
            raise TargetRefused("the partition table of the target has no entry left")
        number = entry.of.number
        index = number - 1 if number - 1 in free else free[0]
        if source is not None:
            at = (number - 1) * source.entry_size
            raw = source.array[at : at + 128]
            kind, unique, rest = raw[:16], raw[16:32], raw[48:128]
        else:
            found = dict(_TYPES).get(entry.of.type_id, _LINUX)
            kind, unique, rest = uuid.UUID(found).bytes_le, bytes(16), bytes(80)
        known = {bytes(array[n * size + 16 : n * size + 32]) for n in range(len(array) // size)}
        words = "its type, name and identifier are kept"
        if entry.unique:
            unique = uuid.UUID(entry.unique).bytes_le
        if entry.unique or unique in known or not any(unique):
            words = "it gets an identifier of its own"
        if unique in known or not any(unique):
            unique = uuid.uuid4().bytes_le
        first = entry.place.start // sector
        area = kind + unique + struct.pack("<QQ", first, entry.place.end // sector - 1) + rest
        array[index * size : (index + 1) * size] = area.ljust(size, b"\0")
        numbers.append(index + 1)
        notes.append(f"partition {number} becomes partition {index + 1} of the target; {words}")
    writes: list[Write] = []
    for copy in (two, one):
        table = replace(copy, array=bytes(array))
        header = table.header(lba=copy.lba, other_lba=copy.other_lba, array_lba=copy.array_lba)
        writes.append((copy.array_lba * sector, bytes(array)))
        writes.append((copy.lba * sector, header))
    expected = tuple((offset, read(offset, len(data))) for offset, data in writes)
    return Addition(expected, tuple(writes), tuple(numbers), tuple(notes))


def _add_msdos(read: Read, old: Layout, image: Layout, new: Sequence[Entry]) -> Addition:
    sector = old.sector_size
    numbers, notes, writes = [], [], list[Write]()
    expected: list[Write] = []
    head = bytearray(read(0, 512))
    last = max((p.number for p in old.partitions if p.kind == "logical"), default=4)
    link: tuple[int, bytearray] | None = None
    for entry in new:
        kind = _mbr_type(entry, image)
        if entry.kind == "primary":
            free = [n for n in range(4) if not any(head[_TABLE + 16 * n : _TABLE + 16 * n + 16])]
            if not free:
                raise TargetRefused(
                    "the partition table of the target has four primary partitions already",
                    hint="free@START may name room inside its extended partition",
                )
            index = entry.of.number - 1 if entry.of.number - 1 in free else free[0]
            at = _TABLE + 16 * index
            head[at : at + 16] = _packed(kind, entry.place.start, entry.place.length, sector)
            number = index + 1
        else:
            if link is None:
                link = _last_record(read, old)
            record, area = link
            number = last = last + 1
            here = entry.record
            fresh = bytearray(sector)
            fresh[_SIGNED : _SIGNED + 2] = b"\x55\xaa"
            lead = entry.place.start - here
            fresh[_TABLE : _TABLE + 16] = _packed(kind, lead, entry.place.length, sector)
            if here != record:
                frame = next(p for p in old.partitions if p.kind == "extended")
                beyond = _packed(5, here - frame.start, lead + entry.place.length, sector)
                area[_TABLE + 16 : _TABLE + 32] = beyond
                # The record first, then what leads to it.
                writes += [(here, bytes(fresh)), (record, bytes(area))]
            else:
                writes.append((here, bytes(fresh)))
            link = here, fresh
        numbers.append(number)
        notes.append(f"partition {entry.of.number} becomes partition {number} of the target")
    if any(one.kind == "primary" for one in new):
        writes.append((0, bytes(head)))
    expected += [(offset, read(offset, len(data))) for offset, data in dict(writes).items()]
    return Addition(tuple(expected), tuple(writes), tuple(numbers), tuple(notes))


def _last_record(read: Read, old: Layout) -> tuple[int, bytearray]:
    """The record of the last logical partition of the chain, which must look like one."""
    sector = old.sector_size
    frame = next(p for p in old.partitions if p.kind == "extended")
    logical = [p for p in old.partitions if p.kind == "logical"]
    if not logical:
        return frame.start, bytearray(sector)
    last = max(logical, key=lambda p: p.number)
    starts = old.table_extents.starts
    at = starts[max(0, bisect_right(starts, last.start) - 1)]
    area = bytearray(read(at, sector))
    _, _, _, _, first, length = _MBR.unpack_from(area, _TABLE)
    same = at + first * sector == last.start and length * sector == last.length
    if area[_SIGNED : _SIGNED + 2] != b"\x55\xaa" or not same or any(area[_TABLE + 16 : _SIGNED]):
        raise TargetRefused(
            "the chain of logical partitions of the target is not understood",
            hint="choose a partition with --into N, or another disk",
        )
    return at, area


def _mbr_type(entry: Entry, image: Layout) -> int:
    if image.label == "msdos":
        return int(entry.of.type_id, 16)
    named = next((mbr for mbr, guid in _TYPES if guid == entry.of.type_id), "83")
    if named == "07" and entry.fs == "vfat":
        named = "0c"
    return int(named, 16)


def _packed(kind: int, start: int, length: int, sector: int) -> bytes:
    return _MBR.pack(0, _NO_CHS, kind, _NO_CHS, start // sector, length // sector)
