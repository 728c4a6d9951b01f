"""The screens by keys alone: every path forwards, backwards and with each refusal; snapshots."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, UsageError
from rescue.jobs import runtime, tasks
from rescue.shell import actions
from rescue.shell.facts import Sectors
from rescue.shell.screens import task as task_screen
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.flow import FlowScreen
from rescue.shell.screens.task import TaskScreen
from tests.unit.shell.driving import Keys, check_snapshot, drive
from tests.unit.shell.recorded import (
    IMAGE,
    LOCKED,
    MACHINE,
    PASSPHRASE,
    SMALL,
    STORE,
    VOLUMES,
    World,
    crowded,
    task_of,
)

SIZES = [(80, 25), (120, 40)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of the running system is read, and the clock stands still where it is shown."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr(time, "strftime", lambda *_words: "2026-11-24")
    monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "the same")
    monkeypatch.setattr("rescue.shell.screens.first.__version__", "0.0.0")
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)
    monkeypatch.setattr(actions, "promise", lambda: actions.PROMISE)
    monkeypatch.setattr(actions, "save_support", lambda _world: "Saved.")


def fits(text: str, size: tuple[int, int]) -> None:
    """Nothing is wider or higher than the screen, and the keys are shown."""
    lines = text.split("\n")
    assert len(lines) <= size[1]
    assert all(len(line) <= size[0] for line in lines)


@pytest.mark.parametrize("size", SIZES)
def test_first_screen(size: tuple[int, int]) -> None:
    async def work(keys: Keys) -> None:
        text = keys.text
        fits(text, size)
        for word in ("Dell XPS 13", "S4EVNX01", 'ntfs "Windows"', "Restore this machine"):
            assert word in text
        check_snapshot(f"first-{size[0]}", text)

    drive(World(), work, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_restore_forwards(size: tuple[int, int], tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        names = ["image", "what", "target", "identity"]
        for name in names:
            text = await keys.press("enter")
            fits(text, size)
            check_snapshot(f"restore-{name}-{size[0]}", text)
        assert "Will be lost" in keys.text
        text = await keys.type("wrong")
        assert "is not the identity of /dev/sda" in text
        assert not world.started
        await keys.press(*["backspace"] * 5)
        await keys.type("S4EVNX01")
        assert isinstance(keys.app.screen, TaskScreen)
        assert [wish.words for wish in world.started] == [
            ("restore", IMAGE.word, "/dev/sda", "--erase", "S4EVNX01")
        ]

    drive(world, work, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_what_another_disk_asks_for(size: tuple[int, int], tmp_path: Path) -> None:
    """Sectors that leave something out, and the first disk beside it: a question each."""
    world = World(folder=tmp_path)
    second = replace(SMALL, size=MACHINE.size, sector_size=4096)
    world.disks = (MACHINE, second, STORE)
    why = "its exFAT is made for sectors of 512 bytes, and is not made anew"
    world.others = Sectors(world.bounds(IMAGE, b""), frozenset(), {3: why})

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter")
        for key, said in (
            ("down", "not for partition 3"),
            ("enter", "Not everything can be on this disk"),
            ("enter", "In place of the first disk, or beside it?"),
        ):
            text = await keys.press(key)
            assert said in " ".join(text.split()), text
            fits(text, size)
        text = await keys.press("down", "enter")
        fits(text, size)
        await keys.type("FLASH01")
        assert world.started[-1].words[3:] == (
            "--erase", "FLASH01", "--leave-out", "3", "--new-identity"
        )  # fmt: skip

    drive(world, work, size=size)


def test_back_works_at_every_step_until_the_confirmation(tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        shown = []
        await keys.press("enter")
        for _ in range(3):
            shown.append(keys.text)
            await keys.press("enter")
        for text in reversed(shown):
            assert await keys.press("escape") == text
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)
        assert not world.started

    drive(world, work)


def test_a_refused_disk_cannot_be_chosen_by_any_key(tmp_path: Path) -> None:
    world = World(disks=(STORE,), folder=tmp_path)

    async def work(keys: Keys) -> None:
        text = await keys.press("enter", "enter", "enter")
        assert "NOT POSSIBLE: the image is on it" in text
        await keys.press("down", "enter", "space", "end", "enter", "home", "enter")
        assert isinstance(keys.app.screen, FlowScreen)
        assert keys.app.screen.step is not None
        assert keys.app.screen.step.name == "target"
        assert not world.started

    drive(world, work)


def test_partitions_are_marked_with_the_space_bar(tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "down", "enter")
        text = await keys.press("enter")
        assert "at least one partition" in text
        text = await keys.press("down", "space", "down", "space")
        marks = [line.strip()[:6] for line in text.splitlines() if line.strip().startswith("[")]
        assert marks == ["[ ] 1 ", "[X] 2 ", "[X] 3 "], "marks are letters, not colours"
        await keys.press("enter", "enter")
        await keys.type("S4EVNX01")
        assert world.started[0].words[-4:] == ("--partition", "2", "--partition", "3")

    drive(world, work)


def test_a_wrong_passphrase_is_said_and_the_right_one_goes_on(tmp_path: Path) -> None:
    world = World(images=[LOCKED], folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter")
        text = await keys.type("wrong")
        assert "does not open the image" in text
        assert "wrong" not in text.replace("wrong.", "")
        await keys.press(*["backspace"] * 5)
        text = await keys.type(PASSPHRASE.decode())
        assert "What shall come back?" in text

    drive(world, work)


@pytest.mark.parametrize("size", SIZES)
def test_capture_forwards_with_a_warning(size: tuple[int, int], tmp_path: Path) -> None:
    world = World(images=[], folder=tmp_path)
    world.volumes = (VOLUMES[0], replace(VOLUMES[1], state="hibernated"), VOLUMES[2])

    async def work(keys: Keys) -> None:
        await keys.press("down")
        for name in ("source", "what", "warned", "place", "level", "encrypt", "parts", "name"):
            text = await keys.press("enter")
            fits(text, size)
            check_snapshot(f"capture-{name}-{size[0]}", text)
        assert "How shall it be called?" in keys.text
        await keys.press("enter")
        assert world.started[0].verb == "capture"
        assert world.started[0].writable == (Path("/dev/sdb1"),)

    drive(world, work, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_check_forwards_and_backwards(size: tuple[int, int], tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        first = await keys.press("down", "down", "enter")
        fits(first, size)
        check_snapshot(f"check-image-{size[0]}", first)
        text = await keys.press("enter")
        fits(text, size)
        check_snapshot(f"check-level-{size[0]}", text)
        assert await keys.press("escape") == first
        await keys.press("enter", "enter")
        assert world.started[0].words == ("verify", "--filesystems", IMAGE.word)

    drive(world, work, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_capture_backwards_from_its_last_question(size: tuple[int, int], tmp_path: Path) -> None:
    """With a passphrase, and only what changed left out: every question there is, and back."""
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        shown = [await keys.press("down", "enter")]
        for keys_of_step in (["enter"], ["down", "enter"], ["space", "enter"], ["enter"]):
            shown.append(await keys.press(*keys_of_step))
        check_snapshot(f"capture-partitions-{size[0]}", shown[2])
        check_snapshot(f"capture-parent-{size[0]}", shown[4])
        shown.append(await keys.press("down", "enter"))  # a full image
        shown.append(await keys.press("enter"))
        shown.append(await keys.press("down", "enter"))
        check_snapshot(f"capture-passphrase-{size[0]}", shown[-1])
        assert "at least 8 letters" in await keys.type("short")
        await keys.press(*["backspace"] * 5)
        text = await keys.type("long enough")
        assert "The same passphrase once more" in text
        assert "this is not the same" in await keys.type("something else")
        assert "long enough" not in keys.text
        await keys.press(*["backspace"] * 14)
        await keys.type("long enough")
        text = await keys.press("enter")
        assert "How shall it be called?" in text
        for title in ("In one file?", "The same passphrase once more"):
            assert title in await keys.press("escape")
        for before in reversed(shown):
            fits(before, size)
            text = await keys.press("escape")
            assert text.split("\n")[0] == before.split("\n")[0], "the same question"
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)
        assert not world.started

    drive(world, work, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_an_encrypted_image_on_the_screen(size: tuple[int, int], tmp_path: Path) -> None:
    async def work(keys: Keys) -> None:
        text = await keys.press("enter", "enter")
        fits(text, size)
        check_snapshot(f"restore-passphrase-{size[0]}", text)

    drive(World(images=[LOCKED], folder=tmp_path), work, size=size)


def test_nothing_to_choose_from_leads_back(tmp_path: Path) -> None:
    async def work(keys: Keys) -> None:
        for number in range(4):
            await keys.press(*["down"] * number, "enter")
            assert "look again" in keys.text
            await keys.press("enter", "f5", "escape")
            assert isinstance(keys.app.screen, FirstScreen)
            await keys.press("home")

    drive(World(disks=(), filesystems=(), images=()), work)


def test_what_cannot_be_started_is_said_on_the_screen(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    world.refuse = UsageError("Restore onto /dev/sdb is still running", hint="wait for its end")

    async def work(keys: Keys) -> None:
        await keys.press("down", "down", "enter", "enter", "enter")
        assert "is still running" in keys.text
        assert "wait for its end" in " ".join(keys.text.split())
        await keys.press("escape", "escape")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(world, work)


def test_a_machine_whose_disks_cannot_be_listed_still_has_its_menu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    def fail() -> None:
        raise DiskTrouble("lsblk is gone")

    monkeypatch.setattr(world, "sight", fail)

    async def work(keys: Keys) -> None:
        assert "The disks cannot be listed: lsblk is gone." in keys.text
        text = await keys.press("enter")
        assert "That did not work: lsblk is gone." in text
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(world, work)


def running(folder: Path, **state: object) -> tasks.Task:
    """A restore in its folder, at some point of it."""
    wish = tasks.TaskWish(("restore", IMAGE.word, "/dev/sda"), "Restore onto /dev/sda")
    folder.mkdir(parents=True)
    facts = {"title": wish.title, "words": list(wish.words), "command": wish.command()}
    (folder / "task.json").write_text(json.dumps(facts))
    (folder / "state.json").write_text(json.dumps(state))
    return replace(task_of(folder, wish), state=state)


@pytest.mark.parametrize("size", SIZES)
def test_a_task_shows_how_far_it_is_and_how_it_ended(size: tuple[int, int], tmp_path: Path) -> None:
    state = {
        "step": "restore",
        "done": 43 << 30,
        "total": 100 << 30,
        "speed": 310 << 20,
        "left": 190.0,
        "speeds": [100 << 20, 200 << 20, 310 << 20] * 12,
        "warnings": ["partition 2 was not closed properly"],
    }
    folder = runtime.folder("tasks") / "20261124-120000-restore"
    task = running(folder, **state)
    lock = runtime.try_lock(folder / tasks.LOCK)
    world = World(folder=tmp_path)
    world.running = [task]

    async def work(keys: Keys) -> None:
        keys.app.screen._tick()  # type: ignore[attr-defined]
        await keys.rest()
        assert "RUNNING: Restore onto /dev/sda" in keys.text
        assert "43%" in keys.text
        await keys.press("end", "enter")
        assert isinstance(keys.app.screen, TaskScreen)
        fits(keys.text, size)
        check_snapshot(f"task-{size[0]}", keys.text)
        text = await keys.press("s")
        assert "Stop it? The disk will hold a part of the image only" in text
        assert "It goes on." in await keys.press("escape")
        (folder / "log.txt").write_text("error: cannot write /dev/sda: no such device\n")
        (folder / "end.json").write_text(json.dumps({"exit": 10, "ended": 1.0}))
        assert lock is not None
        os.close(lock)
        keys.app.screen._look()
        await keys.rest()
        fits(keys.text, size)
        check_snapshot(f"task-gone-{size[0]}", keys.text)
        assert "plug it in again" in keys.text
        await keys.press("end", "enter")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(world, work, size=size)


def test_once_more_asks_for_the_target_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was plugged in again may be another one: it is chosen and confirmed anew."""
    world = World(folder=tmp_path)
    dead = replace(task_of(tmp_path, tasks.TaskWish(("restore",))), alive=False, exit=10)
    monkeypatch.setattr(world, "start", lambda wish: world.started.append(wish) or dead)

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "enter", "enter")
        text = await keys.type("S4EVNX01")
        assert "Once more" in text
        text = await keys.press("home", "enter")
        assert "Onto which disk?" in text
        text = await keys.press("enter")
        assert "type the identity of the disk" in text
        await keys.type("S4EVNX01")
        assert len(world.started) == 2
        assert world.started[0] == world.started[1]

    drive(world, work)


