"""Lists of the sectors of GRUB's core: made of a file's places, within the room for them."""

from __future__ import annotations

import struct

import pytest

from rescue.core.extent import Extent
from rescue.core.units import MIB
from rescue.restore.blocklists import NoList, _Step, listed, runs_of
from rescue.restore.bootblocks import block_list
from rescue.restore.layout import Place


def entries(area: bytes) -> list[tuple[int, int, int]]:
    found = []
    for at in range(0x1F4, 0, -12):
        start, count, segment = struct.unpack_from("<QHH", area, at)
        if not count:
            return found
        found.append((start, count, segment))
    raise AssertionError("no end")


def core(*old: tuple[int, int, int], code: int = 0x180) -> bytes:
    area = bytearray(b"\xeb" * code + bytes(512 - code))
    for index, one in enumerate(old):
        struct.pack_into("<QHH", area, 0x1F4 - 12 * index, *one)
    return bytes(area)


def test_each_run_follows_the_one_before_in_memory() -> None:
    before = core((9, 7, 0x820), (99, 9, 0x900), (500, 1, 0xA20))
    after = listed(before, [(2048, 16), (70, 3)])
    assert entries(after) == [(2048, 16, 0x820), (70, 3, 0x820 + 16 * 32)]
    assert after[:0x180] == before[:0x180]
    # What GRUB's own list looks like is what the code that moves partitions takes for one.
    place = Place(1, Extent(0, 4 * MIB), Extent(MIB, 4 * MIB), "primary")
    assert block_list(after, place, 512) is not None
    assert entries(listed(before, [])) == []


def test_code_is_not_written_over() -> None:
    room = [(number * 10, 1) for number in range(9)]
    assert len(entries(listed(core((1, 1, 0x820)), room[:9]))) == 9
    with pytest.raises(NoList, match="pieces"):
        listed(core((1, 1, 0x820)), room * 2)


def test_where_a_file_lies() -> None:
    extents = [(0, 8192, 4096), (4096, 12288, 4096), (8192, 65536, 4096)]
    assert runs_of(extents, 9000, MIB) == [(2064, 16), (2176, 2)]
    assert runs_of(extents[:1], 100, MIB) == [(2064, 1)]
    for bad in ([], [(4096, 0, 4096)], [(0, 100, 4096)], [(0, 8192, 4096), (8192, 0, 4096)]):
        with pytest.raises(NoList, match="no place"):
            runs_of(bad, 9000, MIB)


def test_the_first_sector_names_what_was_found() -> None:
    step = _Step(Place(1, Extent(0, 1), Extent(0, 1), "primary"), "ext4", 512, b"")
    head = bytes(range(256)) * 16
    assert step.settle(head) == head
    step.kernel = 0x123456
    fresh = step.settle(head)
    assert struct.unpack_from("<Q", fresh, 0x5C) == (0x123456,)
    assert fresh[:0x5C] + fresh[0x64:] == head[:0x5C] + head[0x64:]
