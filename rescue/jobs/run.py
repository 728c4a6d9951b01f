"""Running a job: mount the place of the image, do the work, keep log and result beside the image.

Beside an image ``pc.rescue`` a capture leaves ``pc.rescue.capture.log`` (appended to),
``pc.rescue.capture.json`` (the last result) and ``pc.rescue.capture.ran`` (see ``marker``).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rescue.core.errors import (
    DiskTrouble,
    Exit,
    ImageIncomplete,
    ImageLocked,
    RescueError,
    UsageError,
    from_os_error,
)
from rescue.core.progress import Reporter
from rescue.image.partreader import Ask
from rescue.jobs import discs, runtime, work
from rescue.jobs.find import Found
from rescue.jobs.held import held, quieten
from rescue.jobs.keys import access_of, read_secrets
from rescue.jobs.lines import LineReporter, Tee
from rescue.jobs.marker import MEDIUM, Marker
from rescue.jobs.model import MAX_JOB, Job, parse_job
from rescue.jobs.restoring import RestoreWish, prepare
from rescue.jobs.verifying import VerifyWish, verify

_PATIENCE = 60.0
"""Seconds for a look at the disks to end."""
# Errors of images speak of the command line's options.
_LOCKED = "the job names what opens it: key_file, passphrase_file or recovery_key_file"


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended.

    Attributes:
        exit: the exit code of the verb.
        lines: what came of it, for a person; the verdict last.
        log: the log that was kept, or None.
        earlier: why it was not run: how it ended before. Empty when it was run.
    """

    exit: Exit
    lines: tuple[str, ...]
    log: Path | None = None
    earlier: str = ""

    @property
    def last_line(self) -> str:
        """The one line that other programs wait for; stable for ever."""
        if self.earlier:
            return "rescue job not run again"
        if self.exit is Exit.COMPLETE:
            return "rescue job complete"
        if self.exit is Exit.UNREADABLE:
            return "rescue job complete with unreadable sectors"
        return f"rescue job failed: exit {int(self.exit)}"


def load(file: Path) -> Job:
    """Read and parse a job file.

    Raises:
        DiskTrouble: it cannot be read.
        UsageError: it is no job.
    """
    try:
        # O_NONBLOCK: a FIFO in the place of a job must not stop us for ever.
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as opened:
            data = opened.read(MAX_JOB + 1)
    except OSError as error:
        raise from_os_error(error, f"read the job {file}") from error
    try:
        return parse_job(data.decode(), name=file.name)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file.name} is not text in UTF-8", hint="name a job file") from error


def run_job(
    job: Job, found: Found, reporter: Reporter, *, medium: str = "", again: bool = True
) -> JobResult:
    """Run a job; an expected failure becomes a result, and log and JSON keep it.

    Args:
        medium: identity of the boot medium, when a start of it asked for the job.
        again: run it although it ran before from this medium.

    Raises:
        DiskTrouble: the place of the image cannot be mounted, or not be written though it must.
    """
    place = _place(job, found, reporter, must_write=bool(medium) and not again)
    with place as (image, writable, ask):
        if not writable:
            return _run_kept(job, found, image, reporter, None, ask)
        marker = Marker(_beside(image, job, "ran"), job.digest, medium or "by hand")
        earlier = marker.earlier()
        if earlier and not again:
            return JobResult(Exit.COMPLETE, (), earlier=earlier)
        if job.action == "capture":
            _make_directories(image)
        marker.begin()
        path = _beside(image, job, "log")
        with _open_log(path) as log:
            result = _run_kept(job, found, image, reporter, log)
        marker.end(result.exit)
        return JobResult(result.exit, result.lines, path)


def _beside(image: Path, job: Job, suffix: str) -> Path:
    return image.with_name(f"{image.name}.{job.action}.{suffix}")


def _make_directories(image: Path) -> None:
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, f"make {image.parent}") from error


@contextmanager
def _place(
    job: Job, found: Found, reporter: Reporter, *, must_write: bool
) -> Iterator[tuple[Path, bool, Ask | None]]:
    """The image's path while its place is mounted, whether it can be written, who changes discs."""
    if found.store is None:
        if must_write:
            raise DiskTrouble(
                "a job on the boot medium itself cannot note that it ran, so it is not run unasked",
                hint="keep the image on a disk that can be written, or add rescue.job.again=1",
            )
        path = MEDIUM / job.image.path
        several = discs.load()
        if several is None or path.exists():
            yield path, False, None
            return
        with discs.Drive(several, Path(job.image.path).name, reporter) as drive:
            yield drive.file(job.image.path), False, drive.ask
        return
    with ExitStack() as silence, ExitStack() as stack:
        # A shell on another console may be looking at this very disk: it ends its look first, and
        # begins none while a job writes to disks.
        words = "waiting until nobody looks at the disks any more"
        quiet = quieten(seconds=_PATIENCE, waits=lambda: reporter.note(words))
        if quiet is not None:
            silence.callback(runtime.unlock, quiet)
        writable = True
        try:
            place = stack.enter_context(held(found.store.node, writable=True))
        except DiskTrouble as error:
            if job.action == "capture" or must_write:
                raise
            reporter.warn(f"no log will be kept: {error.message}")
            writable = False
            place = stack.enter_context(held(found.store.node, writable=False))
        if job.action == "verify":
            silence.close()
        yield place.file(job.image.path), writable, None