def test_once_more_goes_on_with_a_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(images=[], folder=tmp_path)
    dead = replace(task_of(tmp_path, tasks.TaskWish(("capture",))), alive=False, exit=10)
    monkeypatch.setattr(world, "start", lambda wish: world.started.append(wish) or dead)

    async def work(keys: Keys) -> None:
        await keys.press("down", *["enter"] * 7)
        await keys.press("enter")
        assert "nothing on it has changed" in keys.text
        await keys.press("home", "enter")
        assert world.started[1].words == (*world.started[0].words, "--resume")

    drive(world, work)


def test_stopping_asks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(task_screen.tasks, "stop", lambda task: stopped.append(task.id))
    folder = runtime.folder("tasks") / "20261124-120000-restore"
    task = running(folder)
    lock = runtime.try_lock(folder / tasks.LOCK)
    assert lock is not None

    async def work(keys: Keys) -> None:
        keys.app.show_task(task)
        await keys.rest()
        await keys.press("y")
        assert stopped == []
        await keys.press("s", "y")
        assert stopped == [task.id]

    drive(World(), work)


def test_no_key_ends_the_shell_by_accident() -> None:
    async def work(keys: Keys) -> None:
        text = await keys.press("ctrl+c", "ctrl+q", "escape", "ctrl+d", "ctrl+z", "f9")
        assert "Restore this machine" in text
        assert "Saved." in text, "F9 saves a support bundle from every screen"

    drive(World(), work)


