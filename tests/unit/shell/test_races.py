"""What happens between the look and the key: lists that change, keys that come too soon or twice.

The one rule of all of them: an answer is to what stood on the screen, and Esc wins.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from rescue.core.errors import DiskTrouble
from rescue.jobs import runtime, tasks
from rescue.jobs.tasks import Task, TaskWish
from rescue.shell import actions
from rescue.shell.facts import Found, Sight
from rescue.shell.screens.app import RescueApp
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.flow import FlowScreen
from rescue.shell.screens.task import TaskScreen
from tests.unit.shell.driving import Keys, drive
from tests.unit.shell.recorded import IMAGE, LOCKED, MACHINE, SMALL, STORE, World, task_of
from tests.unit.shell.test_screens import fits, quiet, running

__all__ = ["quiet"]
PATIENCE = 10.0


class Gated(World):
    """A machine that takes as long to look at as the test wants.

    Attributes:
        open: cleared, every look waits until it is set.
        waiting: how many looks wait or have waited.
    """

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.open = threading.Event()
        self.open.set()
        self.waiting = 0
        self.fails: DiskTrouble | None = None

    def _pass(self) -> None:
        if not self.open.is_set():
            self.waiting += 1
            assert self.open.wait(PATIENCE)
            if self.fails is not None:
                raise self.fails

    def sight(self, *, settled: bool = False) -> Sight:
        found = super().sight(settled=settled)
        self._pass()
        return found

    def images(self, *, wait: bool = False) -> Sequence[Found]:
        if wait:
            self._pass()
        return super().images(wait=wait)

    def scan(self, sight: Sight) -> Iterator[str]:
        self._pass()
        yield from super().scan(sight)

    def unlock(self, image: Found, passphrase: bytes) -> Found:
        self._pass()
        return super().unlock(image, passphrase)


async def until_waiting(keys: Keys, world: Gated, count: int = 1) -> None:
    """Until so many looks hang at the gate."""
    end = time.monotonic() + PATIENCE
    while world.waiting < count:
        assert time.monotonic() < end
        await keys.pilot.pause(0.01)


def flow_of(keys: Keys) -> FlowScreen:
    screen = keys.app.screen
    assert isinstance(screen, FlowScreen)
    return screen


def test_enter_while_it_is_looked_again_is_the_answer_to_what_was_seen(tmp_path: Path) -> None:
    """The look that F5 began ends later: it must not bring the old question back."""
    world = Gated(folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("enter")
        world.open.clear()
        await keys.pilot.press("f5")
        await until_waiting(keys, world)
        world.found.insert(0, replace(IMAGE, path="images/newer.rescue", made="2026-11-24 08:00"))
        await keys.pilot.press("enter")
        await keys.pilot.pause(0.05)
        world.open.set()
        await keys.rest()
        assert "step 2: What shall come back?" in keys.text
        assert flow_of(keys)._answers == {"image": IMAGE.word}
        assert flow_of(keys)._order == ["image"]

    drive(world, work)


def test_escape_wins_over_an_answer_that_is_still_looked_at(tmp_path: Path) -> None:
    world = Gated(images=(LOCKED,), folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter")
        assert "is encrypted" in keys.text
        world.open.clear()
        for letter in "correct horse battery":
            await keys.pilot.press("space" if letter == " " else letter)
        await keys.pilot.press("enter")
        await until_waiting(keys, world)
        await keys.pilot.press("escape")
        await keys.pilot.pause(0.05)
        world.open.set()
        await keys.rest()
        assert "step 1: From which image?" in keys.text
        assert flow_of(keys)._answers == {}

    drive(world, work)


@pytest.mark.parametrize("fails", [False, True])
def test_leaving_while_it_is_looked_is_no_dead_screen(fails: bool, tmp_path: Path) -> None:
    """What the look finds, or that it failed, has no screen any more to stand on."""
    world = Gated(folder=tmp_path)
    if fails:
        world.fails = DiskTrouble("a disk is gone")

    async def work(keys: Keys) -> None:
        world.open.clear()
        await keys.pilot.press("enter")
        await until_waiting(keys, world)
        await keys.pilot.press("escape")
        await keys.pilot.pause(0.05)
        world.open.set()
        await keys.rest()
        assert isinstance(keys.app.screen, FirstScreen)
        assert "Restore this machine" in keys.text

    drive(world, work)


def test_enter_pressed_twice_starts_one_task(tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter", "enter")
        for letter in "S4EVNX01":
            await keys.pilot.press(letter)
        await keys.pilot.press("enter", "enter", "enter")
        await keys.rest()
        assert isinstance(keys.app.screen, TaskScreen)
        assert len(world.started) == 1

    drive(world, work)


def test_enter_pressed_twice_does_not_pass_a_warning(tmp_path: Path) -> None:
    world = World(images=(), folder=tmp_path)
    world.failing = "its own health check says that it fails"

    async def work(keys: Keys) -> None:
        text = await keys.press("down", "enter", "enter", "enter", "enter", "enter")
        assert isinstance(keys.app.screen, FlowScreen)
        step = flow_of(keys).step
        assert step is not None
        assert (step.kind, "fails" in text) == ("read", True)

    drive(world, work, calm=60.0)
    drive(World(images=(), folder=tmp_path), no_warning, calm=60.0)


async def no_warning(keys: Keys) -> None:
    """Only warnings wait: a question with choices is answered at once."""
    text = await keys.press("down", "enter", "enter")
    assert "What shall be in the image?" in text


def test_looking_again_leaves_the_pointer_on_what_was_pointed_at(tmp_path: Path) -> None:
    """A disk that comes in above moves the list, and not the choice."""
    new = replace(SMALL, path=Path("/dev/sd0"), serial="NEW02", size=500 << 30)
    world = World(disks=(SMALL, MACHINE, STORE), folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("down", "enter", "end")
        pointed = keys.app.screen.query_one(OptionList).highlighted_option
        assert pointed is not None
        world.disks = (new, *world.disks)
        await keys.press("f5")
        now = keys.app.screen.query_one(OptionList)
        assert now.option_count == 4
        assert now.highlighted_option is not None
        assert now.highlighted_option.id == pointed.id

    drive(world, work)


def test_looking_again_leaves_what_is_being_typed_alone(tmp_path: Path) -> None:
    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter", "enter")
        for letter in "S4EV":
            await keys.pilot.press(letter)
        await keys.press("f5")
        assert keys.app.screen.query_one(Input).value == "S4EV"

    drive(World(folder=tmp_path), work)


def test_an_identity_is_typed_anew_and_a_name_is_kept(tmp_path: Path) -> None:
    world = World(images=(), folder=tmp_path)
    world.refuse = DiskTrouble("a task is at work")

    async def work(keys: Keys) -> None:
        await keys.press("down", *["enter"] * 7)
        assert "How shall it be called?" in keys.text
        await keys.press(*["backspace"] * 40)
        text = await keys.type("images/mine")
        assert "a task is at work" in text
        assert keys.app.screen.query_one(Input).value == "images/mine"
        await keys.press("escape", "enter")
        assert keys.app.screen.query_one(Input).value == "images/mine"

    drive(world, work)


def test_a_target_that_became_another_disk_needs_its_own_identity(tmp_path: Path) -> None:
    """The same /dev name, another disk: what is typed must be the identity on the screen."""
    other = replace(MACHINE, serial="OTHER99", model="Other")
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter")
        world.disks = (other, *world.disks[1:])
        text = await keys.press("enter")
        assert "type the identity of the disk: OTHER99" in text
        assert "is not the identity of /dev/sda" in await keys.type("S4EVNX01")
        assert not world.started

    drive(world, work)


def test_an_older_look_does_not_hide_a_disk_that_was_just_plugged_in() -> None:
    world = Gated(disks=(MACHINE,))

    async def work(keys: Keys) -> None:
        world.open.clear()
        await keys.pilot.press("f5")
        await until_waiting(keys, world)
        world.disks = (MACHINE, SMALL)
        slow, world.open = world.open, threading.Event()
        world.open.set()
        await keys.pilot.press("f5")
        await keys.pilot.pause(0.2)
        assert "FLASH01" in keys.text
        slow.set()
        await keys.rest()
        assert "FLASH01" in keys.text

    drive(world, work)


def ended(folder: Path, status: int) -> None:
    (folder / "log.txt").write_text("error: cannot write /dev/sda: no space\n")
    (folder / "end.json").write_text(json.dumps({"exit": status, "ended": 1.0}))


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "It ended well."), (3, "could not be read"), (10, "It did NOT end well.")],
)
def test_a_task_that_ends_while_nobody_watches_is_said(
    status: int, words: str, tmp_path: Path
) -> None:
    folder = runtime.folder("tasks") / "20261124-120000-restore"
    task = running(folder, step="restore", done=1, total=2)
    lock = runtime.try_lock(folder / tasks.LOCK)
    world = World(folder=tmp_path)
    world.running = [task]

    async def tick(keys: Keys) -> str:
        assert isinstance(keys.app.screen, FirstScreen)
        keys.app.screen._tick()
        await keys.rest()
        return keys.text

    async def work(keys: Keys) -> None:
        assert "RUNNING: Restore onto /dev/sda" in await tick(keys)
        ended(folder, status)
        assert lock is not None
        os.close(lock)
        world.running = [replace(task, alive=False, exit=status)]
        text = await tick(keys)
        assert "ENDED: Restore onto /dev/sda" in text
        assert words in text
        await keys.press("end", "enter")
        assert isinstance(keys.app.screen, TaskScreen)
        await keys.press("end", "enter")
        assert "ENDED" not in await tick(keys)

    drive(world, work)


def test_starting_the_machine_takes_a_second_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end may come in the very moment in which Enter is pressed for something else."""
    left: list[str] = []
    monkeypatch.setattr(actions, "may_leave", lambda: True)
    monkeypatch.setattr(actions, "leave", left.append)
    world = World(folder=tmp_path)
    done = task_of(tmp_path, TaskWish(("restore",)), alive=False, exit=0)

    def start(wish: TaskWish) -> Task:
        world.started.append(wish)
        return done

    monkeypatch.setattr(world, "start", start)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter", "enter")
        text = await keys.type("S4EVNX01")
        assert "Start the machine now" in text
        text = await keys.press("enter")
        assert "Take out the rescue medium now" in text
        assert left == []
        await keys.press("enter")
        assert left == ["reboot"]

    drive(world, work)


