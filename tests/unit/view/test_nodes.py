"""Windows on a disk, their holes, and throw-away overlays."""

from __future__ import annotations

import errno
import os
import random
import stat

import pytest

from rescue.core.extent import Extent, ExtentMap
from rescue.view.nodes import Folder, Node, Scratch, Window

DISK = random.Random(5).randbytes(200_000)


class Memory:
    """A disk in memory."""

    size = len(DISK)
    data = ExtentMap.of([(1000, 20_000), (60_001, 60_002), (150_000, 200_000)])

    def read(self, offset: int, length: int) -> list[bytes]:
        return [DISK[offset : offset + length]]


def window(start: int, length: int) -> Window:
    return Window(stat.S_IFREG | 0o400, store=Memory(), extent=Extent(start, length))


def test_a_window_shows_its_extent_only() -> None:
    shown = window(10_000, 5000)
    assert b"".join(shown.read(0, 100)) == DISK[10_000:10_100]
    assert b"".join(shown.read(4990, 100)) == DISK[14_990:15_000]
    assert b"".join(shown.read(5000, 100)) == b""
    assert b"".join(shown.read(9999, 100)) == b""
    with pytest.raises(OSError) as caught:
        shown.write(0, memoryview(b"x"))
    assert caught.value.errno == errno.EROFS


@pytest.mark.parametrize(("start", "length"), [(0, 200_000), (512, 150_000), (19_000, 60_000)])
def test_holes_are_whole_pages_without_data(start: int, length: int) -> None:
    shown = window(start, length)
    at, seen = 0, bytearray(length)
    while at < length:
        try:
            low = shown.seek(at, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            break
        high = shown.seek(low, os.SEEK_HOLE)
        assert low % 4096 == 0 or low == at
        assert high % 4096 == 0 or high == length
        assert low < high
        seen[low:high] = b"\1" * (high - low)
        at = high
    for low, high in Memory.data.within(start, start + length):
        assert all(seen[low - start : high - start])
    assert sum(seen) <= Memory.data.total + 6 * 8192
    with pytest.raises(OSError) as caught:
        shown.seek(length, os.SEEK_DATA)
    assert caught.value.errno == errno.ENXIO


def test_an_overlay_keeps_what_is_written_and_nothing_else_changes() -> None:
    under = window(7, 100_001)
    overlay = Scratch(stat.S_IFREG | 0o600, under=under)
    model = bytearray(DISK[7 : 7 + 100_001])
    rng = random.Random(8)
    for _ in range(200):
        at = rng.randrange(len(model))
        piece = rng.randbytes(min(rng.choice((1, 511, 4096, 9000)), len(model) - at))
        overlay.write(at, memoryview(piece))
        model[at : at + len(piece)] = piece
        start, length = rng.randrange(len(model)), rng.choice((1, 4096, 50_000))
        assert b"".join(overlay.read(start, length)) == model[start : start + length]
    assert b"".join(overlay.read(0, len(model))) == model
    assert b"".join(under.read(0, len(model))) == DISK[7 : 7 + 100_001]
    with pytest.raises(OSError):
        overlay.write(100_000, memoryview(b"ab"))


def test_a_folder_is_filled_once() -> None:
    calls = []

    def fill() -> dict[bytes, Node]:
        calls.append(1)
        return {b"a": Folder(stat.S_IFDIR)}

    folder = Folder(stat.S_IFDIR, fill=fill)
    assert list(folder.entries()) == list(folder.entries()) == [b"a"]
    assert calls == [1]
