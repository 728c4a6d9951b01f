"""How a command ends: one ``error:`` and one ``hint:`` line, the right exit code, no traceback.

Our own bugs (exit 1) leave a report in the directory for temporary files; its path is shown.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from rescue import __version__
from rescue.cli.console import clean, paint, write
from rescue.core.errors import Exit, RescueError


class Stop(KeyboardInterrupt):
    """A signal asked this process to end; like Ctrl-C it passes every ``except Exception``."""

    last = ""
    """What the latest one says: typer turns the exception itself into a bare status."""

    def __init__(self, number: int) -> None:
        words = "interrupted" if number == signal.SIGINT else f"stopped by {_name(number)}"
        super().__init__(words)
        Stop.last = words


def _name(number: int) -> str:
    return signal.Signals(number).name


def listen_to_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end the command in order; a second request to end waits."""

    def stop(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            for each in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(each, signal.SIG_IGN)
        raise Stop(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A program started with a signal ignored (nohup) keeps ignoring it.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, stop)


def tell(message: str, hint: str = "") -> None:
    """Say what went wrong and what to do about it."""
    one_line = " ".join(message.split())
    write(sys.stderr, f"{paint('error:', 'red', sys.stderr)} {clean(one_line)}")
    if hint:
        write(sys.stderr, f"{paint('hint:', 'bold', sys.stderr)} {clean(' '.join(hint.split()))}")


def tell_error(error: RescueError) -> Exit:
    """Say an expected failure; its exit code."""
    tell(error.message, error.hint)
    return error.exit_code


def tell_interrupted(cause: str) -> Exit:
    """Say that the person or the system ended it."""
    tell(cause or "interrupted")
    return Exit.INTERRUPTED


def tell_bug(error: BaseException) -> Exit:
    """Save a report of something nobody expected and say where it is."""
    path = save_report(error)
    where = f"send this report: {path}" if path else "no report could be saved"
    name = type(error).__name__
    tell(f"this is a bug in rescue: {name}: {error}", where)
    return Exit.BUG


def save_report(error: BaseException) -> str | None:
    """Write the traceback and what was running to a new private file; its path, or None."""
    import platform
    import shlex
    import tempfile
    import time
    import traceback

    system = os.uname()
    lines = [
        f"rescue {__version__}, Python {platform.python_version()}",
        f"system: {system.sysname} {system.release} {system.machine}",
        f"time: {time.strftime('%Y-%m-%d %H:%M:%S %z')}",
        f"command: {shlex.join(sys.argv)}",
        "",
        "".join(traceback.format_exception(error)),
    ]
    try:
        handle, path = tempfile.mkstemp(prefix="rescue-report-", suffix=".txt")
        with os.fdopen(handle, "w", errors="backslashreplace") as file:
            file.write("\n".join(lines))
    except OSError:
        return None
    return path
