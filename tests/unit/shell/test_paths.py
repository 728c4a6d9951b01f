"""Every question of every flow is seen at both sizes, and every refusal is met by keys.

The table of paths is what the flows can ask: a question that no path reaches fails the last test.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from textual.widgets import OptionList

from rescue.core.errors import DiskTrouble
from rescue.devices.model import Use
from rescue.jobs.tasks import Task, TaskWish
from rescue.shell.facts import Sectors
from rescue.shell.flows.files import CopyFlow
from rescue.shell.screens.flow import FlowScreen
from tests.unit.shell.driving import SNAPSHOTS, Keys, check_snapshot, drive
from tests.unit.shell.recorded import (
    IMAGE,
    KEEP,
    LOCKED,
    MACHINE,
    PASSPHRASE,
    SMALL,
    STICK,
    STORE,
    World,
    encrypted,
    task_of,
)
from tests.unit.shell.test_screens import SIZES, fits, quiet

__all__ = ["quiet"]
FLOWS = Path(__file__).parents[3] / "rescue" / "shell" / "flows"
GIB = 1 << 30


def sealed() -> World:
    return World(images=[LOCKED])


def bare() -> World:
    return World(images=[])


async def again(keys: Keys) -> None:
    """To the passphrase of a new image, for the second time."""
    await keys.press("down", *["enter"] * 5, "down", "enter")
    await keys.type("long enough")


async def image_gone(keys: Keys) -> None:
    await keys.press("enter")
    world(keys).found = []
    await keys.press("enter")


async def target_gone(keys: Keys) -> None:
    await keys.press("enter", "enter", "enter")
    world(keys).disks = (STORE, STICK)
    await keys.press("enter")


async def copy_place(keys: Keys) -> None:
    keys.app.start_flow(CopyFlow(keys.app.world, IMAGE.word, ["2/Users/anna", "3/photos"]))
    await keys.rest()


async def copy_folder(keys: Keys) -> None:
    await copy_place(keys)
    await keys.press("enter")


def beside() -> World:
    """The disk of the image, and one with other sectors that cannot hold all of it."""
    second = replace(SMALL, size=MACHINE.size, sector_size=4096)
    made = World(disks=(MACHINE, second, STORE))
    why = "its exFAT is made for sectors of 512 bytes, and is not made anew"
    made.others = Sectors(made.bounds(IMAGE, b""), frozenset(), {3: why})
    return made


def by(*keys_of_path: str) -> Callable[[Keys], object]:
    """Keys, one after the other."""

    async def work(keys: Keys) -> None:
        await keys.press(*keys_of_path)

    return work


def world(keys: Keys) -> World:
    """The machine behind the screens."""
    found = keys.app.world
    assert isinstance(found, World)
    return found


# What no other test draws: a name, the machine, how to get there, the question's words.
PATHS = {
    "restore-partitions": (World, by("enter", "enter", "down", "enter"), "Which partitions?"),
    "restore-image-gone": (World, image_gone, "The image is gone"),
    "restore-target-gone": (World, target_gone, "The disk is gone"),
    "restore-leave": (
        beside,
        by("enter", "enter", "enter", "down", "enter"),
        "Not everything can be on this disk",
    ),
    "restore-copy": (
        beside,
        by("enter", "enter", "enter", "down", "enter", "enter"),
        "In place of the first disk, or beside it?",
    ),
    "capture-again": (bare, again, "The same passphrase once more"),
    "capture-open": (
        encrypted,
        by("down", "enter", "enter", "enter"),
        "Part of this disk is encrypted",
    ),
    "capture-opening": (
        encrypted,
        by("down", "enter", "enter", "enter", "enter"),
        "Passphrase of what is encrypted",
    ),
    "check-passphrase": (
        sealed,
        by("down", "down", "enter", "enter", "enter"),
        "The image is encrypted",
    ),
    "files-source": (World, by("down", "down", "down", "enter"), "Out of what?"),
    "files-passphrase": (
        sealed,
        by("down", "down", "down", "enter", "enter"),
        "The image is encrypted",
    ),
    "copy-place": (World, copy_place, "Copy to which disk?"),
    "copy-folder": (World, copy_folder, "Into which folder?"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(PATHS))
def test_a_question_at_both_sizes(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    make, way, title = PATHS[name]
    made = make()
    made.folder = tmp_path

    async def work(keys: Keys) -> None:
        await way(keys)  # type: ignore[misc]
        assert isinstance(keys.app.screen, FlowScreen)
        fits(keys.text, size)
        assert title in keys.text.split("\n")[0]
        check_snapshot(f"{name}-{size[0]}", keys.text)
        # And back to the first screen, a question at a time.
        for _ in range(9):
            if not isinstance(keys.app.screen, FlowScreen):
                break
            await keys.press("escape")
        assert "Restore this machine" in keys.text
        assert not made.started

    drive(made, work, size=size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("verb", "keys_of_path", "typed", "said"),
    [
        ("capture", ["down", *["enter"] * 7, "enter"], "", "The image is made."),
        ("check", ["down", "down", "enter", "enter", "enter"], "", "The image is whole."),
        ("restore", ["enter"] * 4, "S4EVNX01", "The disk is restored."),
    ],
)
def test_a_good_end_at_both_sizes(
    verb: str,
    keys_of_path: list[str],
    typed: str,
    said: str,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = World(images=[] if verb == "capture" else [IMAGE])

    def start(wish: TaskWish) -> Task:
        made.started.append(wish)
        (tmp_path / "output.txt").write_text("outcome: complete\n")
        return task_of(tmp_path, wish, alive=False, exit=0)

    monkeypatch.setattr(made, "start", start)

    async def work(keys: Keys) -> None:
        await keys.press(*keys_of_path)
        if typed:
            await keys.type(typed)
        assert said in keys.text
        fits(keys.text, size)
        check_snapshot(f"{verb}-done-{size[0]}", keys.text)
        await keys.press("end", "enter")
        assert "Restore this machine" in keys.text

    drive(made, work, size=size)


@dataclass(frozen=True)
class Typed:
    """A text that will not do: the way to its question, what is typed, what is said."""

    make: Callable[[], World]
    way: Callable[[Keys], object]
    text: str
    said: str


def taken() -> World:
    made = bare()
    made.there = {"taken.rescue"}
    return made


async def to_name(keys: Keys) -> None:
    await keys.press("down", *["enter"] * 7)
    await keys.press(*["backspace"] * 40)


async def to_name_and_pulled_out(keys: Keys) -> None:
    """The place goes while the name is asked for: it is said before anything is started."""
    await keys.press("down", *["enter"] * 6)
    world(keys).filesystems = tuple(f for f in world(keys).filesystems if f.node != KEEP.node)
    await keys.press("enter")
    await keys.press(*["backspace"] * 40)


async def to_copy_folder(keys: Keys) -> None:
    await copy_folder(keys)
    await keys.press(*["backspace"] * 40)


async def to_passphrase(keys: Keys) -> None:
    await keys.press("enter", "enter")


async def to_identity(keys: Keys) -> None:
    await keys.press("enter", "enter", "enter", "enter")


async def to_new_passphrase(keys: Keys) -> None:
    await keys.press("down", *["enter"] * 5, "down", "enter")


TYPED = {
    "another identity": Typed(World, to_identity, "WX21A", "is not the identity of /dev/sda"),
    "no identity": Typed(World, to_identity, "", "is not the identity of /dev/sda"),
    "the path is no identity": Typed(World, to_identity, "/dev/sda", "is not the identity"),
    "a wrong passphrase": Typed(sealed, to_passphrase, "wrong", "does not open the image"),
    "no passphrase": Typed(sealed, to_passphrase, "", "cannot be opened without its passphrase"),
    "a short passphrase": Typed(bare, to_new_passphrase, "short", "at least 8 letters"),
    "another passphrase": Typed(bare, again, "something else", "this is not the same"),
    "a name that leads out": Typed(bare, to_name, "../up", "this is no name for an image"),
    "no name": Typed(bare, to_name, "", "this is no name for an image"),
    "a name with a colon": Typed(bare, to_name, "a:b", "a name has letters, digits"),
    "a name that is taken": Typed(taken, to_name, "taken", "never written over"),
    "a place that is gone": Typed(bare, to_name_and_pulled_out, "pc", "not there any more"),
    "a folder that leads out": Typed(World, to_copy_folder, "../up", "no name for a folder"),
    "a folder with a colon": Typed(World, to_copy_folder, "a:b", "no name for a folder"),
    "no folder": Typed(World, to_copy_folder, "", "no name for a folder"),
}


@pytest.mark.parametrize("name", sorted(TYPED))
def test_what_is_typed_and_will_not_do(name: str, tmp_path: Path) -> None:
    """It is said on the same screen, nothing is started, and Esc still leads back."""
    one = TYPED[name]
    made = one.make()
    made.folder = tmp_path

    async def work(keys: Keys) -> None:
        await one.way(keys)  # type: ignore[misc]
        head = keys.text.split("\n")[0]
        for letter in one.text:
            names = {"/": "slash", " ": "space", ".": "full_stop", ":": "colon"}
            await keys.pilot.press(names.get(letter, letter))
        text = await keys.press("enter")
        assert "That will not do" in text
        assert one.said in " ".join(text.split())
        assert text.split("\n")[0] == head
        assert not made.started
        text = await keys.press("escape")
        assert text.split("\n")[0] != head

    drive(made, work)


def refused_target(**change: object) -> Callable[[], World]:
    """A machine whose one disk cannot be the target."""
    return lambda: World(disks=(replace(MACHINE, **change), STORE))  # type: ignore[arg-type]


def used(what: str, detail: str) -> Callable[[], World]:
    return refused_target(uses=(Use(what, Path("/dev/sda2"), detail),))


def twins() -> World:
    return World(disks=(MACHINE, replace(MACHINE, path=Path("/dev/sde")), STORE))


def tiny() -> World:
    return World(disks=(replace(SMALL, size=GIB), STORE))


def medium() -> World:
    return World(disks=(STICK, STORE))


def no_room() -> World:
    made = bare()
    made.room = {KEEP.node: 0, Path("/dev/sdc1"): 0}
    return made


def not_mounted() -> World:
    made = bare()

    def free(_filesystem: object, *, writable: bool) -> int:
        raise DiskTrouble("it is not whole")

    made.free = free  # type: ignore[method-assign, assignment]
    return made


async def to_target(keys: Keys) -> None:
    await keys.press("enter", "enter", "enter")


async def to_place(keys: Keys) -> None:
    await keys.press("down", "enter", "enter", "enter")


LISTED = {
    "the stick it started from": (medium, to_target, "this system was started from it"),
    "the image's own disk": (World, to_target, "the image is on it"),
    "mounted": (used("mounted", "/"), to_target, "in use:"),
    "swap": (used("swap", ""), to_target, "in use:"),
    "a part of a RAID": (used("holder", "md0"), to_target, "in use:"),
    "other sectors": (refused_target(sector_size=4096), to_target, "its sectors have 4096 bytes"),
    "two with one serial number": (twins, to_target, "has the same serial number"),
    "too small": (tiny, to_target, "too small: 1.0 GiB"),
    "no room": (no_room, to_place, "not enough room"),
    "a place that cannot be mounted": (not_mounted, to_place, "cannot be used: it is not whole"),
    "the place that is read": (World, copy_place, "it is being read now"),
    "a torn image": (World, by("enter"), "its capture never finished"),
}


@pytest.mark.parametrize("name", sorted(LISTED))
def test_what_is_refused_says_why_and_is_chosen_by_no_key(name: str, tmp_path: Path) -> None:
    make, way, why = LISTED[name]
    made = make()
    made.folder = tmp_path

    async def work(keys: Keys) -> None:
        await way(keys)  # type: ignore[operator]
        said = " ".join(keys.text.split())
        assert "NOT POSSIBLE" in said
        assert why in said
        listed = keys.app.screen.query_one(OptionList)
        allowed = {option.id for option in listed.options if not option.disabled}
        assert len(allowed) < listed.option_count
        for key in ("home", "end", "up", "down", "pageup", "pagedown"):
            await keys.press(key)
            pointed = listed.highlighted_option
            assert pointed is None or pointed.id in allowed
        if not allowed:
            head = keys.text.split("\n")[0]
            assert (await keys.press("enter", "space")).split("\n")[0] == head

    drive(made, work)


def test_a_source_that_is_chosen_anew_forgets_the_partitions_of_the_old_one(tmp_path: Path) -> None:
    """Partition 2 of the disk that is gone is not partition 2 of the one that is chosen then."""
    made = World(images=[], folder=tmp_path)
    other = replace(MACHINE, path=Path("/dev/sde"), serial="OTHER01")

    async def work(keys: Keys) -> None:
        await keys.press("down", "enter", "enter", "down", "enter", "down", "space")
        made.disks = (other, STORE)
        text = await keys.press("enter")
        assert "Of which disk?" in text
        # A disk on which nothing is known comes behind those that hold something.
        text = await keys.press("end", "enter")
        assert "What shall be in the image?" in text
        assert isinstance(keys.app.screen, FlowScreen)
        assert keys.app.screen._answers == {"source": "/dev/sde"}
        assert "step 2" in text

    drive(made, work)


def test_the_right_passphrase_after_a_wrong_one(tmp_path: Path) -> None:
    made = sealed()
    made.folder = tmp_path

    async def work(keys: Keys) -> None:
        await keys.press("down", "down", "enter", "enter", "enter")
        await keys.type("wrong")
        await keys.press(*["backspace"] * 5)
        await keys.type(PASSPHRASE.decode())
        assert made.started[0].words[:2] == ("verify", "--filesystems")
        assert made.started[0].passphrase == PASSPHRASE
        assert PASSPHRASE.decode() not in keys.text

    drive(made, work)


def test_every_question_of_every_flow_was_drawn() -> None:
    """By the names under which answers are kept, as the flows' own text has them."""
    asked = set()
    for path in FLOWS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Ask":
                first = node.args[0]
                assert isinstance(first, ast.Constant)
                asked.add(str(first.value))
    drawn = {path.stem.rsplit("-", 1)[0] for path in SNAPSHOTS.glob("*-80.txt")}
    names = {
        "gone": "image-gone", "passphrase-again": "capture-again", "folder": "copy-folder",
    }  # fmt: skip
    missing = {a for a in asked if not any(d.endswith(names.get(a, a)) for d in drawn)}
    assert not missing
    assert len(asked) >= 19, "the search for questions finds them"
