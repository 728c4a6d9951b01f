"""Writing a target: nothing that is damaged, the tables last, nothing outside what was planned."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rescue.core.direct import DirectIO
from rescue.core.errors import DiskTrouble
from rescue.core.extent import Extent, ExtentMap
from rescue.core.progress import Silent
from rescue.devices.model import Layout
from rescue.image.header import BODY_START, CHUNK_SIZE
from rescue.image.reader import Image
from rescue.restore import marker, pipeline
from rescue.restore.plan import RestorePlan
from rescue.restore.result import Options, RestoreResult
from tests.unit.image.making import SIZE, write

OLD = b"\xa5"


@dataclass
class Target:
    """Stands for a ``SafeTarget``; notes in which order things happen."""

    fd: int
    size: int
    created: bool
    path: Path = Path("disk")
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.io = DirectIO(self.fd)

    def flush(self) -> None:
        self.events.append("flush")

    def reread_partitions(self) -> None:
        self.events.append("reread")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "x")
    return tmp_path / "x"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(OLD * SIZE)
    return path


@pytest.fixture
def target(disk: Path) -> Iterator[Target]:
    fd = os.open(disk, os.O_RDWR)
    made = Target(fd, SIZE, False)
    yield made
    made.io.close()
    os.close(fd)


def plan(image: Image, **more: object) -> RestorePlan:
    fields = {
        "layout": Layout("none", 512, SIZE, "", (), ExtentMap()),
        "volumes": (),
        "needed": SIZE,
        "written": image.captured,
        "last": frozenset({0, 5}),
        "chosen": (),
        "unreadable": (),
        "head": 4096,
        **more,
    }
    return RestorePlan(**fields)  # type: ignore[arg-type]


def execute(image: Image, target: Target, planned: RestorePlan) -> RestoreResult:
    return pipeline.execute(planned, image, target, Silent())  # type: ignore[arg-type]


def test_tables_last(
    image: Path, disk: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the old tables go, then the content comes, flushed, then the new tables, flushed."""
    order = target.events
    real = os.pwrite

    def note(fd: int, data: memoryview, at: int) -> int:
        order.append(f"{at // CHUNK_SIZE}{'' if any(data) else ' zeros'}")
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", note)
    with Image.open(image) as opened:
        result = execute(opened, target, plan(opened))
    assert result.complete and result.outcome == "complete"
    flushes = [i for i, event in enumerate(order) if event == "flush"]
    marked, copied, tables, whole = flushes
    # First and last MiB, in pieces of any number, and the mark.
    assert list(dict.fromkeys(order[:marked])) == ["0 zeros", "4 zeros", "5 zeros", "0"]
    assert {"2", "3"} <= set(order[marked:copied]) and "0" not in order[marked:copied]
    assert sorted(order[copied + 1 : tables]) == ["0", "0", "5"]
    assert order[tables + 1 :] == ["0", "flush", "reread"] and whole == len(order) - 2
    data = disk.read_bytes()
    with Image.open(image) as opened:
        assert data[:CHUNK_SIZE] == opened.read(0, CHUNK_SIZE)
        assert data[2 * CHUNK_SIZE :] == opened.read(2 * CHUNK_SIZE, SIZE)


def test_what_is_not_captured_is_not_written(image: Path, disk: Path, target: Target) -> None:
    with Image.open(image) as opened:
        execute(opened, target, plan(opened))
    assert disk.read_bytes()[CHUNK_SIZE : 2 * CHUNK_SIZE] == OLD * CHUNK_SIZE


def test_chosen_partitions_only(image: Path, disk: Path, target: Target) -> None:
    inside = ExtentMap.of([(2 * CHUNK_SIZE + 100, 2 * CHUNK_SIZE + 5000), (3 * CHUNK_SIZE, SIZE)])
    with Image.open(image) as opened:
        written = opened.captured.intersection(inside)
        execute(
            opened, target, plan(opened, written=written, last=frozenset(), chosen=(1,), head=0)
        )
        expected = bytearray(OLD * SIZE)
        for extent in written:
            expected[extent.start : extent.end] = opened.read(extent.start, extent.length)
    assert disk.read_bytes() == bytes(expected)


def test_a_damaged_chunk_is_not_written_and_no_tables_come(
    image: Path, disk: Path, target: Target
) -> None:
    with Image.open(image) as opened:
        entry = opened.index.find(2)
        assert entry is not None
    with image.open("r+b") as file:
        file.seek(BODY_START + entry.position + 70)
        file.write(b"damage")
    with Image.open(image) as opened:
        result = execute(opened, target, plan(opened))
    assert not result.complete and result.outcome == "incomplete"
    assert result.damaged == (Extent(2 * CHUNK_SIZE, CHUNK_SIZE),)
    data = disk.read_bytes()
    assert data[2 * CHUNK_SIZE : 3 * CHUNK_SIZE] == OLD * CHUNK_SIZE
    assert marker.is_marked(data), "it was taken for whole"
    assert not any(data[marker.SIZE : CHUNK_SIZE]), "tables were written"


