"""What capture, verify and restore share: progress while it runs, the result at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rescue.cli.console import put, put_json
from rescue.cli.failure import tell
from rescue.core.errors import RescueError
from rescue.core.progress import Reporter

if TYPE_CHECKING:
    from rescue.jobs.work import Done


def conclude(work: Callable[[Reporter], Done], *, json: bool) -> int:
    """Do the work with progress on stderr, then put its result on stdout; the exit code.

    The result is put even when it is not good: an exit code alone tells nobody what to do.
    """
    from rescue.cli.progress import make_reporter

    reporter = make_reporter()
    try:
        done = work(reporter)
    except RescueError as error:
        if json:
            put_json({"error": error.message, "hint": error.hint, "exit": int(error.exit_code)})
        raise
    finally:
        reporter.close()
    if json:
        put_json({**done.data, "exit": int(done.exit), "warnings": list(reporter.warnings)})
    else:
        for line in done.lines:
            put(line, style=_style(line))
    if done.error:
        tell(done.error)
    return done.exit


def _style(line: str) -> str:
    """The lines that matter stand out."""
    if line in ("outcome: complete",) or line.startswith("safe to rely on: yes"):
        return "green"
    if line.startswith(("outcome:", "safe to rely on: no,", "damaged:")):
        return "red"
    return ""
