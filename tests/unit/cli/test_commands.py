"""Every command line ends with one line and the right code; stdout stays free for data."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.cli import console, failure, main
from rescue.cli.progress import BarReporter, bar_line
from rescue.core.errors import DiskTrouble, Exit, ImageDamaged, RescueError
from rescue.core.progress import Meter
from rescue.devices.model import Disk

VERBS = ["disks", "capture", "show", "verify", "restore", "undo", "salvage", "merge", "prune"]
VERBS += ["key", "mount", "unmount", "ls", "copy", "find", "diff", "export", "boot", "job", "shell"]
DOCS = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Examples:" in out
    assert f"rescue {verb}" in out
    assert err == ""


def test_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for verb in VERBS:
        assert f"{verb} " in out
    listed = {int(n) for n in re.findall(r"(\d+) [a-z]", out.split("Exit codes:")[1])}
    assert listed >= {int(code) for code in Exit}


def test_no_words_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 0
    assert "Usage: rescue" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["clone"],
        ["capture"],
        ["capture", "only-a-source"],
        ["capture", "a", "b", "c"],
        ["capture", "a", "b", "--level", "0"],
        ["capture", "a", "b", "--level", "20"],
        ["capture", "a", "b", "--level", "high"],
        ["capture", "a", "b", "--partition", "0"],
        ["restore", "a", "b", "--erase"],
        ["verify", "--quick", "a"],
        ["show"],
        ["job"],
        ["job", "x.toml", "--boot"],
        ["job", "x.toml", "--again"],
        ["--wrong"],
    ],
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(words) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert_one_error(err)


def assert_one_error(err: str) -> None:
    """Exactly one error line, as the house writes them, and no traceback."""
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0][7].islower() or not errors[0][7].isalpha()
    assert not errors[0].endswith(".")
    assert "Traceback" not in err
    assert lines[lines.index(errors[0]) + 1 :] == [n for n in lines if n.startswith("hint: ")]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes ``rescue disks`` meet an exception."""

    def arrange(error: BaseException) -> None:
        def meet() -> None:
            raise error

        monkeypatch.setattr("rescue.devices.discover.list_disks", meet)

    return arrange


