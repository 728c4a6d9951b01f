"""Flushing behind the appender's back: never an error that gets lost, never too much on its way."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, ImageIncomplete
from rescue.core.extent import ExtentMap
from rescue.image.flusher import BEHIND, STEP, Flusher
from rescue.image.footer import Outcome
from rescue.image.manifest import Manifest
from rescue.image.reader import Image
from rescue.image.writer import ImageWriter
from tests.unit.image.making import disk, encoded, write


def fails(_fd: int) -> None:
    raise OSError(errno.EIO, "the disk is gone")


def test_an_error_is_raised_by_every_later_call() -> None:
    flusher = Flusher(fails)
    flusher.start(3, STEP)
    flusher.stop()
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            flusher.wait()
    with pytest.raises(OSError, match="the disk is gone"):
        flusher.start(3, 2 * STEP)


def test_the_appender_waits_only_when_too_much_is_on_its_way() -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    done: list[int] = []

    def slow(fd: int) -> None:
        begun.release()
        assert go_on.acquire(timeout=20)
        done.append(fd)

    flusher = Flusher(slow)
    assert not flusher.due(STEP - 1)
    assert flusher.due(STEP)
    flusher.start(1, STEP)
    assert begun.acquire(timeout=20)
    assert not flusher.due(2 * STEP - 1)
    flusher.start(2, BEHIND - 1)  # returns at once: the first still runs
    assert done == []
    threading.Timer(0.05, go_on.release).start()
    flusher.start(3, BEHIND)  # waits for the first
    assert done == [1]
    go_on.release()
    flusher.wait()
    assert done == [1, 3]


@pytest.mark.parametrize("last", ["checkpoint", "finish"])
def test_an_image_whose_flush_failed_is_incomplete(
    last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.rescue"
    writer = ImageWriter(path, b"{}")
    monkeypatch.setattr(writer._out, "_flusher", Flusher(fails))
    writer.add(encoded(0, disk()[: 1 << 20]))
    writer._checkpoint_at = 0
    writer.checkpoint()
    writer._out._flusher.stop()
    with pytest.raises(DiskTrouble, match="the disk is gone"):
        if last == "checkpoint":
            writer._checkpoint_at = 0
            writer.checkpoint()
        else:
            manifest = Manifest("t", "", "", {}, {}, {}, (), None, 1, 3)  # type: ignore[arg-type]
            monkeypatch.setattr(Manifest, "encode", lambda _self: b"{}")
            writer.finish(manifest, ExtentMap.single(0, 1 << 20), Outcome.COMPLETE)
    writer.close()
    with pytest.raises(ImageIncomplete):
        Image.open(path)


@pytest.mark.parametrize("capacity", [0, 1 << 20])
def test_flushed_images_are_whole(capacity: int, tmp_path: Path) -> None:
    data = write(tmp_path / "x.rescue", capacity=capacity, checkpoint=True)
    with Image.open(tmp_path / "x.rescue") as image:
        assert image.read(0, len(data)) == data
