"""A task in lines: what it does now, how far it is, how it ended. Ctrl-C asks what to do."""

from __future__ import annotations

import time

from rescue.core.errors import RescueError, UsageError
from rescue.core.units import format_duration, format_size
from rescue.jobs import tasks
from rescue.jobs.tasks import Task
from rescue.shell.bars import share_bar
from rescue.shell.terminal import Back, Menu, Option, Terminal
from rescue.shell.words import ending

_LOOK = 0.5
_TELL = 5.0


def follow(terminal: Terminal, task: Task) -> Task | None:
    """Tell how far a task is until it ends; None when the person left it running."""
    terminal.say()
    terminal.say(f"$ {task.command}")
    terminal.say("It goes on by itself, also if this terminal is closed. Ctrl-C: more choices.")
    told, said, noted = 0.0, "", 0
    while True:
        try:
            task = _now(task)
            news = [*task.state.get("warnings", ())]
            for text in news[noted:]:
                terminal.say(f"NOTE: {text}")
            noted = len(news)
            line = progress_line(task)
            if not task.alive:
                break
            if line != said and time.monotonic() - told >= _TELL:
                terminal.lines([line])
                told, said = time.monotonic(), line
            time.sleep(_LOOK)
        except Menu:
            if _interrupted(terminal, task):
                return None
    show_end(terminal, task)
    return task


def _now(task: Task) -> Task:
    found = tasks.read(task.folder)
    if found is None:
        raise UsageError(f"the notes of {task.title or task.id} are gone")
    return found


def _interrupted(terminal: Terminal, task: Task) -> bool:
    """What Ctrl-C shall mean; True to leave it running."""
    terminal.say()
    options = [
        Option("Leave it running and go to the menu", "leave"),
        Option("Stop it", "stop"),
    ]
    try:
        chosen = terminal.choose("Type a number", options, back="Go on watching")
    except (Back, Menu):
        return False
    if chosen == "leave":
        return True
    question = "Stop it?"
    if task.verb == "restore":
        question = "Stop it? The disk will hold a part of the image only, and not be usable."
    if terminal.yes(question, default=False):
        try:
            tasks.stop(task)
        except RescueError as error:
            terminal.say(f"It could not be stopped: {error.message}.")
    return False


def progress_line(task: Task) -> str:
    """``restore [####----] 43%, 1.2 GiB of 2.8 GiB, 310.0 MiB/s, 5 s left``."""
    state = task.state
    step = str(state.get("step") or "working")
    done, total = int(state.get("done") or 0), int(state.get("total") or 0)
    if not total:
        return f"{step}: {format_size(done)}" if done else f"{step} ..."
    share = min(1.0, done / total)
    facts = [f"{share:.0%}", f"{format_size(done)} of {format_size(total)}"]
    if speed := int(state.get("speed") or 0):
        facts.append(f"{format_size(speed)}/s")
    if (left := state.get("left")) is not None:
        facts.append(f"{format_duration(float(left))} left")
    return f"{step} [{share_bar(share, 16, full='#', empty='-')}] {', '.join(facts)}"


def show_end(terminal: Terminal, task: Task) -> None:
    """How it ended."""
    terminal.say()
    for line in task.output():
        terminal.say(line)
    for text in ending(task):
        terminal.stress(text)
    terminal.say()
