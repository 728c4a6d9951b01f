"""Tasks: ``rescue`` commands that run by themselves and outlive the shell that started them.

A task has a folder under the runtime folder, and this is all that connects it with anybody:

    task.json    what it is: command, title, places, when it began
    lock         locked for as long as it lives; a free lock and no end.json: it was killed
    state.json   how far it is, rewritten several times a second (``taskstate``)
    log.txt      what it said, errors last (standard error)
    output.txt   its result (standard output)
    end.json     its exit code, written at the very end

So a shell that is closed, crashed or started anew on another terminal shows the same task. One
task writes at a time: the lock for that is handed to the task by whoever starts it, open and
locked, and there is no moment at which two could hold it.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescue.core import process
from rescue.core.errors import DiskTrouble, UsageError, from_os_error
from rescue.jobs import runtime

READERS = ("verify", "show", "disks", "ls", "find", "diff")
"""Verbs that write nothing but their words; any number of these may run."""
LOCK = "lock"
_KEPT = 20


@dataclass(frozen=True, slots=True)
class TaskWish:
    """A command to run by itself.

    Attributes:
        words: of the command, without ``rescue``. ``NODE:path`` is a file on a place.
        title: for a person: "Restore onto /dev/sda".
        places: nodes of filesystems that are mounted read-only for it.
        writable: those that are mounted for writing.
        passphrase: opens the image, or the new one is encrypted with it; never on a disk or in
            a list of arguments.
        opening: opens the encrypted partitions of the disk that is captured, in the same way.
    """

    words: tuple[str, ...]
    title: str = ""
    places: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    passphrase: bytes = field(default=b"", repr=False)
    opening: bytes = field(default=b"", repr=False)

    @property
    def verb(self) -> str:
        """The command's first word."""
        return self.words[0] if self.words else ""

    @property
    def writes(self) -> bool:
        """Whether it must be the only one."""
        return self.verb not in READERS

    def command(self) -> str:
        """The command that does the same, as a person would type it."""
        words = ["rescue"]
        if self.places or self.writable:
            words += ["task", "start"]
            for node in self.places:
                words += ["--place", str(node)]
            for node in self.writable:
                words += ["--writable", str(node)]
            words.append("--")
        return shlex.join([*words, *self.words])


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its folder tells it.

    Attributes:
        alive: whether its process runs.
        exit: its exit code; None while it runs, and when it was killed.
        state: see ``taskstate``; empty before the first step.
    """

    id: str
    folder: Path
    words: tuple[str, ...]
    title: str
    command: str
    started: float
    pid: int
    alive: bool
    exit: int | None
    ended: float | None
    state: dict[str, Any]

    @property
    def verb(self) -> str:
        """What it does: "restore", "capture", …"""
        return self.words[0] if self.words else ""

    @property
    def killed(self) -> bool:
        """It ended without a word."""
        return not self.alive and self.exit is None

    def output(self) -> list[str]:
        """The lines of its result."""
        return runtime.tail(self.folder / "output.txt").splitlines()

    def log(self) -> list[str]:
        """What it said."""
        return runtime.tail(self.folder / "log.txt").splitlines()

    def failure(self) -> tuple[str, str]:
        """Its last error and hint, as the command line says them; empty when there is none."""
        error = hint = ""
        for line in self.log():
            if line.startswith("error: "):
                error, hint = line.removeprefix("error: "), ""
            elif line.startswith("hint: "):
                hint = line.removeprefix("hint: ")
        return error, hint

    def to_json(self) -> dict[str, Any]:
        """For ``rescue task list --json``."""
        return {
            "id": self.id,
            "title": self.title,
            "command": self.command,
            "running": self.alive,
            "exit_code": self.exit,
            "killed": self.killed,
            "started": self.started,
            "ended": self.ended,
            "progress": self.state,
        }


def root() -> Path:
    """The folder of all tasks."""
    return runtime.folder("tasks")


def start(wish: TaskWish, program: Sequence[str]) -> Task:
    """Start a task; it is running, or its end is told, when this returns.

    Args:
        program: how ``rescue`` itself is started.

    Raises:
        UsageError: another task writes.
        DiskTrouble: the system has no room for it.
    """
    if not wish.words:
        raise UsageError("there is no command to run")
    passed: list[int] = []
    try:
        if wish.writes:
            passed.append(_only_writer())
        folder = _new_folder(wish)
        own = runtime.try_lock(folder / LOCK)
        if own is None:
            raise DiskTrouble(f"{folder} is in use")
        passed.append(own)
        words = list(wish.words)
        for option, secret in (
            ("--passphrase-fd", wish.passphrase),
            ("--unlock-fd", wish.opening),
        ):
            if secret:
                passed.append(_secret(secret))
                words[1:1] = [option, str(passed[-1])]
        facts = {
            "title": wish.title,
            "words": list(wish.words),
            "command": wish.command(),
            "places": [str(node) for node in wish.places],
            "writable": [str(node) for node in wish.writable],
            "run": words,
            "writes": wish.writes,
            "started": time.time(),
        }
        runtime.write_json(folder / "task.json", facts)
        with (folder / "output.txt").open("wb") as output, (folder / "log.txt").open("wb") as log:
            pid = process.detach(
                [*program, "task", "run", folder],
                output=output,
                errors=log,
                env={"PYTHONUNBUFFERED": "1"},
                pass_fds=passed,
            )
        runtime.write_json(folder / "task.json", {**facts, "pid": pid})
    except OSError as error:
        raise from_os_error(error, "start a task") from error
    finally:
        for fd in passed:
            os.close(fd)
    found = read(folder)
    assert found is not None
    return found


def _only_writer() -> int:
    fd = runtime.try_lock(runtime.folder("locks") / "writer")
    if fd is None:
        busy = next((task for task in listing() if task.alive and task.verb not in READERS), None)
        what = f"{busy.title or busy.command} is still running" if busy else "a task is running"
        raise UsageError(
            f"{what}; one task writes at a time", hint="wait for its end, or stop it first"
        )
    return fd


def _new_folder(wish: TaskWish) -> Path:
    """A folder of its own; the oldest ended tasks make room."""
    for old in listing()[_KEPT - 1 :]:
        if not old.alive:
            _remove(old.folder)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 100):
        name = f"{stamp}-{wish.verb}" + (f"-{number}" if number > 1 else "")
        folder = root() / name
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise from_os_error(error, f"make {folder}") from error
        return folder
    raise DiskTrouble("too many tasks were started in this second")


def _remove(folder: Path) -> None:
    for name in ("task.json", "state.json", "log.txt", "output.txt", "end.json", LOCK):
        (folder / name).unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:
        return


def _secret(passphrase: bytes) -> int:
    """The reading end of a pipe that holds a passphrase; short enough for any pipe."""
    reader, writer = os.pipe()
    try:
        os.write(writer, passphrase + b"\n")
    finally:
        os.close(writer)
    return reader


def listing() -> list[Task]:
    """All tasks of this start of the system, the newest first."""
    found = [read(folder) for folder in sorted(root().iterdir(), reverse=True) if folder.is_dir()]
    return [task for task in found if task is not None]


def read(folder: Path) -> Task | None:
    """A task as it is now; None where there is none (or it is just being made)."""
    facts = runtime.read_json(folder / "task.json")
    if not facts:
        return None
    fd = runtime.try_lock(folder / LOCK, shared=True)
    if fd is not None:
        runtime.unlock(fd)
    end = runtime.read_json(folder / "end.json")
    return Task(
        id=folder.name,
        folder=folder,
        words=tuple(map(str, facts.get("words", ()))),
        title=str(facts.get("title", "")),
        command=str(facts.get("command", "")),
        started=float(facts.get("started", 0)),
        pid=int(facts.get("pid", 0)),
        alive=fd is None,
        exit=int(end["exit"]) if end and fd is not None else None,
        ended=float(end["ended"]) if end else None,
        state=runtime.read_json(folder / "state.json"),
    )


def find(name: str) -> Task:
    """The task with this id; "" is the newest.

    Raises:
        UsageError: there is none.
    """
    tasks = listing()
    for task in tasks:
        if name in ("", task.id):
            return task
    raise UsageError(
        f"there is no task {name}".rstrip(), hint="rescue task list shows those there are"
    )


def stop(task: Task) -> None:
    """Ask a task to end in order, as Ctrl-C would; one that has ended is left alone."""
    if task.alive and task.pid > 1:
        try:
            os.kill(task.pid, signal.SIGINT)
        except ProcessLookupError:
            return
        except OSError as error:
            raise from_os_error(error, f"stop task {task.id}") from error


def own_program() -> list[str]:
    """How this very program is started: the command it came from, or the one on the path."""
    own = Path(sys.argv[0])
    if own.name == "rescue" and own.is_absolute() and own.is_file():
        return [str(own)]
    beside = Path(sys.executable).parent / "rescue"
    return [str(beside) if beside.is_file() else process.find("rescue") or "/usr/bin/rescue"]
