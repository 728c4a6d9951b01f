"""The command ``rescue``: where it begins, and the one place where every failure ends.

The verbs are known to ``verbs``, which costs typer: a second on a slow machine. The shell of the
rescue media is what a person waits for, so that one command line is understood here.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from rescue.cli import failure
from rescue.cli.console import ReaderGone
from rescue.core.errors import Exit, RescueError, from_os_error

if TYPE_CHECKING:
    from typer.exceptions import TyperException

_READER_GONE = 141
"""What shells say of a program that SIGPIPE ended."""
_SHELL_OPTIONS = {"--plain", "--contrast", "--announce"}


def main() -> NoReturn:
    """Run the command line of this process and end it with the right status."""
    failure.listen_to_signals()
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        status = status or _READER_GONE
    if status == _READER_GONE:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(int(status))


def run(words: list[str]) -> int:
    """Run one command line; every failure is told on stderr and becomes an exit code."""
    try:
        status = _shell(words) if _is_shell(words) else _verb(words)
        if status == Exit.INTERRUPTED:
            return failure.tell_interrupted(failure.Stop.last)
        return int(status or 0)
    except KeyboardInterrupt:
        return failure.tell_interrupted(failure.Stop.last)
    except ReaderGone:
        return _READER_GONE
    except Exception as error:
        return tell_of(error)


def _is_shell(words: list[str]) -> bool:
    """Whether it is the shell with nothing but its own options: all else, help too, is typer's."""
    return words[:1] == ["shell"] and _SHELL_OPTIONS.issuperset(words[1:])


def _shell(words: list[str]) -> int:
    from rescue.shell.start import run

    return run(
        plain="--plain" in words, contrast="--contrast" in words, announce="--announce" in words
    )


def _verb(words: list[str]) -> int | None:
    import typer
    from typer.exceptions import TyperException

    from rescue.cli.verbs import app

    try:
        status: int | None = app(args=words, prog_name="rescue", standalone_mode=False)
    except TyperException as error:
        return _tell_usage(error)
    except typer.Abort:
        return Exit.INTERRUPTED
    return status


def tell_of(error: Exception) -> int:
    """Tell of whatever went wrong; the exit code that it means."""
    if isinstance(error, RescueError):
        return failure.tell_error(error)
    if isinstance(error, OSError):
        what = f"use {error.filename}" if error.filename else "go on"
        return failure.tell_error(from_os_error(error, what))
    if isinstance(error, MemoryError):
        failure.tell("this machine has too little memory for it", "close other programs")
        return Exit.DISK
    return failure.tell_bug(error)


def _tell_usage(error: TyperException) -> int:
    message = error.format_message().rstrip(".").replace("\n", " ").replace("\t", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rescue"
    failure.tell(message[:1].lower() + message[1:], f"{command} --help shows how it is used")
    return Exit.USAGE


if __name__ == "__main__":
    main()
