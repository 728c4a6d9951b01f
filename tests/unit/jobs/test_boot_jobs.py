"""What a start of the media asks for, the note that keeps a job from running twice, consoles."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, Exit, UsageError
from rescue.core.progress import Meter
from rescue.jobs.asked import Asked, jobs_on_medium, parse_cmdline
from rescue.jobs.consoles import Consoles, console_nodes
from rescue.jobs.lines import LineReporter, Tee, plain_line
from rescue.jobs.marker import Marker, medium_id
from rescue.jobs.run import JobResult, load


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("boot=live quiet", Asked()),
        ("quiet rescue.job=STORE:jobs/c.toml splash", Asked("STORE", "jobs/c.toml")),
        ("rescue.job=medium:a.toml rescue.job.again=1", Asked("medium", "a.toml", again=True)),
        ("rescue.job.again=0 rescue.job=A:b", Asked("A", "b")),
        ('"rescue.job=MY STORE:a b.toml"', Asked("MY STORE", "a b.toml")),
        ("rescue.job=A:b rescue.job=C:d", Asked("C", "d")),
        ("rescue.job=none", Asked(none=True)),
        ("rescue.job=A:b rescue.job=none", Asked(none=True)),
        ("it's rescue.job=A:b", Asked("A", "b")),
        ("xrescue.job=A:b", Asked()),
    ],
)
def test_kernel_lines(line: str, asked: Asked) -> None:
    assert parse_cmdline(line) == asked


@pytest.mark.parametrize("word", ["STORE", "STORE:", ":x", "STORE:/"])
def test_a_kernel_line_that_names_no_job(word: str) -> None:
    with pytest.raises(UsageError, match="names no job"):
        parse_cmdline(f"quiet rescue.job={word}")


def test_jobs_on_the_medium_come_in_order(tmp_path: Path) -> None:
    assert jobs_on_medium(tmp_path) == []
    folder = tmp_path / "rescue" / "jobs"
    folder.mkdir(parents=True)
    for name in ("20-b.toml", "10-a.toml", "notes.txt"):
        (folder / name).touch()
    assert [path.name for path in jobs_on_medium(tmp_path)] == ["10-a.toml", "20-b.toml"]


def test_a_job_that_ran_is_known_on_the_same_medium_only(tmp_path: Path) -> None:
    note = tmp_path / "pc.rescue.restore.ran"
    marker = Marker(note, job="a" * 64, medium="m1")
    assert marker.earlier() is None
    marker.begin()
    assert "never finished" in (marker.earlier() or "")
    marker.end(20)
    assert "exit code 20" in (marker.earlier() or "")
    assert Marker(note, job="a" * 64, medium="m2").earlier() is None
    assert Marker(note, job="b" * 64, medium="m1").earlier() is None


def test_a_torn_note_does_not_hide_the_others(tmp_path: Path) -> None:
    note = tmp_path / "x.ran"
    marker = Marker(note, job="j", medium="m")
    marker.end(0)
    with note.open("ab") as file:
        file.write(b'{"job": "j", "med\n[1]\n\xff\xfe\n')
    assert "exit code 0" in (marker.earlier() or "")


def test_a_note_that_cannot_be_kept_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble):
        Marker(tmp_path / "nowhere" / "x.ran", "j", "m").begin()


def test_the_medium_is_known_by_what_describes_it(tmp_path: Path) -> None:
    (tmp_path / ".disk").mkdir()
    (tmp_path / ".disk" / "info").write_text("Rescue 0.1.0 one")
    first = medium_id(tmp_path)
    assert medium_id(tmp_path) == first
    (tmp_path / ".disk" / "info").write_text("Rescue 0.1.0 two")
    assert medium_id(tmp_path) != first


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Exit.COMPLETE, "rescue job complete"),
        (Exit.UNREADABLE, "rescue job complete with unreadable sectors"),
        (Exit.REFUSED, "rescue job failed: exit 11"),
        (Exit.DAMAGED, "rescue job failed: exit 20"),
        (Exit.BUG, "rescue job failed: exit 1"),
    ],
)
def test_the_last_line_is_exact(status: Exit, line: str) -> None:
    assert JobResult(status, ()).last_line == line
    assert JobResult(status, (), earlier="it ran").last_line == "rescue job not run again"


def test_loading_what_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match="cannot read the job"):
        load(tmp_path / "none.toml")
    with pytest.raises(DiskTrouble, match="is a directory"):
        load(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="'action' is missing"):
        load(tmp_path / "fifo")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        load(tmp_path / "x.toml")


def test_consoles_that_exist(tmp_path: Path) -> None:
    active = tmp_path / "active"
    active.write_text("tty0 ttyS0 hvc0\n")
    for name in ("tty0", "tty1", "ttyS0"):
        (tmp_path / name).touch()
    nodes = console_nodes(active, tmp_path)
    assert [node.name for node in nodes] == ["tty1", "ttyS0"]
    assert console_nodes(tmp_path / "missing", tmp_path / "nowhere") == ()


def test_lines_reach_every_console_and_never_move_its_cursor() -> None:
    master, slave = os.openpty()
    with Consoles([Path(os.ttyname(slave)), Path("/nowhere/tty")]) as consoles:
        assert consoles.count == 1
        consoles.write("damaged \x1b[2Jname é")
        assert os.read(master, 100).replace(b"\r", b"") == b"damaged ?[2Jname ?\n"
        assert not consoles.wait_for_enter(0.05)
        os.write(master, b"x")
        assert not consoles.wait_for_enter(0.05), "only Enter counts"
        os.write(master, b"\r")
        assert consoles.wait_for_enter(5)
    os.close(slave)
    os.close(master)


def test_a_console_that_has_gone_stops_nothing() -> None:
    master, slave = os.openpty()
    with Consoles([Path(os.ttyname(slave))]) as consoles:
        os.close(slave)
        os.close(master)
        consoles.write("nobody reads this")
        assert not consoles.wait_for_enter(1)
        assert consoles.count == 0


def test_plain_lines() -> None:
    meter = Meter(1 << 20, started=0.0)
    meter.advance(1 << 19, 1.0)
    line = plain_line("capture", meter)
    assert line == "capture: 50%, 512.0 KiB of 1.0 MiB, 512.0 KiB/s, 1 s left"
    ended = plain_line("capture", meter, ended=True, now=2.0)
    assert ended == "capture: done, 512.0 KiB in 2 s, 256.0 KiB/s"


def test_reporters_keep_warnings_and_pass_everything_on() -> None:
    lines: list[str] = []
    first, second = LineReporter(lines.append, every=0), LineReporter(lambda _line: None)
    both = Tee(first, second)
    both.start("verify", 10)
    both.advance(10)
    both.note("a note")
    both.warn("a sector is gone")
    both.finish()
    assert first.warnings == second.warnings == ["a sector is gone"]
    assert lines[0] == "verify: 10 B"
    assert lines[1].startswith("verify: 100%")
    assert lines[2:4] == ["a note", "warning: a sector is gone"]
    assert lines[4].startswith("verify: done, 10 B")


def test_advance_without_a_step_is_harmless() -> None:
    lines: list[str] = []
    reporter = LineReporter(lines.append, every=0)
    reporter.advance(5)
    reporter.finish()
    assert lines == []


def test_notes_are_json_lines(tmp_path: Path) -> None:
    marker = Marker(tmp_path / "x.ran", job="j", medium="m")
    marker.begin()
    marker.end(3)
    notes = [json.loads(line) for line in (tmp_path / "x.ran").read_text().splitlines()]
    assert [note["exit"] for note in notes] == [None, 3]
