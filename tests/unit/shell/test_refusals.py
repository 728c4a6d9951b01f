"""What goes away or refuses between two questions: a sentence and a way on, in both faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble
from rescue.jobs import runtime
from rescue.jobs.places import Filesystem
from rescue.shell import actions
from rescue.shell.facts import Sight
from rescue.shell.flows.capture import CaptureFlow
from rescue.shell.flows.files import CopyFlow, FilesFlow
from rescue.shell.flows.restore import RestoreFlow
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.flow import FlowScreen
from tests.unit.shell.driving import Keys, drive
from tests.unit.shell.recorded import (
    BROKEN,
    DATA,
    GIB,
    IMAGE,
    KEEP,
    MACHINE,
    SMALL,
    STORE,
    VOLUMES,
    World,
    crowded,
)
from tests.unit.shell.test_flows import asked, refused
from tests.unit.shell.test_plain import Person, run_menu, world

assert world, "a fixture of the plain mode's tests"
NAMED = {
    "source": "/dev/sda",
    "what": "whole",
    "place": "/dev/sdb1",
    "level": "3",
    "encrypt": "no",
    "parts": "one",
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of the running system is read."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "the same")
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)
    monkeypatch.setattr(actions, "save_support", lambda _world: "Saved.")


def broken(filesystem: Filesystem, *, writable: bool) -> int:
    raise DiskTrouble(f"cannot mount {filesystem.node}: bad superblock")


def test_a_place_that_cannot_be_mounted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = World(images=())
    monkeypatch.setattr(made, "free", broken)
    step = asked(CaptureFlow(made), source="/dev/sda", what="whole")
    assert "cannot be used: cannot mount /dev/sdb1: bad superblock" in refused(step)["/dev/sdb1"]
    step = asked(CopyFlow(made, "/dev/sda", ["2/Users"]))
    assert "bad superblock" in refused(step)["/dev/sdb1"]


def test_a_place_that_is_pulled_out_before_the_image_has_a_name() -> None:
    made = World(images=())
    flow = CaptureFlow(made)
    made.filesystems = tuple(one for one in made.filesystems if one != KEEP)
    step = flow.step(dict(NAMED))
    assert step.name == "name"  # type: ignore[union-attr]
    assert step.refusal("pc") == "/dev/sdb1 is not there any more: go back"  # type: ignore[union-attr]
    copy = CopyFlow(made, "/dev/sda", ["2/Users"])
    step = copy.step({"place": "/dev/sdb1"})
    assert step.refusal("back") == "/dev/sdb1 is not there any more: go back"  # type: ignore[union-attr]


def test_a_source_that_is_pulled_out_is_asked_for_again() -> None:
    made = World(images=())
    made.disks = (STORE, SMALL)
    step = CaptureFlow(made).step({"source": "/dev/sda", "what": "whole"})
    assert step.title == "Of which disk?"  # type: ignore[union-attr]


def test_an_image_whose_disk_is_pulled_out_has_nothing_to_bring_back() -> None:
    made = World(images=())
    step = RestoreFlow(made).step({"image": IMAGE.word})
    assert step.title == "The image is gone"  # type: ignore[union-attr]
    assert step.refusal("yes"), "there is nothing to go on with"  # type: ignore[union-attr]
    step = FilesFlow(made).step({"image": "/elsewhere/pc.rescue"})
    assert step.browse == "/elsewhere/pc.rescue"  # type: ignore[union-attr]


def test_partitions_do_not_go_back_to_a_disk_that_is_too_small() -> None:
    small = replace(MACHINE, size=460 * GIB)
    step = asked(
        RestoreFlow(World(disks=(small, STORE))),
        image=IMAGE.word,
        what="some",
        partitions=("2", "3"),
    )
    assert refused(step)["/dev/sda"].startswith("too small: 460.0 GiB")


def test_a_target_of_which_nothing_is_known_is_no_empty_one() -> None:
    made = World(filesystems=(KEEP,))
    made.layouts = {}
    step = asked(RestoreFlow(made), image=IMAGE.word, what="whole")
    assert step.choices[0].more[0].startswith("nothing known on it: it is empty, or")
    step = asked(RestoreFlow(made), image=IMAGE.word, what="whole", target="/dev/sda")
    assert "whatever is there" in step.warnings[0]
    (piece,) = step.bars[0].pieces
    assert "nothing known" in piece.texts[0]


def test_an_image_with_unreadable_sectors_says_so_before() -> None:
    made = World(images=[replace(IMAGE, outcome="complete with 3 unreadable sectors")])
    step = asked(RestoreFlow(made), image=IMAGE.word, what="whole", target="/dev/sda")
    assert "The image is not whole: complete with 3 unreadable sectors" in step.warnings[1]


def test_swap_that_is_in_use_does_no_harm_to_a_capture() -> None:
    from rescue.devices.model import Use

    used = replace(MACHINE, uses=(Use("swap", DATA.node),))
    made = World(disks=(used, STORE), images=())
    step = asked(CaptureFlow(made), source="/dev/sda", what="whole")
    assert "That does no harm" in step.warnings[0]


def test_a_warning_that_is_not_accepted_leads_back_in_lines(world: World) -> None:
    world.found = []
    world.volumes = (VOLUMES[0], replace(VOLUMES[1], state="dirty"), VOLUMES[2])
    person = Person("2", "1", "1", "no", "1", "yes", "0", "0", "0", "0")
    assert run_menu(person) == 0
    assert world.started == []
    assert person.shown.count("step 3: Before it begins") >= 2
    assert "NOTE: Partition 2" in person.shown


def test_nothing_to_choose_from_in_lines(world: World) -> None:
    world.disks, world.filesystems, world.found = (), (), []
    person = Person("1", "", "2", "", "3", "", "4", "")
    assert run_menu(person) == 0
    assert person.shown.count("Press Enter to go back.") == 4
    assert "none was found" in person.shown


def test_a_broken_image_cannot_be_chosen_in_lines(world: World) -> None:
    world.found = [BROKEN]
    person = Person("3", "1", "0")
    assert run_menu(person) == 0
    assert "That one is not possible: cannot be used: its capture never finished." in person.shown


def test_looking_again_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    made = World()

    async def work(keys: Keys) -> None:
        await keys.press("enter")
        monkeypatch.setattr(made, "scan", fail)
        text = await keys.press("f5")
        assert "That did not work: the disk does not answer." in text
        assert isinstance(keys.app.screen, FlowScreen)
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)
        text = await keys.press("f5")
        assert "Looking for images failed: the disk does not answer." in text

    def fail(_sight: Sight) -> Iterator[str]:
        raise DiskTrouble("the disk does not answer")

    drive(made, work)


def test_a_disk_that_is_plugged_in_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = World(disks=(MACHINE,), filesystems=(), images=())

    async def work(keys: Keys) -> None:
        assert "Elements" not in keys.text
        made.disks, made.filesystems, made.found = (MACHINE, STORE), (KEEP,), [IMAGE]
        monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "one more")
        keys.app.screen._tick()  # type: ignore[attr-defined]
        await keys.rest()
        assert "Elements" in keys.text
        assert "Images found: 1" in keys.text

    drive(made, work)


def test_tasks_that_cannot_be_listed_leave_the_menu(monkeypatch: pytest.MonkeyPatch) -> None:
    made = World()

    def fail() -> None:
        raise DiskTrouble("no room")

    monkeypatch.setattr(made, "tasks", fail)

    async def work(keys: Keys) -> None:
        keys.app.screen._tick()  # type: ignore[attr-defined]
        await keys.rest()
        assert "Restore this machine" in keys.text
        assert "Show the task" not in keys.text

    drive(made, work)


def test_more_images_than_fit_are_counted() -> None:
    async def work(keys: Keys) -> None:
        text = keys.text
        for _ in range(20):
            text = await keys.press("pagedown")
        assert "... and 450 more" in text

    drive(crowded(), work, size=(120, 40))


def test_a_half_restored_disk_says_so_and_comes_first_when_it_goes_on() -> None:
    made = World()
    made.half[SMALL.path] = IMAGE.id
    made.disks = (MACHINE, STORE, replace(SMALL, size=MACHINE.size))
    step = asked(RestoreFlow(made), image=IMAGE.word, what="whole")
    assert step.choices[0].value == str(SMALL.path)
    assert "goes on where it stopped" in step.choices[0].more[0]
    # Of another image, or for single partitions: nothing goes on.
    made.half[SMALL.path] = "c3" * 16
    step = asked(RestoreFlow(made), image=IMAGE.word, what="whole")
    assert step.choices[0].value == str(MACHINE.path)
    assert "half restored from another image" in step.choices[1].more[0]
    made.half[SMALL.path] = IMAGE.id
    step = asked(RestoreFlow(made), image=IMAGE.word, what="some", partitions=("2",))
    assert all("goes on" not in "".join(choice.more) for choice in step.choices)