def test_another_size_in_the_middle_of_a_question_and_of_a_task(tmp_path: Path) -> None:
    """Everything is drawn for the new width, and nothing that was pointed at moves."""
    folder = runtime.folder("tasks") / "20261124-120000-restore"
    task = running(folder, step="restore", done=43 << 30, total=100 << 30, speed=1 << 20)
    lock = runtime.try_lock(folder / tasks.LOCK)
    assert lock is not None
    world = World(folder=tmp_path)
    world.running = [task]

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter")
        await keys.press("down")
        pointed = keys.app.screen.query_one(OptionList).highlighted
        for size in ((60, 20), (120, 40), (80, 25)):
            await keys.pilot.resize_terminal(*size)
            await keys.rest()
            fits(keys.text, size)
            assert "Onto which disk?" in keys.text
            assert "NOT POSSIBLE: the image is on it" in keys.text
        assert keys.app.screen.query_one(OptionList).highlighted == pointed
        await keys.press("escape", "escape", "escape")
        keys.app.screen._tick()  # type: ignore[attr-defined]
        await keys.press("end", "enter")
        for size in ((40, 12), (120, 40)):
            await keys.pilot.resize_terminal(*size)
            keys.app.screen._look()  # type: ignore[attr-defined]
            await keys.rest()
            fits(keys.text, size)
            assert "43%" in keys.text

    drive(world, work)
    os.close(lock)


