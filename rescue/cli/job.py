"""``rescue job``: do what a job file says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, say
from rescue.cli.options import JobArgument
from rescue.core.errors import UsageError

_HELP = """Do what a job says: a TOML file that names what to capture, verify or restore.

A log and the result as JSON are written beside the image. With --boot the job is the one that the
kernel line (rescue.job=LABEL:path) or the boot medium names; it runs once, and the media start it.

\b
Examples:
  rescue job --dry-run capture.toml
  rescue job capture.toml"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("job", help=_HELP, short_help="Do what a job file says.")(job)


def job(
    file: JobArgument = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do; do nothing.")
    ] = False,
    boot: Annotated[
        bool, typer.Option("--boot", help="Run what this start of the rescue media asks for.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --boot: run it although it ran before.")
    ] = False,
) -> int:
    """Do what a job file says."""
    if boot == (file is not None):
        raise UsageError("name one job file, or use --boot", hint="rescue job --help shows both")
    if again and not boot:
        raise UsageError("--again goes with --boot", hint="a job file is run as often as you ask")
    if file is None:
        from rescue.jobs.boot import run_boot_jobs

        return run_boot_jobs(dry_run=dry_run, again=again)
    return _by_hand(file, dry_run=dry_run)


def _by_hand(file: Path, *, dry_run: bool) -> int:
    """Run a job here and now: whoever types the command asks for it, so it is never run before."""
    from rescue.cli.progress import make_reporter
    from rescue.jobs.find import find_now
    from rescue.jobs.run import load, run_job

    job = load(file)
    found = find_now(job)
    if dry_run:
        for line in job.lines():
            put(line)
        for line in found.lines(job, lost=True):
            put(line)
        say("nothing was done: this was --dry-run")
        return 0
    reporter = make_reporter()
    try:
        result = run_job(job, found, reporter)
    finally:
        reporter.close()
    for line in result.lines:
        (say if line.startswith(("error:", "hint:")) else put)(line)
    if job.then != "shell":
        say(f"{job.then} is left to you: only a start of the rescue media does it")
    put(result.last_line)
    return result.exit
