"""Jobs that a start of the rescue media asks for, on every console, once.

The kernel line names one: ``rescue.job=LABEL:path`` (``medium:path``: a file on the boot medium).
Without it the files ``rescue/jobs/*.toml`` of the medium run, in the order of their names.
``rescue.job=none`` runs nothing, ``rescue.job.again=1`` runs what ran before.

A job that failed stops at a screen that says what happened, until Enter is pressed on any console.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rescue.core import process
from rescue.core.errors import Exit, RescueError, UsageError
from rescue.jobs.asked import CMDLINE, Asked, jobs_on_medium, parse_cmdline
from rescue.jobs.consoles import Consoles, console_nodes
from rescue.jobs.find import find_patiently, label_patiently
from rescue.jobs.held import held
from rescue.jobs.lines import LineReporter
from rescue.jobs.marker import MEDIUM, medium_id
from rescue.jobs.model import Job
from rescue.jobs.run import JobResult, load, run_job

_RULE = "=" * 72
_EVERY = 10.0  # a serial line at 9,600 baud must keep up


def run_boot_jobs(*, dry_run: bool = False, again: bool = False) -> int:
    """Run what this start asks for; returns at once when it asks for nothing.

    Args:
        again: as ``rescue.job.again=1`` on the kernel line.

    Returns:
        The exit code of the first job that failed, or 0.
    """
    cmdline = CMDLINE.read_text(errors="replace")
    if "rescue.job" not in cmdline and not jobs_on_medium():
        return Exit.COMPLETE
    _quieten_system()
    with Consoles(console_nodes()) as consoles:
        say = consoles.write
        try:
            asked = parse_cmdline(cmdline)
            asked = dataclasses.replace(asked, again=asked.again or again)
            loaded = [] if asked.none else _load(asked, say)
            for job, name in loaded:
                status = _run_one(job, name, asked, consoles, dry_run=dry_run)
                if status is not None:
                    return status
        except RescueError as error:
            lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
            _stop(consoles, "the job could not be started", lines, JobResult(error.exit_code, ()))
            return error.exit_code
        except Exception as error:
            # This screen is all that a person sees of the machine: it says it before it ends.
            lines = [f"this is a bug in rescue: {type(error).__name__}: {error}"]
            _stop(consoles, "the job could not be run", lines, JobResult(Exit.BUG, ()))
            raise
        if dry_run:
            say("nothing was done: this was --dry-run")
    return Exit.COMPLETE


def _quieten_system() -> None:
    """Keep systemd from drawing over the job: a slow unit makes it animate every console.

    systemd(1): SIGRTMIN+21 turns its status messages off; "quiet" alone leaves those of slow units.
    """
    if MEDIUM.is_dir() and Path("/run/systemd/system").is_dir():
        with suppress(OSError):
            os.kill(1, signal.SIGRTMIN + 21)


def _load(asked: Asked, say: Callable[[str], None]) -> list[tuple[Job, str]]:
    if asked.label == "medium":
        return [(load(_on_medium(asked.path)), asked.path)]
    if asked.label:
        filesystem = label_patiently(asked.label, say)
        with held(filesystem.node, writable=False) as place:
            return [(load(place.file(asked.path)), f"{asked.label}:{asked.path}")]
    return [(load(path), path.name) for path in jobs_on_medium()]


def _on_medium(path: str) -> Path:
    joined = Path(os.path.normpath(MEDIUM / path.lstrip("/")))
    if not joined.is_relative_to(MEDIUM):
        raise UsageError(f"the path {path!r} leads out of the boot medium")
    return joined


def _run_one(job: Job, name: str, asked: Asked, consoles: Consoles, *, dry_run: bool) -> int | None:
    """Run one job; None when the next one may follow."""
    say = consoles.write
    say("")
    say(_RULE)
    say(f"rescue job {name}")
    for line in job.lines():
        say(f"  {line}")
    say(_RULE)
    found = find_patiently(job, say)
    if dry_run:
        for line in found.lines(job, lost=True):
            say(line)
        return None
    reporter = LineReporter(say, every=_EVERY)
    result = run_job(job, found, reporter, medium=medium_id(), again=asked.again)
    if result.earlier:
        say(f"This job is not run a second time from this medium: {result.earlier}.")
        say("To run it again, add rescue.job.again=1 to the kernel line, or use the shell.")
        say(result.last_line)
        return None
    if result.exit not in (Exit.COMPLETE, Exit.UNREADABLE):
        where = [f"log: {result.log.name} beside the image"] if result.log else []
        _stop(consoles, "the job failed", [*result.lines, *where], result)
        return result.exit
    for line in result.lines:
        say(line)
    _after(job, say)
    say(result.last_line)
    return _leave(job)


def _stop(consoles: Consoles, title: str, lines: list[str], result: JobResult) -> None:
    """The screen at which a failure waits; its last line is the one other programs look for."""
    say = consoles.write
    say("")
    say(_RULE)
    say(f"STOPPED: {title}")
    say("")
    for line in lines:
        say(f"  {line}")
    say("")
    say("Nothing more is done by itself. Press Enter for the rescue shell.")
    say(_RULE)
    say(result.last_line)
    consoles.wait_for_enter()


def _after(job: Job, say: Callable[[str], None]) -> None:
    words = {"poweroff": "The machine is switched off.", "reboot": "The machine starts again."}
    if job.then in words:
        say(words[job.then])


def _leave(job: Job) -> int | None:
    """Do what comes after a job that ended well; None: go on."""
    if job.then == "shell":
        return None
    os.sync()
    process.run(["systemctl", "--no-block", job.then])
    return Exit.COMPLETE