def test_a_terminal_of_40_by_10_still_leads_through(tmp_path: Path) -> None:
    """Not comfortable; but every question, its choices and what goes wrong can be read."""
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        assert "Restore this machine" in keys.text
        for title in ("From which image?", "What shall come back?", "Onto which disk?"):
            text = await keys.press("enter")
            fits(text, (40, 10))
            assert flow_of(keys).step is not None
            assert title in text
        text = await keys.press("enter")
        assert isinstance(keys.app.screen.focused, Input)
        await keys.type("WRONG")
        assert "That will not do" in keys.text
        await keys.press(*["backspace"] * 5)
        await keys.type("S4EVNX01")
        assert isinstance(keys.app.screen, TaskScreen)

    drive(world, work, size=(40, 10))


def test_control_c_ends_nothing_on_any_screen(tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        for kind in (FirstScreen, FlowScreen, FlowScreen):
            assert isinstance(keys.app.screen, kind)
            assert "Esc leads back" in await keys.press("ctrl+c")
            await keys.press("enter")
        assert not world.started

    drive(world, work)


def test_no_thread_waits_for_screens_that_have_ended() -> None:
    """Python waits for its threads at its end: one that waited on kept a shell without a person."""
    app = RescueApp(World())
    with pytest.raises(RuntimeError, match="not begun"):
        app.call_from_thread(app.home)
    app._loop = asyncio.new_event_loop()  # one that does not run, as after a signal at its end
    try:
        with pytest.raises(RuntimeError, match="have ended"):
            app.call_from_thread(app.home)
        app._loop.run_until_complete(asyncio.sleep(0))
    finally:
        app._loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        app.call_from_thread(app.home)
