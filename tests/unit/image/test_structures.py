"""Every structure of the format: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from rescue.core.errors import ImageDamaged, ImageUnsupported
from rescue.core.extent import Extent, ExtentMap
from rescue.image import codec, extents, footer, header, ledger, record
from rescue.image.index import Entry, Index, Where, build
from rescue.image.record import Coding, Type

HEADER = header.Header(image_id=bytes(range(16)), created=1_700_000_000)


def rehash(block: bytes, end: int) -> bytes:
    """A structure with its own hash made right again: for values that must be refused by rule."""
    return block[:end] + blake3(block[:end]).digest()


def test_header_round_trip() -> None:
    block = HEADER.to_bytes()
    assert len(block) == 4096
    assert header.parse_copy(block) == HEADER
    assert header.parse_header(block * 2) == (HEADER, 2)


def test_header_every_flipped_bit_is_seen() -> None:
    block = HEADER.to_bytes()
    for at in range(4096 * 8):
        flipped = bytearray(block)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(ImageDamaged):
            header.parse_copy(bytes(flipped))


def test_header_survives_one_damaged_copy_and_counts_it() -> None:
    good = HEADER.to_bytes()
    assert header.parse_header(bytes(4096) + good) == (HEADER, 1)
    assert header.parse_header(good + bytes(4096)) == (HEADER, 1)
    newer = replace(HEADER, generation=2)
    assert header.parse_header(good + newer.to_bytes())[0].generation == 2


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (8, b"\x02\x00", ImageUnsupported),
        (12, b"\x01\x00\x00\x00", ImageDamaged),  # sealed, without a slot
        (12, b"\x04\x00\x00\x00", ImageDamaged),  # incremental, without a parent
        (12, b"\x00\x00\x00\x80", ImageUnsupported),  # a flag nobody knows
        (12, b"\x02\x00\x00\x00", ImageDamaged),  # split, without a capacity
        (20, b"\x00\x00\x00\x00", ImageDamaged),  # generation 0
        (40, b"\x01\x00\x00\x00", ImageDamaged),  # part 1 of an image that is not split
        (44, b"\x00\x00\x20\x00", ImageDamaged),  # chunks of 2 MiB
        (113, b"\x01", ImageDamaged),
        (3000, b"\x01", ImageDamaged),
    ],
)
def test_header_with_a_right_hash_and_a_wrong_value(
    offset: int, value: bytes, error: type[Exception]
) -> None:
    block = bytearray(HEADER.to_bytes())
    block[offset : offset + len(value)] = value
    with pytest.raises(error):
        header.parse_copy(rehash(bytes(block), 4064))


def test_random_bytes_are_not_an_image() -> None:
    with pytest.raises(ImageDamaged, match="not a Rescue image"):
        header.parse_header(b"\x55" * 8192)
    with pytest.raises(ImageDamaged, match="not a Rescue image"):
        header.parse_header(b"")


def test_record_every_flipped_bit_is_seen() -> None:
    payload = b"payload of a record"
    block = b"".join(record.build(Type.MANIFEST, Coding.STORED, len(payload), 0, 1, payload))
    assert record.is_whole(memoryview(block))
    for at in range(len(block) * 8):
        flipped = bytearray(block)
        flipped[at // 8] ^= 1 << at % 8
        assert not record.is_whole(memoryview(bytes(flipped)))


@pytest.mark.parametrize(
    ("kind", "coding", "flags", "stored", "content"),
    [
        (0, 1, 0, 10, 10),
        (9, 1, 0, 10, 10),
        (5, 2, 0, 10, 10),
        (2, 1, 2, 10, 10),
        (2, 1, 0, (1 << 20) + 65, 1 << 20),
        (2, 1, 0, 10, (1 << 20) + 1),
        (5, 1, 0, 10, (16 << 20) + 1),
        (5, 1, 0, (16 << 20) + 1, 10),
        (5, 0, 0, 10, 11),
    ],
)
def test_record_limits(kind: int, coding: int, flags: int, stored: int, content: int) -> None:
    fixed = struct.pack("<4sBBHIIQII", b"RRec", kind, coding, flags, stored, content, 0, 1, 0)
    with pytest.raises(ImageDamaged):
        record.parse(fixed + bytes(32))


def test_codec_round_trip_and_incompressible() -> None:
    text = b"abc" * 10_000
    coding, payload = codec.compress(text, 3)
    assert coding is Coding.ZSTD
    assert codec.decompress(coding, payload, len(text)) == text
    noise = blake3(b"seed").digest(length=4096)
    assert codec.compress(noise, 3) == (Coding.STORED, noise)


def test_codec_refuses_a_bomb_before_decoding_it() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    with pytest.raises(ImageDamaged, match="declares a size"):
        codec.decompress(Coding.ZSTD, bomb, 1 << 20)


def test_codec_refuses_trailing_bytes_and_undeclared_sizes() -> None:
    frame = zstandard.ZstdCompressor().compress(b"x" * 100)
    for payload in (
        frame + b"\0",
        frame + frame,
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100),
        frame[:-1],
        b"",
        b"\x50\x2a\x4d\x18\x00\x00\x00\x00",  # a skippable frame
    ):
        with pytest.raises(ImageDamaged):
            codec.decompress(Coding.ZSTD, payload, 100)


PAIRS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 300)), max_size=60)


@given(PAIRS)
def test_map_round_trip(pairs: list[tuple[int, int]]) -> None:
    original = ExtentMap.of((start, start + length) for start, length in pairs)
    assert extents.decode(extents.encode(original), 20_000) == original


def test_map_over_several_records(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ExtentMap.of((i * 10, i * 10 + 5) for i in range(100))
    monkeypatch.setattr(extents, "MAX_EXTENTS", 7)
    contents = list(extents.encode(original))
    assert len(contents) == 15
    assert extents.decode(iter(contents), 1000) == original


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<I", 1),
        struct.pack("<IQQ", 1, 0, 0),  # empty extent
        struct.pack("<IQQ", 1, 0, 1001),  # beyond the end
        struct.pack("<IQQQQ", 2, 5, 0, 5, 5),  # touching extents
        struct.pack("<IQQ", 1, 1 << 63, 1 << 63),  # a sum that does not fit
        struct.pack("<I", 524_289) + bytes(16 * 524_289),
    ],
)
def test_map_refuses(content: bytes) -> None:
    with pytest.raises(ImageDamaged):
        extents.decode(iter([content]), 1000)


def entry(number: int, position: int = 100) -> Entry:
    return Entry(number, Where.ZSTD, 50, 0, position, bytes([number % 256]) * 32)


def test_index_round_trip_and_find() -> None:
    original = build(entry(n, 100 * n) for n in (0, 3, 4, 900))
    copy = Index()
    copy.extend(original.encode(0, 2), chunks=1000)
    copy.extend(original.encode(2, 4), chunks=1000)
    assert list(copy.entries()) == list(original.entries())
    assert copy.find(4) == entry(4, 400)
    assert copy.find(5) is None
    assert list(copy.between(3, 900)) == [1, 2]


@pytest.mark.parametrize("numbers", [(3, 3), (4, 3), (3, 1000)])
def test_index_refuses_numbers_out_of_order_or_bounds(numbers: tuple[int, int]) -> None:
    made = Index()
    for number in numbers:
        made.numbers.append(number)
        made.wheres.append(1 << 22 | 50)
        made.positions.append(0)
        made.digests += bytes(32)
    with pytest.raises(ImageDamaged):
        Index().extend(made.encode(0, 2), chunks=1000)


def test_index_refuses_wrong_lengths_and_kinds() -> None:
    content = build([entry(1)]).encode(0, 1)
    no_length = content[:8] + struct.pack("<I", 2 << 22) + content[12:]
    other_layer = content[:8] + struct.pack("<I", 1 << 24 | 1 << 22 | 50) + content[12:]
    zero_with_length = content[:8] + struct.pack("<I", 3 << 22 | 50) + content[12:]
    for bad in (
        b"",
        content[:-1],
        content + b"\0",
        no_length,
        other_layer,
        zero_with_length,
        struct.pack("<I", 65_537) + bytes(48 * 65_537),
        struct.pack("<I", 0),
    ):
        with pytest.raises(ImageDamaged):
            Index().extend(bad, chunks=1000)


FOOTER = footer.Footer(bytes(range(16)), footer.Outcome.COMPLETE, 1000, 200, 1328, bytes(32))


def test_footer_round_trip_and_every_flipped_bit() -> None:
    block = FOOTER.to_bytes()
    assert footer.parse_footer(block) == FOOTER
    for at in range(128 * 8):
        flipped = bytearray(block)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(ImageDamaged):
            footer.parse_footer(bytes(flipped))


def test_no_footer_is_incomplete_not_damaged() -> None:
    assert footer.parse_footer(bytes(128)) is None
    assert footer.parse_footer(b"") is None


@pytest.mark.parametrize(
    ("offset", "value"), [(10, b"\x02"), (11, b"\x01"), (32, b"\xff" * 8), (40, bytes(4))]
)
def test_footer_with_a_right_hash_and_a_wrong_value(offset: int, value: bytes) -> None:
    block = bytearray(FOOTER.to_bytes())
    block[offset : offset + len(value)] = value
    with pytest.raises(ImageDamaged):
        footer.parse_footer(rehash(bytes(block), 96))


def test_directory_round_trip_and_bounds() -> None:
    items = [footer.Item(Type.SEGMENT, 80, 0, bytes(32)), footer.Item(Type.MAP, 90, 500, bytes(32))]
    content = footer.encode_directory(FOOTER.image_id, items)
    assert footer.parse_directory(content, FOOTER) == tuple(items)
    backwards = footer.encode_directory(FOOTER.image_id, items[::-1])
    outside = footer.encode_directory(FOOTER.image_id, [replace(items[0], position=990)])
    foreign = footer.encode_directory(bytes(16), items)
    for bad in (backwards, outside, foreign, content[:-1], content + b"\0", b""):
        with pytest.raises(ImageDamaged):
            footer.parse_directory(bad, FOOTER)


def test_ledger_must_balance() -> None:
    skipped = (ledger.Skipped(Extent(50, 20), "swap"),)
    good = ledger.Ledger(100, 40, 30, skipped, (Extent(90, 10),))
    assert good.balances
    assert ledger.parse_ledger(good.to_json()) == good
    for bad in (replace(good, free=31), replace(good, failed=())):
        with pytest.raises(ImageDamaged):
            ledger.parse_ledger(bad.to_json())
    for broken in (None, [], {}, {**good.to_json(), "captured": True}):
        with pytest.raises(ImageDamaged):
            ledger.parse_ledger(broken)
