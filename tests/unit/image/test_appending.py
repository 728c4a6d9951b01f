"""Appending past the cache and through it: the same file, whatever the lengths and the flushes."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.core.direct import ALIGNMENT, LEAST
from rescue.image import appending
from rescue.image.appending import ROOM, Appender, room


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.fixture(params=["past the cache", "through it"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way; the first where the filesystem of the tests can."""
    monkeypatch.setattr(appending, "_is_on_a_disk", lambda _fd: request.param != "through it")
    return str(request.param)


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the filesystem of the tests cannot, a second descriptor stands for that way."""
    monkeypatch.setattr(appending, "_is_on_a_disk", lambda _fd: True)
    monkeypatch.setattr(appending, "reopen", os.dup)


def content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(6))
def test_what_is_settled_is_what_was_appended(seed: int, file: int) -> None:
    rng, model = random.Random(seed), bytearray()
    model += rng.randbytes(rng.choice([0, 1, ALIGNMENT, 8192, LEAST + 17]))
    os.pwrite(file, model, 0)
    appender = Appender(file, len(model), room())
    for _ in range(60):
        limit = rng.choice([10, ALIGNMENT, LEAST * 2, 1 << 20])
        data = rng.randbytes(rng.randrange(limit))
        appender.append(data)
        model += data
        if rng.random() < 0.3:
            appender.settle()
            assert content(file) == model
        else:
            # What is not handed over is missing at the end, and nothing else.
            assert model.startswith(content(file))
            assert len(model) - os.fstat(file).st_size < ROOM
    data = rng.randbytes(2 * ROOM + 5)
    appender.append(data)
    appender.settle()
    appender.settle()
    assert content(file) == model + data
    appender.close()
    appender.close()


@pytest.mark.usefixtures("way")
def test_going_on_in_the_middle_of_a_page(file: int) -> None:
    start = random.Random(1).randbytes(ALIGNMENT + 100)
    os.pwrite(file, start, 0)
    appender = Appender(file, len(start), room())
    appender.append(bytes(ROOM))
    appender.settle()
    assert content(file) == start + bytes(ROOM)
    appender.close()


def test_a_file_that_is_shorter_than_it_was(file: int) -> None:
    os.pwrite(file, b"short", 0)
    with pytest.raises(OSError, match="it became shorter"):
        Appender(file, 100, room())


@pytest.mark.usefixtures("second")
def test_large_writes_go_past_the_cache_and_the_last_page_does_not(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender = Appender(file, 0, room())
    assert appender._direct >= 0
    real, seen = os.pwrite, []

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        seen.append((fd == file, offset, len(data)))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    appender.append(bytes(ROOM))
    appender.append(bytes(LEAST + 10))
    appender.settle()
    appender.append(bytes(LEAST))
    appender.settle()
    assert seen == [
        (False, 0, ROOM),
        (False, ROOM, LEAST),
        (True, ROOM + LEAST, 10),
        # The page that was handed over in part is whole now, and goes again.
        (False, ROOM + LEAST, LEAST),
        (True, ROOM + 2 * LEAST, 10),
    ]
    appender.close()


@pytest.mark.usefixtures("second")
def test_a_filesystem_that_cannot_after_all(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After half of a write it has had enough; the other half goes through the cache."""
    appender = Appender(file, 0, room())
    assert appender._direct >= 0
    real, past = os.pwrite, []

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if fd == file:
            return real(fd, data, offset)
        past.append(offset)
        if len(past) > 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, data[: len(data) // 2], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    data = random.Random(3).randbytes(3 * ROOM)
    appender.append(data)
    appender.settle()
    assert past == [0, ROOM // 2]
    assert content(file) == data
    appender.close()


@pytest.mark.usefixtures("way")
def test_other_errors_are_the_callers(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = Appender(file, 0, room())
    real = os.pwrite

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        appender.append(bytes(ROOM))
    # When there is room again, nothing of it was lost.
    monkeypatch.setattr(os, "pwrite", real)
    appender.settle()
    assert content(file) == bytes(ROOM)
    appender.close()