def test_a_damaged_first_chunk_costs_only_itself(image: Path, disk: Path, target: Target) -> None:
    with Image.open(image) as opened:
        entry = opened.index.find(0)
        assert entry is not None
    with image.open("r+b") as file:
        file.seek(BODY_START + entry.position + 70)
        file.write(b"damage")
    with Image.open(image) as opened:
        result = execute(opened, target, plan(opened))
        assert result.outcome == "incomplete"
        # (Chunk 3 shares the damaged record.)
        there = disk.read_bytes()[2 * CHUNK_SIZE : 3 * CHUNK_SIZE]
        assert there == opened.read(2 * CHUNK_SIZE, CHUNK_SIZE)
    assert marker.is_marked(disk.read_bytes())


def test_unreadable_sectors_are_told(image: Path, target: Target) -> None:
    failed = (Extent(3 * CHUNK_SIZE, 512),)
    with Image.open(image) as opened:
        result = execute(opened, target, plan(opened, unreadable=failed))
    assert result.complete and result.outcome == "complete with unreadable sectors"
    assert result.to_json()["unreadable"] == [{"start": 3 * CHUNK_SIZE, "length": 512}]


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "no room left"), (errno.EIO, "cannot write the target")]
)
def test_a_target_that_fails(
    image: Path, target: Target, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def fail(_fd: int, _data: object, _at: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", fail)
    with Image.open(image) as opened, pytest.raises(DiskTrouble, match=words):
        execute(opened, target, plan(opened))


def test_a_disk_that_was_pulled_out_is_not_called_full(
    image: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int, _data: object, _at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr("rescue.restore.writing._is_block", lambda _fd: True)
    with Image.open(image) as opened, pytest.raises(DiskTrouble, match="not there any more"):
        execute(opened, target, plan(opened))


def test_short_writes_are_gone_on_with(
    image: Path, disk: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data[:70_001]), at))
    with Image.open(image) as opened:
        execute(opened, target, plan(opened))
        monkeypatch.undo()
        assert disk.read_bytes()[2 * CHUNK_SIZE :] == opened.read(2 * CHUNK_SIZE, SIZE)


def test_what_does_not_read_back_is_named_and_gets_no_table(
    image: Path, disk: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses a byte between writing and reading."""
    flushed = target.flush

    def flush() -> None:
        flushed()
        if target.events.count("flush") == 2:
            byte = os.pread(target.fd, 1, 2 * CHUNK_SIZE + 77)
            os.pwrite(target.fd, bytes([byte[0] ^ 4]), 2 * CHUNK_SIZE + 77)

    monkeypatch.setattr(target, "flush", flush)
    reporter = Silent()
    with Image.open(image) as opened:
        result = pipeline.execute(plan(opened), opened, target, reporter)  # type: ignore[arg-type]
    assert result.outcome == "incomplete" and not result.damaged
    [extent] = result.differing
    assert extent.start == 2 * CHUNK_SIZE
    assert "does not hold what was written" in reporter.warnings[0]
    assert marker.is_marked(disk.read_bytes())


class Noting(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_an_interrupted_restore_goes_on_where_it_stopped(
    image: Path, disk: Path, target: Target
) -> None:
    with Image.open(image) as opened:
        planned = plan(opened)
        mark = marker.Marker(opened.image_id, planned.digest(opened.root), behind=3)
        os.pwrite(target.fd, mark.encode(), 0)
        kept, noted = Options(read_back=False), Noting()
        result = pipeline.execute(planned, opened, target, noted, options=kept)  # type: ignore[arg-type]
        share = result.resumed / planned.bytes
        assert noted.notes == [f"an earlier run was interrupted, this one goes on at {share:.0%}"]
        assert 0.2 < share < 0.9
        data = disk.read_bytes()
        # Chunk 2 counts as there, the others were written.
        assert result.resumed > 0 and data[2 * CHUNK_SIZE : 3 * CHUNK_SIZE] == OLD * CHUNK_SIZE
        assert data[3 * CHUNK_SIZE :] == opened.read(3 * CHUNK_SIZE, SIZE)
        # Of another plan it says nothing.
        other = marker.Marker(opened.image_id, "0" * 64, behind=3)
        os.pwrite(target.fd, other.encode(), 0)
        assert execute(opened, target, planned).resumed == 0
        assert disk.read_bytes()[2 * CHUNK_SIZE :] == opened.read(2 * CHUNK_SIZE, SIZE)


def test_comparing_writes_only_what_differs(image: Path, disk: Path, target: Target) -> None:
    with Image.open(image) as opened:
        execute(opened, target, plan(opened))
        whole = disk.read_bytes()
        os.pwrite(target.fd, b"x" * 100, 3 * CHUNK_SIZE + 5)
        options = Options(compare=True)
        again = pipeline.execute(plan(opened), opened, target, Silent(), options=options)  # type: ignore[arg-type]
    # A step of the chunk, the head twice (the last chunks are compared too).
    assert 0 < again.stored <= (64 << 10) * 3 + 4096
    assert disk.read_bytes() == whole
