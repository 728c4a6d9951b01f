"""The reader of recorded writes (tests/torture) tells what was kept, in its order."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from tests.torture.writelog import Interval, Write, read, torn


def log(path: Path, *entries: tuple[int, bytes, int, int]) -> Path:
    """A log of (first sector, data, sectors, flags)."""
    with path.open("wb") as file:
        header = struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), 512)
        file.write(header.ljust(512, b"\0"))
        for first, data, sectors, flags in entries:
            file.write(struct.pack("<QQQQ", first, sectors, flags, 0).ljust(512, b"\0") + data)
    return path


def test_flushes_part_what_was_written(tmp_path: Path) -> None:
    one, two = b"1" * 512, b"2" * 1024
    path = log(
        tmp_path / "log", (0, one, 1, 0), (0, b"", 0, 1), (8, two, 2, 0), (20, b"", 4, 4),
        (1, one, 1, 1),
    )  # fmt: skip
    assert read(path) == [
        Interval((Write(0, one),)),
        Interval((Write(8 * 512, two), Write(20 * 512, b"", 2048))),
        Interval((Write(512, one),)),
    ]


def test_a_flush_with_data_comes_before_the_data(tmp_path: Path) -> None:
    path = log(tmp_path / "log", (3, b"a" * 512, 1, 0), (4, b"b" * 512, 1, 1))
    assert [len(interval.writes) for interval in read(path)] == [1, 1]


def test_something_else_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(1024))
    with pytest.raises(ValueError, match="no log"):
        read(tmp_path / "other")


def test_torn_writes_begin_as_they_were() -> None:
    interval = Interval(tuple(Write(n * 4096, bytes([n]) * 4096) for n in range(1, 50)))
    given = {write.offset: write.data for write in interval.writes}
    shorter = fewer = 0
    for seed in range(30):
        found = torn(interval, random.Random(seed))
        assert len({write.offset for write in found}) == len(found)
        for write in found:
            assert given[write.offset].startswith(write.data) and len(write.data) % 512 == 0
            shorter += len(write.data) < 4096
        fewer += len(found) < len(given)
    assert shorter and fewer == 30
