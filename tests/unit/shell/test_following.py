"""A task watched in lines, its end, and what may follow it; in both faces where they differ."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import UsageError
from rescue.jobs import runtime, tasks
from rescue.jobs.tasks import Task, TaskWish
from rescue.shell import actions
from rescue.shell.plain import following, menu
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.task import TaskScreen
from rescue.shell.terminal import Menu
from tests.unit.shell.driving import Keys, drive
from tests.unit.shell.recorded import IMAGE, World, task_of
from tests.unit.shell.test_plain import Person, run_menu

WISH = TaskWish(("restore", IMAGE.word, "/dev/sda"), "Restore onto /dev/sda")
STATE = {"step": "restore", "done": 43 << 30, "total": 100 << 30, "speed": 310 << 20, "left": 190.0}


class Running:
    """A restore that goes on until it is ended."""

    def __init__(self) -> None:
        self.folder = runtime.folder("tasks") / "20261124-120000-restore"
        self.folder.mkdir(parents=True)
        facts = {"title": WISH.title, "words": list(WISH.words), "command": WISH.command()}
        (self.folder / "task.json").write_text(json.dumps(facts))
        self.tell(**STATE)
        self._lock = runtime.try_lock(self.folder / tasks.LOCK)

    def tell(self, **state: object) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))

    def end(self, status: int, log: str = "") -> None:
        (self.folder / "log.txt").write_text(log)
        (self.folder / "end.json").write_text(json.dumps({"exit": status, "ended": 1.0}))
        assert self._lock is not None
        os.close(self._lock)

    @property
    def task(self) -> Task:
        return replace(task_of(self.folder, WISH), state=STATE)


@pytest.fixture(autouse=True)
def own_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks of this test only."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "the same")
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)
    monkeypatch.setattr(following, "_TELL", 0.0)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens while the watcher sleeps, one after the other."""

    def plan(*steps: Callable[[], None]) -> None:
        left = list(steps)
        monkeypatch.setattr(following.time, "sleep", lambda _seconds: left.pop(0)())

    return plan


def interrupt() -> None:
    raise Menu


def test_progress_warnings_and_a_good_end(naps: Callable[..., None]) -> None:
    running, person = Running(), Person()
    naps(
        lambda: running.tell(**STATE, warnings=["partition 2 was not closed properly"]),
        lambda: running.end(0),
    )
    done = following.follow(person.terminal, running.task)
    assert done is not None
    assert done.exit == 0
    assert "It goes on by itself, also if this terminal is closed." in person.shown
    line = "restore [######----------] 43%, 43.0 GiB of 100.0 GiB, 310.0 MiB/s, 3 min 10 s left"
    assert line[:75] in person.shown
    assert "NOTE: partition 2 was not closed properly" in person.shown
    assert "The disk is restored." in person.shown


def test_leaving_it_running(naps: Callable[..., None]) -> None:
    running, person = Running(), Person("1")
    naps(interrupt)
    assert following.follow(person.terminal, running.task) is None
    running.end(0)


def test_stopping_asks_first(naps: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    running, stopped = Running(), []

    def stop(task: Task) -> None:
        stopped.append(task.id)
        if len(stopped) == 1:
            raise UsageError("it has ended")

    monkeypatch.setattr(tasks, "stop", stop)
    person = Person("0", "2", "no", "2", "yes", "2", "yes")
    naps(interrupt, interrupt, interrupt, interrupt, lambda: running.end(130))
    done = following.follow(person.terminal, running.task)
    assert done is not None
    assert "Go on watching" in person.shown
    assert "The disk will hold a part of the image only" in person.shown
    assert "It could not be stopped: it has ended." in person.shown
    assert len(stopped) == 2
    assert "Stopped, as you asked." in person.shown


def test_notes_that_are_gone_are_said(naps: Callable[..., None]) -> None:
    running, person = Running(), Person()
    naps(lambda: (running.folder / "task.json").unlink())
    with pytest.raises(UsageError, match="the notes of Restore onto /dev/sda are gone"):
        following.follow(person.terminal, running.task)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({}, "working ..."),
        ({"step": "scan", "done": 5 << 20}, "scan: 5.0 MiB"),
        ({"step": "scan", "done": 1 << 20, "total": 1 << 20}, "scan [################] 100%"),
    ],
)
def test_lines_of_progress(state: dict[str, object], line: str) -> None:
    task = replace(task_of(Path("/nowhere"), WISH), state=state)
    assert following.progress_line(task).startswith(line)


