"""The structure readers of GPT and MBR on disks made here, byte by byte, and on broken ones."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.devices import gpt, mbr

SECTOR = 512
SECTORS = 4096
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
UNIQUE = uuid.UUID("8e595f05-ecd7-4784-98a5-b656620f1b62")


def entry(first: int, last: int, name: str, attributes: int = 0) -> bytes:
    return struct.pack(
        "<16s16sQQQ72s",
        LINUX.bytes_le,
        UNIQUE.bytes_le,
        first,
        last,
        attributes,
        name.encode("utf-16-le"),
    )


ARRAY = (entry(64, 127, "erste ü") + entry(128, 128, "x" * 36, 1 | 1 << 60)).ljust(16384, b"\0")
COPY = gpt.Copy(1, SECTORS - 1, 34, SECTORS - 34, UNIQUE.bytes_le, 2, 128, ARRAY)


def gpt_disk(copy: gpt.Copy = COPY, sector: int = SECTOR) -> bytearray:
    disk = bytearray(SECTORS * sector)
    last = SECTORS - 1
    behind = last - -(-len(copy.array) // sector)
    primary = copy.header(lba=1, other_lba=last, array_lba=2)
    backup = copy.header(lba=last, other_lba=1, array_lba=behind)
    for place, data in ((1, primary), (2, copy.array), (behind, copy.array), (last, backup)):
        disk[place * sector : place * sector + len(data)] = data
    return disk


def reader(disk: bytes | bytearray) -> Callable[[int, int], bytes]:
    return lambda length, offset: bytes(disk[offset : offset + length])


def find(disk: bytes | bytearray, sector: int = SECTOR) -> gpt.Found:
    return gpt.find(reader(disk), len(disk), sector)


@pytest.mark.parametrize("sector", [512, 4096])
def test_both_copies_are_found(sector: int) -> None:
    found = find(gpt_disk(sector=sector), sector)
    assert found.primary and found.backup and found.copy is found.primary
    assert found.primary.disk_id == str(UNIQUE)
    assert (found.primary.lba, found.backup.lba) == (1, SECTORS - 1)
    assert found.primary.extents(sector) == ((sector, 2 * sector), (2 * sector, 2 * sector + 16384))
    first, second = gpt.entries(found.primary, sector)
    assert (first.number, first.start, first.length) == (1, 64 * sector, 64 * sector)
    assert (first.name, first.uuid, first.type_id) == ("erste ü", str(UNIQUE), str(LINUX))
    assert (second.length, second.name, second.flags) == (
        sector,
        "x" * 36,
        ("required", "bit-60"),
    )


@pytest.mark.parametrize("place", [512, 512 + 16, 512 + 72, 1024, 1024 + 16383])
def test_a_flipped_byte_hurts_one_copy_only(place: int) -> None:
    disk = gpt_disk()
    disk[place] ^= 1
    found = find(disk)
    assert found.primary is None
    assert found.backup is not None
    assert found.copy is found.backup
    assert found.signed
    disk = gpt_disk()
    disk[-512 + place % 512 if place < 1024 else -512 - 16384 + place - 1024] ^= 1
    found = find(disk)
    assert found.backup is None
    assert found.primary is not None


def test_a_grown_disk_keeps_its_backup_where_the_primary_says() -> None:
    found = find(gpt_disk() + bytearray(1 << 20))
    assert found.backup is not None
    assert found.backup.lba == SECTORS - 1


def test_the_backup_of_another_table_is_not_this_ones() -> None:
    disk = gpt_disk()
    other = replace(COPY, disk_guid=bytes(15) + b"x")
    last = SECTORS - 1
    disk[last * SECTOR : last * SECTOR + 92] = other.header(lba=last, other_lba=1, array_lba=4063)
    assert find(disk).backup is None


@pytest.mark.parametrize(
    "changes",
    [
        {"entry_size": 64},
        {"array": bytes(2 << 20)},
        {"array": bytes(0)},
        {"first_usable": 5000, "last_usable": 40},
    ],
)
def test_headers_out_of_bounds_are_refused_though_their_checksum_is_right(
    changes: dict[str, int],
) -> None:
    copy = replace(COPY, **changes)  # type: ignore[arg-type]
    disk = gpt_disk()
    header = copy.header(lba=1, other_lba=SECTORS - 1, array_lba=2)
    disk[SECTOR : SECTOR + 92] = header
    disk[1024 : 1024 + min(len(copy.array), 1 << 20)] = copy.array[: 1 << 20]
    assert gpt.read_copy(reader(disk), SECTORS, SECTOR, 1) is None


@given(st.binary(max_size=600), st.integers(0, 2100))
@settings(max_examples=300)
def test_no_bytes_make_the_gpt_reader_fail(data: bytes, place: int) -> None:
    disk = gpt_disk()
    disk[place : place + len(data)] = data
    found = find(disk[: SECTORS * SECTOR])
    if found.copy:
        gpt.entries(found.copy, SECTOR)


def mbr_sector(*entries: tuple[int, int, int, int]) -> bytes:
    raw = bytearray(512)
    struct.pack_into("<I", raw, 440, 0x945EDC2F)
    for index, (active, kind, first, count) in enumerate(entries):
        struct.pack_into("<B3sB3sII", raw, 446 + 16 * index, active, b"", kind, b"", first, count)
    raw[510:512] = b"\x55\xaa"
    return bytes(raw)


def mbr_disk(*sectors: tuple[int, bytes]) -> bytearray:
    disk = bytearray(SECTORS * SECTOR)
    for place, raw in sectors:
        disk[place * SECTOR : (place + 1) * SECTOR] = raw
    return disk


HEAD = mbr_sector((0x80, 0x83, 64, 64), (0, 0x0F, 1000, 2000), (0, 0x07, 3000, 96))


def test_logical_partitions_and_their_records() -> None:
    disk = mbr_disk(
        (0, HEAD),
        (1000, mbr_sector((0, 0x83, 8, 100), (0, 0x05, 500, 300))),
        (1500, mbr_sector((0, 0x82, 16, 200), (0, 0x05, 900, 100))),
        (1900, mbr_sector((0, 0x0B, 1, 50))),
    )
    parsed = mbr.parse(reader(disk), len(disk), SECTOR)
    assert parsed.trouble == ""
    assert parsed.disk_id == "945edc2f"
    assert parsed.ebr_offsets == (1000 * 512, 1500 * 512, 1900 * 512)
    assert [(p.number, p.kind, p.start // 512, p.length // 512) for p in parsed.partitions] == [
        (1, "primary", 64, 64),
        (2, "extended", 1000, 2000),
        (3, "primary", 3000, 96),
        (5, "logical", 1008, 100),
        (6, "logical", 1516, 200),
        (7, "logical", 1901, 50),
    ]
    assert parsed.partitions[0].flags == ("active",)
    assert parsed.partitions[0].uuid == "945edc2f-01"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (0, "leads to sector 1000"),
        (2500, "leads to sector 3500"),
        (1 << 31, "leads to sector"),
        (700, "no extended boot record"),
    ],
)
def test_a_chain_that_leads_astray_is_told(link: int, words: str) -> None:
    disk = mbr_disk((0, HEAD), (1000, mbr_sector((0, 0x83, 8, 100), (0, 0x05, link, 10))))
    assert words in mbr.parse(reader(disk), len(disk), SECTOR).trouble


def test_an_empty_extended_partition_is_no_trouble() -> None:
    disk = mbr_disk((0, HEAD))
    parsed = mbr.parse(reader(disk), len(disk), SECTOR)
    assert (parsed.trouble, parsed.ebr_offsets) == ("", ())


@given(st.binary(min_size=66, max_size=66), st.binary(min_size=66, max_size=66))
@settings(max_examples=300)
def test_no_bytes_make_the_mbr_reader_fail(first: bytes, second: bytes) -> None:
    table = bytes(446) + first[:64] + b"\x55\xaa"
    disk = bytearray((bytes(446) + second[:64] + b"\x55\xaa") * SECTORS)
    disk[:512] = table
    mbr.parse(reader(disk), len(disk), SECTOR)
    mbr.is_protective(table)
    mbr.is_boot_sector(table)
