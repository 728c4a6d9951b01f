"""Free room between partitions, and what a new entry in a table writes there."""

from __future__ import annotations

import struct
import uuid

import pytest

from rescue.core.errors import TargetRefused, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB
from rescue.devices import gpt
from rescue.devices.model import Layout, Partition
from rescue.restore import newentry
from rescue.restore.gaps import Gap, choose, gaps, left_of, parse_into
from rescue.restore.newentry import Entry

SIZE = 100 * MIB
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def test_what_into_takes() -> None:
    assert parse_into(None) is None
    assert parse_into("3") == 3
    assert parse_into("free") == Extent(0, 0)
    assert parse_into("Free@10G") == Extent(10 << 30, 0)
    for wrong in ("", "0", "free@x", "3@10", "room", "-1", "99999"):
        with pytest.raises(UsageError):
            parse_into(wrong)


def dos() -> Layout:
    """Two primary partitions with a gap of 9 MiB, and one logical in the extended."""
    parts = (
        Partition(1, 1 * MIB, 10 * MIB, "primary", "83"),
        Partition(2, 20 * MIB, 60 * MIB, "extended", "05"),
        Partition(5, 21 * MIB, 10 * MIB, "logical", "83"),
    )
    records = ExtentMap.of([(0, 512), (20 * MIB, 20 * MIB + 512)])
    return Layout("msdos", 512, SIZE, "00000000", parts, records)


def test_gaps_are_outside_and_inside_the_extended_partition() -> None:
    found = gaps(dos(), Extent(512, SIZE - 512))
    assert found == [
        Gap(Extent(11 * MIB, 9 * MIB), "primary"),
        Gap(Extent(31 * MIB, 49 * MIB), "logical"),
        Gap(Extent(80 * MIB, 20 * MIB), "primary"),
    ]
    assert choose(found, 0) == found[1]
    assert choose(found, 12 * MIB + 1) == Gap(Extent(13 * MIB, 7 * MIB), "primary")
    with pytest.raises(TargetRefused, match="not free"):
        choose(found, 5 * MIB)
    with pytest.raises(TargetRefused, match="no free room"):
        choose([], 0)
    rest = left_of(found, Extent(31 * MIB, 20 * MIB + 512))
    assert rest[1] == Gap(Extent(52 * MIB, 28 * MIB), "logical")


def gpt_disk(*places: tuple[int, int]) -> tuple[bytearray, Layout]:
    """A disk with such partitions, and its layout."""
    array = bytearray(128 * 128)
    parts = []
    for index, (start, length) in enumerate(places):
        unique = uuid.UUID(int=index + 1)
        struct.pack_into(
            "<16s16sQQQ72s", array, index * 128, uuid.UUID(LINUX).bytes_le, unique.bytes_le,
            start // 512, (start + length) // 512 - 1, 0, "name".encode("utf-16-le"),
        )  # fmt: skip
        parts.append(Partition(index + 1, start, length, "gpt", LINUX, uuid=str(unique)))
    last = SIZE // 512 - 1
    copy = gpt.Copy(1, last, 34, last - 33, bytes(16), 2, 128, bytes(array))
    disk = bytearray(SIZE)
    for offset, data in gpt.picture(copy, last, 512):
        disk[offset : offset + len(data)] = data
    return disk, Layout("gpt", 512, SIZE, "", tuple(parts), ExtentMap())


def test_a_gpt_is_whole_after_every_write() -> None:
    disk, old = gpt_disk((MIB, MIB))
    source, image = gpt_disk((MIB, MIB), (4 * MIB, 2 * MIB))

    def read(offset: int, length: int) -> bytes:
        return bytes(disk[offset : offset + length])

    new = Entry(Extent(50 * MIB, 2 * MIB), "gpt", image.partitions[1], "ext4")
    taken = Entry(Extent(60 * MIB, MIB), "gpt", image.partitions[0], "ext4")
    addition = newentry.add(
        read, old, lambda at, n: bytes(source[at : at + n]), image, [new, taken]
    )
    assert addition.numbers == (2, 3)
    states = []
    for offset, data in addition.writes:
        disk[offset : offset + len(data)] = data
        copy = gpt.find(lambda n, at: read(at, n), SIZE, 512).copy
        assert copy is not None, "a moment without a table"
        states.append(len(gpt.entries(copy, 512)))
    assert states == [1, 1, 3, 3]
    one, two = (gpt.find(lambda n, at: read(at, n), SIZE, 512).primary,
                gpt.find(lambda n, at: read(at, n), SIZE, 512).backup)  # fmt: skip
    assert one is not None and two is not None and one.array == two.array
    found = gpt.entries(one, 512)
    assert [(p.start, p.length) for p in found[1:]] == [(50 * MIB, 2 * MIB), (60 * MIB, MIB)]
    assert found[1].uuid == image.partitions[1].uuid and found[1].name == "name"
    assert len({p.uuid for p in found}) == 3, "an identifier that is there already is not taken"


def test_a_table_with_one_good_copy_is_not_written() -> None:
    disk, old = gpt_disk((MIB, MIB))
    disk[1024] ^= 1
    with pytest.raises(TargetRefused, match="not alike"):
        newentry.usable(lambda at, n: bytes(disk[at : at + n]), old)


def test_types_are_translated_between_tables() -> None:
    esp = Partition(1, MIB, MIB, "primary", "ef")
    disk, old = gpt_disk((MIB, MIB))
    image = Layout("msdos", 512, SIZE, "", (esp,), ExtentMap())
    entry = Entry(Extent(50 * MIB, MIB), "gpt", esp, "vfat")

    def read(at: int, length: int) -> bytes:
        return bytes(disk[at : at + length])

    addition = newentry.add(read, old, lambda _at, n: bytes(n), image, [entry])
    for offset, data in addition.writes:
        disk[offset : offset + len(data)] = data
    copy = gpt.find(lambda n, at: read(at, n), SIZE, 512).copy
    assert copy is not None
    assert gpt.entries(copy, 512)[1].type_id == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


def test_a_chain_that_is_not_understood_is_not_written() -> None:
    source, image = gpt_disk((MIB, MIB))
    entry = Entry(Extent(40 * MIB, MIB), "logical", image.partitions[0], "ext4", 39 * MIB)
    with pytest.raises(TargetRefused, match="not understood"):
        newentry.add(
            lambda _at, n: bytes(n), dos(), lambda at, n: bytes(source[at : at + n]), image, [entry]
        )