class Ends:
    """A machine whose tasks end at once, each with its exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *codes: int) -> None:
        self.world, self.codes = World(folder=folder), list(codes)
        monkeypatch.setattr(menu, "ThisMachine", lambda: self.world)
        monkeypatch.setattr(menu, "take_signals", lambda: None)
        monkeypatch.setattr(menu, "has_job", lambda: False)
        monkeypatch.setattr(following, "follow", self._follow)

    def _follow(self, _terminal: object, task: Task) -> Task:
        ended = replace(task, alive=False, exit=self.codes.pop(0))
        self.world.running = [ended]
        return ended


def test_once_more_in_lines_asks_for_the_target_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends = Ends(monkeypatch, tmp_path, 10, 0)
    monkeypatch.setattr(actions, "may_leave", lambda: True)
    left: list[str] = []
    monkeypatch.setattr(actions, "leave", left.append)
    person = Person("1", "1", "1", "1", "S4EVNX01", "yes", "1", "S4EVNX01", "yes", "")
    assert run_menu(person) == 0
    assert len(ends.world.started) == 2
    assert ends.world.started[0] == ends.world.started[1]
    assert person.shown.count("step 3: Onto which disk?") == 2
    assert left == ["reboot"], '"Start the machine now?" was answered with yes'


def test_once_more_in_lines_goes_on_with_a_capture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends = Ends(monkeypatch, tmp_path, 10, 0, 0)
    ends.world.found = []
    person = Person("2", "1", "1", "1", "1", "1", "1", "pc", "yes", "yes", "", "10", "1", "")
    ends.codes.append(0)
    assert run_menu(person) == 0
    first, second, third = ends.world.started
    assert second.words == (*first.words, "--resume")
    assert third.verb == "verify"
    assert "What is running, and what has run" in person.shown


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"alive": True}, "working ..."),
        ({"alive": False, "exit": 3}, "ended, exit 3"),
        ({"alive": False, "exit": None}, "ended without a word"),
    ],
)
def test_tasks_in_a_few_words(task: dict[str, object], words: str) -> None:
    made = replace(task_of(Path("/nowhere"), WISH), **task)  # type: ignore[arg-type]
    assert menu.state_words(made) == words


def test_a_good_end_offers_what_comes_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On the screen: the proof after a capture, the start of the machine after a restore."""
    left: list[str] = []
    monkeypatch.setattr(actions, "may_leave", lambda: True)
    monkeypatch.setattr(actions, "leave", left.append)
    world = World(images=[], folder=tmp_path)

    def start(wish: TaskWish) -> Task:
        world.started.append(wish)
        return replace(task_of(tmp_path, wish), alive=False, exit=0)

    monkeypatch.setattr(world, "start", start)

    async def capture(keys: Keys) -> None:
        await keys.press("down", *["enter"] * 8)
        assert "The image is made." in keys.text
        await keys.press("home", "enter")
        assert world.started[1].verb == "verify"
        assert "The image is whole." in keys.text
        await keys.press("end", "enter")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(world, capture)
    world.found = [IMAGE]

    async def restore(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter", "enter")
        await keys.type("S4EVNX01")
        assert isinstance(keys.app.screen, TaskScreen)
        assert "Start the machine now" in keys.text
        await keys.press("home", "enter")
        text = await keys.press("enter")
        assert left == ["reboot"]
        assert "The system has not ended." in text, "never a dead screen"

    drive(world, restore)
