"""Errors carry an exit code and one line; the codes are stable for ever."""

from __future__ import annotations

import errno
import os

import pytest

from rescue.core import errors
from rescue.core.errors import DiskTrouble, Exit, RescueError, from_os_error
from rescue.core.process import Finished, environment, failure


def test_exit_codes_never_change() -> None:
    known = {code.name: int(code) for code in Exit}
    assert len(set(known.values())) == len(known)
    # New ones may come; these stay what they are.
    assert (
        known.items()
        >= {
            "COMPLETE": 0,
            "BUG": 1,
            "USAGE": 2,
            "UNREADABLE": 3,
            "DISK": 10,
            "REFUSED": 11,
            "DAMAGED": 20,
            "UNSUPPORTED": 21,
            "INCOMPLETE": 22,
            "PROGRAM": 30,
            "INTERRUPTED": 130,
        }.items()
    )


def test_every_error_has_its_code() -> None:
    expected = {
        "UsageError": 2,
        "DiskTrouble": 10,
        "TargetRefused": 11,
        "ImageDamaged": 20,
        "ImageUnsupported": 21,
        "ImageIncomplete": 22,
        "ProgramFailed": 30,
        "Interrupted": 130,
    }
    assert {name: getattr(errors, name).exit_code for name in expected} == expected


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOENT, ""),
        (errno.EACCES, "run this as root"),
        (errno.EPERM, "run this as root"),
        (errno.EISDIR, "not a directory"),
        (errno.EIO, ""),
    ],
)
def test_os_errors_become_one_clear_line(number: int, hint: str) -> None:
    made = from_os_error(OSError(number, os.strerror(number)), "open /dev/sdb")
    assert isinstance(made, DiskTrouble)
    assert made.message.startswith("cannot open /dev/sdb: ")
    assert made.message == made.message.strip().rstrip(".")
    assert hint in made.hint


def test_a_message_and_its_hint() -> None:
    error = RescueError("it broke", hint="mend it")
    assert (error.message, error.hint, str(error)) == ("it broke", "mend it", "it broke")


def test_a_failed_program_is_told_in_its_own_last_words() -> None:
    told = failure(Finished(("/sbin/mkfs", "-x", "a b"), 1, b"", b"first\nit is mounted\n"))
    assert told.message == "mkfs failed with status 1: it is mounted"
    assert told.hint == "/sbin/mkfs -x 'a b'"
    assert failure(Finished(("x",), -9, b"", b"")).message.startswith("x failed with signal 9")
    assert failure(Finished(("x",), -2, b"", b"")).exit_code is Exit.INTERRUPTED


def test_programs_get_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    made = environment({"EXTRA": "1"})
    assert "LD_PRELOAD" not in made
    assert made["LC_ALL"] == "C.UTF-8"
    assert made["https_proxy"] == "http://proxy:3128"
    assert made["EXTRA"] == "1"
    assert "/sbin" in made["PATH"].split(":")
