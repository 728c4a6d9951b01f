"""``rescue task``: run a command by itself, so that it outlives the terminal it was started on."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.cli.console import columns, put, put_json, say
from rescue.cli.options import JsonOption
from rescue.core.errors import DiskTrouble, Exit, UsageError

if TYPE_CHECKING:
    from rescue.jobs.tasks import Task

_HELP = """Run rescue commands by themselves: closing the terminal does not end them.

One of them writes at a time; any number may read. The restore shell starts its work this way and
shows what runs, also after it was closed and opened again.

\b
Examples:
  rescue task start -- verify --deep /mnt/store/pc.rescue
  rescue task start --place /dev/sdb1 -- verify /dev/sdb1:pc.rescue
  rescue task list
  rescue task follow
  rescue task stop 20261124-213355-verify"""

_START = """Start a command and return at once; its id is printed.

--place mounts the filesystem on a node for as long as the command runs, read-only, and
--writable for writing. NODE:path in the command then names a file on it.

\b
Examples:
  rescue task start -- capture /dev/sda /mnt/store/pc.rescue
  rescue task start --writable /dev/sdb1 -- capture /dev/sda /dev/sdb1:pc.rescue"""

PlaceOption = Annotated[
    list[Path] | None, typer.Option("--place", metavar="NODE", help="Mount it to read; repeatable.")
]
WritableOption = Annotated[
    list[Path] | None,
    typer.Option("--writable", metavar="NODE", help="Mount it to write; repeatable."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The newest when left out.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    task = typer.Typer(
        name="task",
        help=_HELP,
        short_help="Run commands that outlive the terminal.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    task.command("start", help=_START, short_help="Start a command.")(start)
    task.command("list", short_help="What runs, and what has run.")(listing)
    task.command("follow", short_help="Show how far one is until it ends.")(follow)
    task.command("stop", short_help="End one in order, as Ctrl-C does.")(stop)
    task.command("run", hidden=True)(run)
    app.add_typer(task)


def start(
    words: Annotated[list[str], typer.Argument(metavar="-- VERB ...", help="The command.")],
    place: PlaceOption = None,
    writable: WritableOption = None,
    json: JsonOption = False,
) -> int:
    """Start a command by itself."""
    from rescue.jobs import tasks

    wish = tasks.TaskWish(tuple(words), "", tuple(place or ()), tuple(writable or ()))
    task = tasks.start(wish, tasks.own_program())
    if json:
        put_json({**task.to_json(), "exit": 0})
    else:
        put(task.id)
        say("rescue task follow shows how far it is")
    return 0


def listing(json: JsonOption = False) -> int:
    """What runs, and what has run since this system was started."""
    from rescue.jobs import tasks

    found = tasks.listing()
    if json:
        put_json({"tasks": [task.to_json() for task in found], "exit": 0})
        return 0
    rows = [("ID", "STATE", "COMMAND")]
    rows += [(task.id, state_words(task), task.command) for task in found]
    if not found:
        say("no task was started since this system started")
        return 0
    for line in columns(rows):
        put(line, style="bold" if line.startswith("ID") else "")
    return 0


def state_words(task: Task) -> str:
    """``running, 43%``, ``ended, exit 0`` or ``killed``."""
    if task.alive:
        total = task.state.get("total") or 0
        share = f", {min(1.0, task.state.get('done', 0) / total):.0%}" if total else ""
        return f"running{share}"
    return "killed" if task.killed else f"ended, exit {task.exit}"


def follow(name: Id = "") -> int:
    """Show what a task says until it ends; its exit code becomes this command's."""
    from rescue.jobs import tasks

    task = tasks.find(name)
    say(f"$ {task.command}")
    shown = 0
    while True:
        alive = task.alive
        lines = task.log()
        for line in lines[shown:]:
            say(line)
        shown = len(lines)
        if not alive:
            break
        time.sleep(0.5)
        task = tasks.find(task.id)
    for line in task.output():
        put(line)
    if task.killed:
        raise DiskTrouble(
            f"task {task.id} ended without a word", hint="what it was writing is incomplete"
        )
    return task.exit or 0


def stop(name: Id = "") -> int:
    """End a task in order, as Ctrl-C does."""
    from rescue.jobs import tasks

    task = tasks.find(name)
    if not task.alive:
        say(f"{task.id} has ended already")
        return 0
    tasks.stop(task)
    say(f"{task.id} was asked to stop")
    return 0


def run(folder: Path) -> int:
    """Be a task: what ``start`` runs, in the folder that it made."""
    from rescue.cli import main
    from rescue.jobs import held, runtime, tasks, taskstate

    facts = runtime.read_json(folder / "task.json")
    if not facts or runtime.try_lock(folder / tasks.LOCK) is not None:
        raise UsageError(f"{folder} is not a task", hint="rescue task start starts one")
    os.environ[taskstate.VARIABLE] = str(folder)
    status: int = Exit.INTERRUPTED  # what passes every handler is a signal
    try:
        with ExitStack() as stack:
            if facts.get("writes") and (quiet := held.quieten(seconds=30)) is not None:
                stack.callback(runtime.unlock, quiet)
            try:
                words = _with_places(facts, stack)
            except Exception as error:
                status = main.tell_of(error)
            else:
                status = main.run(words)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
    finally:
        runtime.write_json(folder / "end.json", {"exit": int(status), "ended": time.time()})
    return status


def _with_places(facts: dict[str, list[str]], stack: ExitStack) -> list[str]:
    """The command with its places mounted, ``NODE:path`` replaced by where the file is now."""
    from rescue.jobs.held import held

    roots = {}
    for key in ("writable", "places"):
        for node in facts.get(key, ()):
            if node not in roots:
                roots[node] = stack.enter_context(held(Path(node), writable=key == "writable"))
    words = []
    for word in facts["run"]:
        node, colon, path = word.partition(":")
        if colon and node in roots:
            file = roots[node].file(path)
            if roots[node].writable:
                file.parent.mkdir(parents=True, exist_ok=True)
            word = str(file)
        words.append(word)
    return words