@contextmanager
def _open_log(path: Path) -> Iterator[IO[str]]:
    try:
        log = path.open("a", encoding="utf-8", errors="replace")
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    with log:
        yield log
        log.flush()
        os.fsync(log.fileno())


def _run_kept(
    job: Job,
    found: Found,
    image: Path,
    reporter: Reporter,
    log: IO[str] | None,
    ask: Ask | None = None,
) -> JobResult:
    """Do the work and keep what is said and what came of it."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    logger = LineReporter(lambda line: _log(log, line))
    both = Tee(reporter, logger)
    for line in [*job.lines()[:1], *found.lines(job)]:
        both.note(line)
    try:
        done = _work(job, found, image, both, ask)
        status, lines, data = done.exit, done.lines, done.data
    except RescueError as error:
        status, hint = error.exit_code, _LOCKED if isinstance(error, ImageLocked) else error.hint
        lines = (f"error: {error.message}", *([f"hint: {hint}"] if hint else []))
        data = {"action": job.action, "error": error.message, "hint": hint}
    except OSError as os_error:
        known = from_os_error(os_error, f"run the job on {os_error.filename or image}")
        status, lines = known.exit_code, (f"error: {known.message}",)
        data = {"action": job.action, "error": known.message, "hint": known.hint}
    for line in lines:
        _log(log, line)
    result = JobResult(status, tuple(lines))
    _log(log, result.last_line)
    if log is not None:
        facts = {"started": started, "job": job.digest, "exit": int(status)}
        _keep(_beside(image, job, "json"), {**data, **facts, "warnings": logger.warnings})
    return result


def _log(log: IO[str] | None, line: str) -> None:
    if log is not None:
        log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
        log.flush()


def _keep(path: Path, data: Mapping[str, Any]) -> None:
    """Write the result beside its place and move it there: never half a file."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="ascii") as file:
            json.dump(dict(data), file, indent=2, default=str)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error


def _is_begun(image: Path) -> bool:
    """Whether an earlier run of the job was stopped in the middle of this image."""
    from rescue.image.reader import Image

    if not image.is_file():
        return False
    try:
        Image.open(image).close()
    except ImageIncomplete:
        return True
    except RescueError:
        return False  # whatever it is, it is there, and is not written over
    return False


def _work(
    job: Job, found: Found, image: Path, reporter: Reporter, ask: Ask | None = None
) -> work.Done:
    """The verb itself."""
    secrets = read_secrets(found)
    if job.action == "verify":
        return verify(VerifyWish(image, job.deep, job.filesystems, secrets=secrets), reporter)
    assert found.disk is not None
    if job.action == "restore":
        wish = RestoreWish(
            image,
            found.disk.path,
            job.partitions,
            job.erase,
            secrets=secrets,
            ask=ask,
            fit=job.how.fit or None,
            into=job.how.into or None,
            leave_out=job.how.leave_out,
            new_identity=job.how.new_identity,
        )
        with prepare(wish) as prepared:
            for line in prepared.lines():
                reporter.note(line)
            return prepared.execute(job.erase, reporter)
    resume = _is_begun(image)
    if resume:
        reporter.note(f"{image} was begun and never finished: going on where it stopped")
    new = work.CaptureWish(
        found.disk.path,
        image,
        job.partitions,
        job.level,
        job.all_sectors,
        access=None if resume else access_of(job, secrets),
        secrets=secrets if resume else (),
        resume=resume,
    )
    done = work.capture(new, reporter)
    if not job.verify:
        return done
    look = VerifyWish(image, deep=True, filesystems=job.filesystems, secrets=secrets)
    checked = verify(look, reporter)
    said = {" ".join(line.split()) for line in done.lines}
    more = [line for line in checked.lines if " ".join(line.split()) not in said]
    return work.Done(
        checked.exit if checked.exit is not Exit.COMPLETE else done.exit,
        (*done.lines[:-1], *more),
        {**done.data, "verify": dict(checked.data)},
    )
