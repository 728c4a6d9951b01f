"""Rings of XFS log blocks made here: where the head is, and whether an unmount is there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.allocation import xfslog

COUNT = 256
BASE = 4096 * 100


def record(length: int, cycle: int, *, unmount: bool, size: int = 32768) -> list[bytes]:
    """A log record: its headers and blocks, each stamped with the cycle."""
    headers = max(1, size // 32768)
    head = bytearray(512)
    struct.pack_into(">IIII", head, 0, 0xFEEDBABE, cycle, 2, length * 512)
    struct.pack_into(">I", head, 40, 1 if unmount else 7)
    struct.pack_into(">I", head, 320, size)
    blocks = [bytes(head)] + [struct.pack(">I", cycle).ljust(512, b"\0")] * (headers - 1)
    for number in range(length):
        body = bytearray(struct.pack(">I", cycle).ljust(512, b"\xee"))
        if number == 0:
            body[9] = 0x20 if unmount else 0x10
        blocks.append(bytes(body))
    return blocks


def ring(records: list[tuple[int, bool]], start: int = 0, size: int = 32768) -> list[bytes]:
    """A log in which these records (blocks of data, unmount) were written from ``start`` on."""
    blocks = [struct.pack(">I", 1 if start else 0).ljust(512, b"\0")] * COUNT
    at, cycle = start, 2 if start else 1
    if start:
        blocks = [struct.pack(">I", 2 if n < start else 1).ljust(512, b"\0") for n in range(COUNT)]
    for length, unmount in records:
        written = record(length, cycle, unmount=unmount, size=size)
        for offset, raw in enumerate(written):
            place = (at + offset) % COUNT
            if at + offset >= COUNT:
                # A record that goes over the end has the next cycle in its second part.
                words = bytearray(raw)
                struct.pack_into(">I", words, 4 if raw[:4] == b"\xfe\xed\xba\xbe" else 0, cycle + 1)
                raw = bytes(words)
            blocks[place] = raw
        at += len(written)
        if at >= COUNT:
            at, cycle = at - COUNT, cycle + 1
    return blocks


def clean(blocks: list[bytes]) -> bool:
    superblock = bytearray(512)
    struct.pack_into(">I", superblock, 4, 4096)
    struct.pack_into(">Q", superblock, 48, 100)
    struct.pack_into(">I", superblock, 84, 1000)
    struct.pack_into(">I", superblock, 96, COUNT * 512 // 4096)
    superblock[124] = 10
    log = b"".join(blocks)

    def read(length: int, offset: int) -> bytes:
        assert BASE <= offset <= BASE + len(log) - length
        return log[offset - BASE : offset - BASE + length]

    return xfslog.is_clean(read, bytes(superblock))


def test_a_new_filesystem_is_clean() -> None:
    assert clean(ring([(1, True)]))


@pytest.mark.parametrize("size", [32768, 65536, 262144])
def test_the_last_record_decides(size: int) -> None:
    assert clean(ring([(1, True), (9, False), (1, True)], size=size))
    assert not clean(ring([(1, True), (9, False)], size=size))
    assert not clean(ring([(1, True), (9, False), (1, True), (3, False)], size=size))


@given(st.integers(1, COUNT - 1), st.lists(st.integers(1, 20), max_size=6), st.booleans())
def test_wherever_the_ring_is_closed(start: int, lengths: list[int], unmount: bool) -> None:
    records = [(length, False) for length in lengths] + [(1 if unmount else 5, unmount)]
    assert clean(ring(records, start)) == unmount


def test_blocks_written_out_of_order_are_not_clean() -> None:
    blocks = ring([(9, False), (1, True)], 100)
    assert clean(blocks)
    ahead = 100 + 12 + 5
    blocks[ahead] = struct.pack(">I", 2).ljust(512, b"\0")
    assert not clean(blocks)


def test_a_log_of_zeros_or_garbage_is_not_clean() -> None:
    assert not clean([bytes(512)] * COUNT)
    assert not clean([b"\xff" * 512] * COUNT)


def test_a_log_elsewhere_is_not_clean() -> None:
    assert not xfslog.is_clean(
        lambda _length, _offset: b"", struct.pack(">II", 0, 4096) + bytes(504)
    )