def test_the_promise_comes_back_after_something_else_was_said() -> None:
    async def work(keys: Keys) -> None:
        assert "Saved." in await keys.press("f9")
        assert isinstance(keys.app.screen, FirstScreen)
        assert actions.PROMISE not in keys.text
        keys.app.screen.promise_again(0.01)
        await keys.pilot.pause(0.1)
        assert actions.PROMISE in keys.text
        assert "Saved." not in keys.text

    drive(World(), work)


def test_without_colour_bars_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(keys: Keys) -> None:
        assert keys.text.count("│") >= 8
        assert "░" in keys.text, "free room has a pattern"

    drive(World(), work, contrast=True)
    monkeypatch.setenv("NO_COLOR", "1")
    drive(World(), work)


def test_names_from_disks_cannot_draw() -> None:
    evil = replace(STORE, model="evil\x1b[2J\nname [red]x[/red]")

    async def work(keys: Keys) -> None:
        assert "\x1b" not in keys.text
        assert "[red]x[/red]" in keys.text, "a name is no markup"

    drive(World(disks=(evil,)), work)


def test_keys_are_answered_at_once_with_24_disks_and_500_images() -> None:
    """Most within 100 ms of the processor's time, on a machine that does other work meanwhile.

    What a quiet one shows is a tenth of it (docs/decisions/0070-shell.md); work that grows with the
    number of images would be seconds.
    """

    async def work(keys: Keys) -> None:
        took = [await keys.seconds(key) for key in ["down", "up", "pagedown", "pageup"] * 5]
        await keys.press("home")
        opened = [await keys.seconds("enter")]
        await keys.rest()
        assert "pc-" in keys.text
        took += [await keys.seconds(key) for key in ["down", "up", "pagedown", "end", "home"] * 4]
        opened += [await keys.seconds("enter"), await keys.seconds("escape")]
        assert sorted(took)[len(took) // 2] < 0.1, took
        assert sorted(took)[len(took) * 9 // 10] < 0.4, took
        assert max(opened) < 1.5, opened

    drive(crowded(), work)
