"""The power goes at any moment: the target is marked half restored, or whole, or as it was before.

A model of a disk with a cache: what was written since the last flush may have reached it or not, in
any order. Every flush boundary is tried, and random choices of what got through between two of
them, also with the last write torn between sectors.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rescue.core.direct import DirectIO
from rescue.core.progress import Silent
from rescue.image.header import CHUNK_SIZE
from rescue.image.reader import Image
from rescue.restore import marker, pipeline
from rescue.restore.result import Options
from tests.unit.image.making import SIZE, write
from tests.unit.restore.test_pipeline import OLD, plan

SECTOR = 512
Written = tuple[int, bytes]


@dataclass
class Recorder:
    """A target that notes every write, in groups between flushes."""

    fd: int
    size: int = SIZE
    created: bool = False
    path: Path = Path("disk")
    groups: list[list[Written]] = field(default_factory=lambda: [[]])

    def __post_init__(self) -> None:
        self.io = DirectIO(self.fd)

    def flush(self) -> None:
        self.groups.append([])

    def reread_partitions(self) -> None:
        pass


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    write(tmp_path / "x")
    with Image.open(tmp_path / "x") as opened:
        yield opened


def recorded(
    image: Image, disk: Path, monkeypatch: pytest.MonkeyPatch, options: Options
) -> list[list[Written]]:
    """Restore onto ``disk``; its writes between flushes."""
    fd = os.open(disk, os.O_RDWR)
    target = Recorder(fd)
    real = os.pwrite

    def note(to: int, data: bytes | memoryview, at: int) -> int:
        target.groups[-1].append((at, bytes(data)))
        return real(to, data, at)

    monkeypatch.setattr(os, "pwrite", note)
    monkeypatch.setattr(pipeline, "_CHECKPOINT_SECONDS", -1)
    try:
        result = pipeline.execute(plan(image), image, target, Silent(), options=options)  # type: ignore[arg-type]
    finally:
        monkeypatch.undo()
        target.io.close()
        os.close(fd)
    assert result.complete
    return target.groups


def put(disk: bytearray, written: Written, sectors: int | None = None) -> None:
    at, data = written
    data = data if sectors is None else data[: sectors * SECTOR]
    disk[at : at + len(data)] = data


def judge(disk: bytearray, before: bytes, whole: bytes) -> str:
    """What such a disk is taken for."""
    if marker.is_marked(disk):
        return "half"
    if disk[:SECTOR] == whole[:SECTOR]:
        assert bytes(disk) == whole, "it is taken for whole, and is not"
        return "whole"
    middle = slice(CHUNK_SIZE, SIZE - CHUNK_SIZE)
    assert disk[middle] == before[middle], "something was written before the mark"
    return "before"


@pytest.mark.parametrize("compare", [False, True])
def test_at_every_flush_and_in_any_order(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compare: bool
) -> None:
    disk = tmp_path / "disk"
    before = OLD * SIZE
    disk.write_bytes(before)
    groups = recorded(image, disk, monkeypatch, Options(compare=compare))
    whole = disk.read_bytes()
    rng = random.Random(8)
    seen: list[str] = []
    done = bytearray(before)
    for group in groups:
        seen.append(judge(done, before, whole))
        for _ in range(40):
            tried = bytearray(done)
            through = [one for one in group if rng.random() < 0.5]
            rng.shuffle(through)
            for index, one in enumerate(through):
                torn = None
                if index == len(through) - 1:
                    torn = rng.randrange(len(one[1]) // SECTOR + 1)
                put(tried, one, torn)
            seen.append(judge(tried, before, whole))
        for one in group:
            put(done, one)
    assert judge(done, before, whole) == "whole"
    assert seen.count("half") > 100 and "before" in seen and "whole" in seen


def test_gone_on_with_after_any_cut_it_is_the_same_disk(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    before = OLD * SIZE
    disk.write_bytes(before)
    groups = recorded(image, disk, monkeypatch, Options())
    whole = disk.read_bytes()
    rng = random.Random(2)
    done = bytearray(before)
    for group in groups:
        tried = bytearray(done)
        for one in group:
            if rng.random() < 0.5:
                put(tried, one)
        disk.write_bytes(tried)
        recorded(image, disk, monkeypatch, Options())
        assert disk.read_bytes() == whole
        for one in group:
            put(done, one)
