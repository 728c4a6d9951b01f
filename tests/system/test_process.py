"""The one module that starts programs, with real ones."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rescue.core import process
from rescue.core.errors import Interrupted, ProgramFailed


def test_run_keeps_what_was_printed() -> None:
    done = process.run(["sh", "-c", "cat; echo out; echo err >&2"], input=b"in ")
    assert (done.status, done.text, done.stderr) == (0, "in out\n", b"err\n")


def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/made); `touch {tmp_path}/made`"
    assert process.run(["echo", evil]).text.strip() == evil
    assert not (tmp_path / "made").exists()


def test_a_failure_is_told_once_with_its_command() -> None:
    with pytest.raises(ProgramFailed) as caught:
        process.run(["sh", "-c", "echo first >&2; echo 'the disk is full' >&2; exit 3"])
    assert caught.value.message == "sh failed with status 3: the disk is full"
    assert caught.value.hint.startswith("sh -c 'echo first")
    assert process.run(["false"], check=False).status == 1


def test_what_is_not_installed() -> None:
    for start in (
        lambda: process.run(["no-such-program"]),
        lambda: process.stream(["no-such-program"], print),
        lambda: process.interact(["no-such-program"]),
        lambda: process.require("no-such-program", package="some-package"),
    ):
        with pytest.raises(ProgramFailed) as caught:
            start()
        assert "no-such-program" in caught.value.message
        assert caught.value.hint.startswith("install ")


def test_a_program_that_hangs_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match="did not finish in 1 s"):
        process.run(["sleep", "60"], timeout=1)
    assert time.monotonic() - began < 30


def test_stdin_is_closed_when_nothing_is_given() -> None:
    assert process.run(["cat"], timeout=30).stdout == b""


def test_stream_hands_on_lines_as_they_come(tmp_path: Path) -> None:
    lines: list[str] = []
    with (tmp_path / "log").open("wb") as log:
        process.stream(["printf", "10%%\\r20%%\\rdone\\n\\nlast"], lines.append, log=log)
    assert lines == ["10%", "20%", "done", "last"]
    assert (tmp_path / "log").read_bytes().endswith(b"last")


def test_stream_ends_the_program_when_the_listener_gives_up(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def stop(_line: str) -> None:
        raise Interrupted("enough")

    with pytest.raises(Interrupted):
        process.stream(["sh", "-c", f"echo $$ > {note}; echo go; exec sleep 60"], stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_interact_returns_the_status() -> None:
    assert process.interact(["sh", "-c", "exit 7"]) == 7
    assert process.interact(["sh", "-c", "kill -KILL $$"]) == 128 + signal.SIGKILL


def test_ctrl_c_belongs_to_the_program_that_interacts() -> None:
    before = signal.getsignal(signal.SIGINT)
    # The terminal sends SIGINT to both; here the child sends it to its parent and itself.
    script = "trap 'exit 5' INT; kill -INT $PPID; kill -INT $$; sleep 5"
    assert process.interact(["sh", "-c", script]) == 5
    assert signal.getsignal(signal.SIGINT) is before
