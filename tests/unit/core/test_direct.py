"""Transfers past the cache: the same bytes as through it, whatever their place and length."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rescue.core import direct
from rescue.core.direct import ALIGNMENT, LARGEST, LEAST, DirectIO

SIZE = 8 << 20


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


def write(io: DirectIO, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = io.write(view, offset)
        assert count > 0
        view, offset = view[count:], offset + count


def read(io: DirectIO, length: int, offset: int) -> bytes:
    room, got = direct.buffer(), b""
    while len(got) < length:
        part = room[(offset + len(got)) % ALIGNMENT :][: length - len(got)]
        count = io.read(part, offset + len(got))
        assert count > 0
        got += bytes(part[:count])
    return got


@pytest.fixture(params=["past the cache", "through it"])
def io(request: pytest.FixtureRequest, file: int, monkeypatch: pytest.MonkeyPatch) -> DirectIO:
    if request.param == "through it":
        monkeypatch.setattr(direct, "reopen", lambda _fd: -1)
    made = DirectIO(file)
    request.addfinalizer(made.close)
    return made


def test_any_place_and_length(io: DirectIO, file: int) -> None:
    rng, model = random.Random(1), bytearray(SIZE)
    for _ in range(120):
        unit = rng.choice([1, 512, ALIGNMENT])
        length = rng.randrange(1, rng.choice([ALIGNMENT, LEAST * 2, 2 * LARGEST])) // unit * unit
        offset = rng.randrange(0, SIZE - length) // unit * unit
        data = rng.randbytes(length)
        model[offset : offset + length] = data
        write(io, data, offset)
        at = max(0, min(offset - 1000, SIZE - length))
        assert read(io, length, at) == model[at : at + length]
    assert os.pread(file, SIZE, 0) == model


def test_threads_beside_each_other(io: DirectIO, file: int) -> None:
    """Neighbours share pages that both write through the cache, and none past it."""
    rng, at, pieces = random.Random(2), 0, []
    while at < SIZE:
        length = min(SIZE - at, rng.choice([512, 3584, LEAST, LEAST + 512, LARGEST - 512]))
        pieces.append((at, rng.randbytes(length)))
        at += length
    rng.shuffle(pieces)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda piece: write(io, piece[1], piece[0]), pieces))
    assert os.pread(file, SIZE, 0) == b"".join(data for _, data in sorted(pieces))


def test_the_end_of_the_file_is_the_end(io: DirectIO, file: int) -> None:
    os.ftruncate(file, SIZE - 1000)
    room = direct.buffer()
    assert read(io, LARGEST - 1000, SIZE - LARGEST) == bytes(LARGEST - 1000)
    assert io.read(room, SIZE) == 0


def test_a_file_that_cannot_after_all(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    io = DirectIO(file)
    if not io.able:
        pytest.skip("this filesystem has no way past the cache")
    real, refused = os.pwrite, []

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if fd != file:
            refused.append(offset)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    data = random.Random(3).randbytes(2 * LARGEST)
    write(io, data, 0)
    assert len(refused) == 1
    assert not io.able
    assert os.pread(file, len(data), 0) == data
    io.close()


def test_other_errors_are_the_callers(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    io = DirectIO(file)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        io.write(memoryview(bytes(LARGEST)), 0)
    io.close()
    io.close()
    assert not io.able


def known(fd: int, offset: int) -> bool:
    """Whether the kernel has this page in its memory."""
    try:
        return os.preadv(fd, [bytearray(ALIGNMENT)], offset, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    except OSError:
        pytest.skip("this filesystem does not say what is in memory")


def test_only_what_was_written_through_the_cache_is_let_go_of(file: int) -> None:
    """It is read back from the disk then; what others read before stays where it is fast."""
    os.pwrite(file, random.Random(3).randbytes(SIZE), 0)
    os.fsync(file)
    os.pread(file, SIZE, 0)
    io = DirectIO(file)
    place = SIZE - LEAST
    write(io, b"mark", place + 10)
    os.fsync(file)
    assert known(file, place) and known(file, 0)
    for _ in range(2):  # noted places stay so
        assert any(_is_only_there(io, file, place) for _ in range(50))
    io.close()


def _is_only_there(io: DirectIO, file: int, place: int) -> bool:
    """Forgotten at ``place``, known elsewhere.

    On a busy machine the kernel may hold on to a page for a moment, or take another one away.
    """
    os.pread(file, SIZE, 0)
    io.forget()
    if known(file, place) or not known(file, 0):
        time.sleep(0.02)
        return False
    return True


def test_what_is_known_is_taken_from_memory_and_the_rest_from_the_disk(io: DirectIO) -> None:
    fd, data = io._fd, random.Random(4).randbytes(SIZE)
    os.pwrite(fd, data, 0)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no more than what is asked for
    os.pread(fd, LARGEST // 2, LARGEST)
    room, got = direct.buffer(), 0
    while got < LARGEST:
        count = io.read_known(room[got:], LARGEST + got)
        assert count > 0
        got += count
    assert bytes(room) == data[LARGEST : 2 * LARGEST]
    refusing = os.memfd_create("no answer")  # its memory is the file: nothing to be asked
    try:
        os.pwrite(refusing, data[:LARGEST], 0)
        other = DirectIO(refusing)
        assert other.read_known(room, 0) and bytes(room[:4096]) == data[:4096]
        other.close()
    finally:
        os.close(refusing)
