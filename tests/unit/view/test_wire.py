"""FUSE structures as the kernel lays them out (include/uapi/linux/fuse.h)."""

from __future__ import annotations

import stat
import struct

import pytest

from rescue.view import wire
from rescue.view.wire import Attributes, Op


def test_sizes_are_the_kernels() -> None:
    known = Attributes(7, 1234, stat.S_IFREG | 0o400, 1_700_000_000_123_456_789)
    assert wire.IN_HEADER.size == 40
    assert wire.OUT_HEADER.size == 16
    assert wire.READ_IN.size == wire.WRITE_IN.size == 40
    assert len(wire.entry(known)) == 128
    assert len(wire.attributes_out(known)) == 104
    assert len(wire.opened()) == 16
    assert len(wire.statfs(1, 1)) == 80
    assert len(wire.init(memoryview(struct.pack("=IIII", 7, 45, 1 << 20, 0xFFFFFFFF)))) == 64


def test_attributes_are_where_stat_looks() -> None:
    known = Attributes(7, 1234, stat.S_IFREG | 0o400, 1_700_000_000_123_456_789, 3, 11, 12)
    words = struct.unpack("=6Q10I", wire.attributes_out(known)[16:])
    assert words[:6] == (7, 1234, 3, *(1_700_000_000,) * 3)
    assert words[6:13] == (*(123_456_789,) * 3, stat.S_IFREG | 0o400, 3, 11, 12)


def test_init_takes_only_what_is_offered() -> None:
    reply = wire.init(memoryview(struct.pack("=IIII", 7, 31, 4096, 1)))
    major, minor, readahead, flags = struct.unpack("=IIII", reply[:16])
    assert (major, minor, readahead, flags) == (7, 31, 4096, 1)
    with pytest.raises(ValueError, match=r"7\.19"):
        wire.init(memoryview(struct.pack("=IIII", 7, 19, 4096, 1)))
    with pytest.raises(struct.error):
        wire.init(memoryview(b"short"))


def test_pages_are_let_go_of_in_the_kernels_words() -> None:
    message = wire.let_go(7, 4096, 1 << 20)
    assert struct.unpack("=IiQQqq", message) == (40, 2, 0, 7, 4096, 1 << 20)


def test_requests() -> None:
    block = wire.IN_HEADER.pack(45, Op.LOOKUP, 9, 1, 0, 0, 0, 0, 0) + b"name\0"
    request = wire.parse_request(memoryview(block))
    assert (request.op, request.unique, request.node) == (Op.LOOKUP, 9, 1)
    assert bytes(request.body) == b"name\0"
    for bad in (block[:30], block + b"x"):
        with pytest.raises(ValueError):
            wire.parse_request(memoryview(bad))


def test_a_directory_is_read_in_pieces() -> None:
    listing = [(f"name {n}".encode() * (n % 9 + 1), n + 2, stat.S_IFREG) for n in range(100)]
    seen, at = [], 0
    while piece := wire.directory(listing, at, 300):
        assert len(piece) <= 300
        while piece:
            node, at, length, kind = struct.unpack("=QQII", piece[:24])
            seen.append((piece[24 : 24 + length], node, kind << 12))
            piece = piece[24 + length + -(24 + length) % 8 :]
    assert seen == listing
