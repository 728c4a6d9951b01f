"""Reading chunks of a disk with bad sectors, holes and free space; no disk is needed for it."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.capture.reading import ChunkReader
from rescue.core.errors import DiskTrouble
from rescue.core.extent import ExtentMap
from rescue.image.header import CHUNK_SIZE

SECTOR = 512
SIZE = CHUNK_SIZE + 40 * SECTOR
DATA = random.Random(1).randbytes(SIZE)


class Fake:
    """A source of which some sectors cannot be read, some of them only at first."""

    path = Path("/nowhere/disk")  # O_DIRECT cannot be had of it
    fd = -1
    is_block = False
    sector_size = SECTOR
    size = SIZE

    def __init__(self, bad: ExtentMap, code: int = errno.EIO, heal_after: int = 10**9) -> None:
        self.bad, self.code, self.heal_after = bad, code, heal_after
        self.tries: dict[int, int] = {}
        self.reads: list[tuple[int, int]] = []

    def read_into(self, buffer: memoryview, offset: int) -> int:
        end = min(offset + len(buffer), self.size)
        self.reads.append((offset, end))
        for start, _ in self.bad.within(offset, end):
            at = start // SECTOR * SECTOR
            if len(buffer) == SECTOR:
                self.tries[at] = self.tries.get(at, 0) + 1
            if self.tries.get(at, 0) <= self.heal_after:
                raise OSError(self.code, os.strerror(self.code))
        buffer[: end - offset] = DATA[offset:end]
        return end - offset


def reader(source: Fake, captured: ExtentMap, **more: object) -> ChunkReader:
    whole = ExtentMap.single(0, SIZE)
    return ChunkReader(source, captured, whole, **more)  # type: ignore[arg-type]


def sectors(*pairs: tuple[int, int]) -> ExtentMap:
    return ExtentMap.of((low * SECTOR, high * SECTOR) for low, high in pairs)


def expected(number: int, captured: ExtentMap, bad: ExtentMap) -> bytes:
    """What a chunk must be: data where it was captured and could be read, zeros elsewhere."""
    start = number * CHUNK_SIZE
    out = bytearray(min(CHUNK_SIZE, SIZE - start))
    for low, high in captured.difference(bad).within(start, start + len(out)):
        out[low - start : high - start] = DATA[low:high]
    return bytes(out)


RANGES = st.lists(st.tuples(st.integers(0, 2087), st.integers(1, 30)), max_size=12).map(
    lambda pairs: sectors(*((low, min(low + n, SIZE // SECTOR)) for low, n in pairs))
)


@given(RANGES, RANGES)
def test_exactly_what_cannot_be_read(captured: ExtentMap, bad: ExtentMap) -> None:
    source = Fake(bad)
    chunks = reader(source, captured)
    found = []
    for number in (0, 1):
        view, failed = chunks.read(number)
        assert bytes(view) == expected(number, captured, bad)
        found += [(e.start, e.end) for e in failed]
    assert ExtentMap.of(found) == captured.intersection(bad)


def test_bad_sectors_in_free_space_are_no_matter() -> None:
    """Two pieces with a small gap are read at once; a bad sector in the gap is not reported."""
    captured = sectors((0, 8), (16, 24))
    view, failed = reader(Fake(sectors((10, 12))), captured).read(0)
    assert failed == []
    assert bytes(view) == expected(0, captured, ExtentMap())


def test_each_sector_is_tried_again() -> None:
    bad = sectors((5, 6))
    for retry in (0, 3):
        source = Fake(bad)
        _, failed = reader(source, sectors((0, 64)), retry=retry).read(0)
        assert [(e.start, e.length) for e in failed] == [(5 * SECTOR, SECTOR)]
        assert source.tries[5 * SECTOR] == 1 + retry
    healing = Fake(bad, heal_after=3)
    view, failed = reader(healing, sectors((0, 64)), retry=3).read(0)
    assert failed == [] and bytes(view[: 64 * SECTOR]) == DATA[: 64 * SECTOR]


def test_what_a_map_calls_bad_is_not_read() -> None:
    bad = sectors((7, 9))
    source = Fake(ExtentMap())
    view, failed = reader(source, sectors((0, 64)), bad=bad).read(0)
    assert [(e.start, e.end) for e in failed] == list(bad.pairs())
    assert bytes(view) == expected(0, sectors((0, 64)), bad)


@pytest.mark.parametrize("code", [errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.EACCES])
def test_a_disk_that_is_gone_ends_the_capture(code: int) -> None:
    with pytest.raises(DiskTrouble, match="cannot read /nowhere/disk"):
        reader(Fake(sectors((5, 6)), code), sectors((0, 64))).read(0)


def test_a_file_that_became_shorter_ends_the_capture() -> None:
    source = Fake(ExtentMap())
    chunks = reader(source, ExtentMap.single(0, SIZE))
    source.read_into = lambda _buffer, _offset: 100  # type: ignore[method-assign]
    with pytest.raises(DiskTrouble, match="became shorter"):
        chunks.read(0)