Raising = Callable[[BaseException], None]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DiskTrouble("it broke", hint="mend it"), 10),
        (ImageDamaged("two\nlines"), 20),
        (PermissionError(13, "Permission denied", "/dev/sda"), 10),
        (OSError(5, "Input/output error"), 10),
        (KeyboardInterrupt(), 130),
        (failure.Stop(signal.SIGTERM), 130),
        (MemoryError(), 10),
        (console.ReaderGone(), 141),
    ],
)
def test_failures_end_with_their_code(
    error: BaseException, status: int, raising: Raising, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(error)
    assert main.run(["disks"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    if status == 141:
        assert err == ""
    else:
        assert_one_error(err)


def test_signals_say_which_they_were(raising: Raising, capsys: pytest.CaptureFixture[str]) -> None:
    raising(failure.Stop(signal.SIGHUP))
    main.run(["disks"])
    assert capsys.readouterr().err == "error: stopped by SIGHUP\n"


def test_our_bugs_leave_a_report(
    raising: Raising,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(ZeroDivisionError("so sorry"))
    assert main.run(["disks"]) == Exit.BUG
    err = capsys.readouterr().err
    assert_one_error(err)
    assert "bug in rescue: ZeroDivisionError: so sorry" in err
    (report,) = tmp_path.iterdir()
    assert str(report) in err
    text = report.read_text()
    assert "Traceback" in text
    assert "test_commands.py" in text
    assert report.stat().st_mode & 0o077 == 0, "a report may hold names that are nobody's business"


def test_a_bug_without_room_for_a_report(
    raising: Raising, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    raising(ZeroDivisionError("so sorry"))
    assert main.run(["disks"]) == Exit.BUG
    assert "no report could be saved" in capsys.readouterr().err


def test_disks_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    evil = Disk(Path("/dev/sda"), "block", 10, 512, 512, model="evil\x1b[2J", serial="S1")
    monkeypatch.setattr("rescue.devices.discover.list_disks", lambda: (evil,))
    monkeypatch.setattr("rescue.jobs.places.list_filesystems", lambda: ())
    assert main.run(["disks", "--json"]) == 0
    (disk,) = json.loads(capsys.readouterr().out)["disks"]
    assert disk["identity"] == "S1"
    assert main.run(["disks"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out, "a disk's name must not reach the terminal as it is"
    assert "evil?[2J" in out


def test_json_errors_stand_on_stdout_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.run(["verify", "--json", str(tmp_path / "none.rescue")]) == 10
    out, err = capsys.readouterr()
    assert json.loads(out)["exit"] == 10
    assert_one_error(err)


@pytest.mark.parametrize("verb", ["show", "verify"])
@pytest.mark.parametrize("kind", ["missing", "folder", "random", "empty"])
def test_what_is_no_image(
    verb: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.rescue"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(bytes(range(256)) * 400 if kind == "random" else b"")
    assert main.run([verb, str(path)]) == (10 if kind in ("missing", "folder") else 20)
    out, err = capsys.readouterr()
    assert_one_error(err)
    if verb == "verify" and kind in ("random", "empty"):
        assert out.startswith("safe to rely on: no, because")
    else:
        assert out == ""


def test_capture_never_writes_over_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, image = tmp_path / "disk.raw", tmp_path / "x.rescue"
    source.write_bytes(bytes(4096))
    image.write_bytes(b"precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in (image, source, tmp_path, tmp_path / "dangling"):
        assert main.run(["capture", str(source), str(taken)]) == Exit.USAGE
        assert_one_error(capsys.readouterr().err)
    assert image.read_bytes() == b"precious"
    assert source.read_bytes() == bytes(4096)


def test_clean() -> None:
    assert console.clean("plain ASCII") == "plain ASCII"
    assert console.clean("Daten-Träger №1 光") == "Daten-Träger №1 光"
    assert console.clean("a\x1b[2J\x07\n\u202eb\ud800") == "a?[2J???b?"


def test_columns_line_up_and_are_clean() -> None:
    assert console.columns([("A", "LONG", "C"), ("aa", "b", "c\x1b")]) == [
        "A   LONG  C",
        "aa  b     c?",
    ]
    assert console.columns([]) == []


class Screen:
    """A stream that claims to be a terminal."""

    encoding = "ascii"

    def __init__(self, *, terminal: bool) -> None:
        self.text, self._terminal = "", terminal

    def isatty(self) -> bool:
        """As asked for."""
        return self._terminal

    def fileno(self) -> int:
        """No file: the width is not known."""
        raise ValueError

    def write(self, text: str) -> int:
        """Keep."""
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("terminal", "term", "no_color", "coloured"),
    [
        (True, "xterm", "", True),
        (True, "xterm", "1", False),
        (True, "dumb", "", False),
        (False, "xterm", "", False),
    ],
)
def test_colour_only_where_it_is_wanted(
    terminal: bool, term: str, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    painted = console.paint("x", "red", Screen(terminal=terminal))  # type: ignore[arg-type]
    assert ("\x1b" in painted) == coloured


def test_letters_a_terminal_cannot_show_are_no_error() -> None:
    screen = Screen(terminal=False)
    console.write(screen, "Träger")  # type: ignore[arg-type]
    assert screen.text == "Tr?ger\n"


@pytest.mark.parametrize("width", [20, 40, 60, 79, 200])
@pytest.mark.parametrize("total", [None, 0, 1000, 1 << 40])
def test_the_bar_fits_its_terminal(width: int, total: int | None) -> None:
    meter = Meter(total, started=0.0)
    meter.advance(700, 1.0)
    line = bar_line("verify (deep)", meter, width)
    assert len(line) <= width
    assert line.startswith("verify (deep)")


def test_the_bar_tells_share_speed_and_time_left() -> None:
    meter = Meter(4 << 20, started=0.0)
    meter.advance(1 << 20, 1.0)
    line = bar_line("capture", meter, 100)
    assert " 25%" in line
    assert "1.0 MiB of 4.0 MiB" in line
    assert "1.0 MiB/s" in line
    assert "3 s left" in line
    assert line.count("#") * 3 == line.count("-")


def test_the_bar_leaves_no_rest_behind() -> None:
    screen = Screen(terminal=True)
    reporter = BarReporter(screen)  # type: ignore[arg-type]
    reporter.start("capture", 100)
    reporter.warn("a bad sector")
    reporter.advance(100)
    reporter.finish()
    reporter.start("verify", 100)
    reporter.close()
    assert reporter.warnings == ["a bad sector"]
    shown = [part.split("\r")[-1].rstrip() for part in screen.text.split("\n")]
    assert any("warning:" in line and "a bad sector" in line for line in shown)
    assert shown[-1] == ""


@pytest.mark.parametrize("verb", VERBS)
def test_docs_cover_every_option(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    main.run([verb, "--help"])
    listed = capsys.readouterr().out.split("Options:")[1]
    text = DOCS.read_text()
    assert f"## rescue {verb}\n" in text
    section = text.split(f"## rescue {verb}\n")[1].split("\n## ")[0]
    if "what opens it]" in section:
        section += text.split("## Encrypted images\n")[1].split("\n## ")[0]
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", listed)):
        if option != "--help":
            assert option in section, f"docs/cli.md does not tell of {verb} {option}"


def test_docs_cover_every_exit_code() -> None:
    text = DOCS.read_text()
    for code in Exit:
        assert re.search(rf"^\| {int(code)} \|", text, re.MULTILINE), f"{code!r} is missing"


def test_an_error_in_many_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    failure.tell_error(RescueError("one\n  two\tthree", hint="four\nfive"))
    assert capsys.readouterr().err == "error: one two three\nhint: four five\n"
