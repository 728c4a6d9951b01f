"""Onto a disk of another size, and into another partition: what is offered, drawn, said and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.extent import ExtentMap
from rescue.devices.model import Layout, Partition
from rescue.restore.bounds import bounds_of
from rescue.shell import bars, sizes
from rescue.shell.flows.base import Ask
from rescue.shell.flows.onto import node_of
from rescue.shell.flows.restore import RestoreFlow
from tests.unit.shell.driving import Keys, check_snapshot, drive
from tests.unit.shell.recorded import (
    GIB,
    IMAGE,
    LAYOUT,
    MACHINE,
    OTHER,
    SMALL,
    STORE,
    VOLUMES,
    World,
    filesystem,
)
from tests.unit.shell.test_flows import asked, command, refused
from tests.unit.shell.test_plain import Person, run_menu, world

SIZES = [(80, 25), (120, 40)]
BOUNDS = {volume.partition: bounds_of(volume) for volume in VOLUMES}
NEW = replace(SMALL, path=Path("/dev/nvme0n1"), serial="NEW01", model="New disk")
PIECES = (
    Partition(1, 1 << 20, 50 * GIB, "gpt", "0fc6", "spare"),
    Partition(2, (1 << 20) + 50 * GIB, 9 * GIB, "gpt", "0fc6", "rest"),
)

assert world, "a fixture of the plain mode's tests"


def machine(size: int, serial: str = "NEW01") -> World:
    """The machine with a new disk in it, beside the store."""
    made = World(disks=(replace(NEW, size=size, serial=serial), STORE))
    made.layouts[NEW.path] = Layout("gpt", 512, size, "other", PIECES, ExtentMap())
    made.filesystems = (
        *made.filesystems[3:4],
        filesystem("/dev/nvme0n1p1", replace(NEW, size=size), 50 * GIB, "ext4", "photos"),
        filesystem("/dev/nvme0n1p2", replace(NEW, size=size), 9 * GIB, "swap", ""),
    )
    return made


def target(step: Ask) -> list[str]:
    """What is said of the new disk."""
    (one,) = [choice for choice in step.choices if choice.value == "/dev/nvme0n1"]
    return [*one.more, one.refused]


def test_a_disk_that_is_large_enough_after_shrinking_is_offered_in_words() -> None:
    flow = RestoreFlow(machine(300 * GIB))
    step = asked(flow, image=IMAGE.word, what="whole")
    assert "smaller: partitions will be made smaller, files stay" in target(step)
    assert "/dev/nvme0n1" not in refused(step)
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1")
    assert (step.name, step.title) == ("fit", "This disk is smaller")
    assert [choice.value for choice in step.choices] == ["2", "all"], "the longest, or all"
    assert 'partition 2 (ntfs "Windows"): 300.0 GiB -> 149.0 GiB' in step.choices[0].more[0]
    assert len(step.choices[1].more) == 2
    assert sizes.BY_PROGRAM in step.intro
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1", fit="2")
    assert step.name == "identity"
    assert 'Changes: partition 2 (ntfs "Windows"): 300.0 GiB -> 149.0 GiB' in " ".join(step.intro)
    assert 'ext4 "photos", 50.0 GiB' in step.warnings[0]
    now, after = (bar.pieces for bar in step.bars)
    assert sum(piece.length for piece in after) <= 300 * GIB
    assert {piece.kind for piece in after} == {"new"}
    assert any("Windows" in text and "149" in text for piece in after for text in piece.texts)
    assert any('ext4 "photos" 50 GiB' in piece.texts for piece in now)
    line = command(
        flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1", fit="2", identity="NEW01"
    )
    assert line.endswith("/dev/nvme0n1 --erase NEW01 --fit 2")


def test_the_end_of_the_image_was_empty_so_nothing_is_asked() -> None:
    flow = RestoreFlow(machine(460 * GIB))
    step = asked(flow, image=IMAGE.word, what="whole")
    assert "smaller, but large enough: the end of the image's disk was empty" in target(step)
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1")
    assert step.name == "identity"
    line = command(flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1", identity="NEW01")
    assert line.endswith("--erase NEW01")


def test_a_disk_that_is_too_small_says_what_would_do() -> None:
    step = asked(RestoreFlow(machine(64 * GIB)), image=IMAGE.word, what="whole")
    reason = refused(step)["/dev/nvme0n1"]
    assert reason.startswith("too small: 64.0 GiB, the image is of a disk of 500.0 GiB and needs ")
    assert "GiB at the least, with its partitions made smaller" in reason
    stuck = replace(IMAGE, volumes=tuple(replace(v, fs="apfs") for v in VOLUMES))
    made = machine(300 * GIB)
    made.found = [stuck]
    reason = refused(asked(RestoreFlow(made), image=IMAGE.word, what="whole"))["/dev/nvme0n1"]
    assert "apfs is not resized" in reason
    bare = machine(16 * GIB)
    reason = refused(asked(RestoreFlow(bare), image=OTHER.word, what="whole"))["/dev/nvme0n1"]
    assert reason == "too small: 16.0 GiB, the image is of a disk of 32.0 GiB"


def test_a_larger_disk_asks_who_gets_the_room() -> None:
    flow = RestoreFlow(machine(700 * GIB))
    step = asked(flow, image=IMAGE.word, what="whole")
    assert any(line.startswith("larger by 200.0 GiB") for line in target(step))
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1")
    assert step.title == "This disk is larger: who gets the room?"
    assert [choice.value for choice in step.choices] == ["none", "2", "3", "all"]
    assert step.choices[0].text == "As it was; the other 200.0 GiB stay free"
    answers = {"image": IMAGE.word, "what": "whole", "target": "/dev/nvme0n1"}
    step = asked(flow, **answers, fit="3")
    assert sizes.BY_PROGRAM not in step.intro, "nothing is made smaller"
    grown = bars.of_layout(LAYOUT, VOLUMES, size=700 * GIB, kind="new")
    assert step.bars[1].pieces != grown
    assert step.bars[1].pieces[-1].kind == "new", "the room is used"
    assert command(flow, **answers, fit="3", identity="NEW01").endswith("--fit 3")
    step = asked(flow, **answers, fit="none")
    assert step.bars[1].pieces == grown
    assert "--fit" not in command(flow, **answers, fit="none", identity="NEW01")


def test_a_disk_of_the_same_size_is_asked_nothing() -> None:
    assert sizes.ways(IMAGE, BOUNDS, IMAGE.disk_size) == (sizes.Way("none", layout=LAYOUT),)
    flow = RestoreFlow(machine(500 * GIB))
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/nvme0n1")
    assert step.name == "identity"


def test_nobody_is_asked_to_grow_swap_or_the_esp() -> None:
    esp = replace(LAYOUT.partitions[0], type_id="c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    layout = replace(LAYOUT, partitions=(esp, *LAYOUT.partitions[1:]))
    image = replace(
        IMAGE, layout=layout, volumes=(VOLUMES[0], VOLUMES[1], replace(VOLUMES[2], fs="swap"))
    )
    bounds = {v.partition: bounds_of(v, (1, 1 << 50)) for v in image.volumes}
    assert [way.fit for way in sizes.ways(image, bounds, 700 * GIB)] == ["none", "2"]


def test_one_partition_into_another_one_of_a_disk_that_is_divided_otherwise() -> None:
    flow = RestoreFlow(machine(64 * GIB))
    answers = {"image": IMAGE.word, "what": "some"}
    step = asked(flow, **answers, partitions=("3",))
    assert any("you choose one of its partitions next" in line for line in target(step))
    step = asked(flow, **answers, partitions=("3",), target="/dev/nvme0n1")
    assert step.name == "into"
    assert [choice.value for choice in step.choices] == ["1", "2"]
    assert 'ext4 "photos"  50.0 GiB' in step.choices[0].text
    assert "made smaller, files stay" in step.choices[0].more[0]
    assert "too small: 9.0 GiB, 43" in step.choices[1].refused
    step = asked(flow, **answers, partitions=("3",), target="/dev/nvme0n1", into="1")
    assert step.warnings[0] == 'Will be lost: ext4 "photos", 50.0 GiB'
    now, after = (bar.pieces for bar in step.bars)
    assert [piece.kind for piece in now[:2]] == ["lost", "data"]
    assert [piece.kind for piece in after[:2]] == ["new", "data"]
    assert any('ext4 "data"' in text for text in after[0].texts)
    line = command(
        flow, **answers, partitions=("3",), target="/dev/nvme0n1", into="1", identity="NEW01"
    )
    assert line.endswith("/dev/nvme0n1 --erase NEW01 --partition 3 --into 1")


def test_two_partitions_go_back_to_their_own_places_only() -> None:
    flow = RestoreFlow(machine(600 * GIB))
    step = asked(flow, image=IMAGE.word, what="some", partitions=("2", "3"))
    assert "no partition 2 at the place it has in the image" in refused(step)["/dev/nvme0n1"]
    step = asked(flow, image=IMAGE.word, what="some", partitions=("2",))
    assert "no partition 2 at the place" in refused(step)["/dev/nvme0n1"], "none is long enough"


@pytest.mark.parametrize(
    ("length", "volume", "said"),
    [
        (200 * GIB, VOLUMES[2], "made larger to fill it"),
        (200 * GIB, replace(VOLUMES[2], fs="exfat"), "the rest of the partition stays unused"),
        (150 * GIB, VOLUMES[2], ""),
        (100 * GIB, replace(VOLUMES[2], state="hibernated"), "hibernated system"),
    ],
)
def test_what_becomes_of_a_filesystem_in_a_partition_of_another_length(
    length: int, volume: object, said: str
) -> None:
    made = machine(600 * GIB)
    made.found = [replace(IMAGE, volumes=(*VOLUMES[:2], volume))]
    spare = Partition(2, 400 * GIB, 160 * GIB, "gpt", "")
    pieces = (replace(PIECES[0], length=length), spare)
    made.layouts[NEW.path] = replace(made.layouts[NEW.path], partitions=pieces)
    step = asked(
        RestoreFlow(made),
        image=IMAGE.word,
        what="some",
        partitions=("3",),
        target="/dev/nvme0n1",
    )
    assert said in " ".join((*step.choices[0].more, step.choices[0].refused))


def test_partitions_have_the_kernels_names() -> None:
    assert node_of(MACHINE, 12) == Path("/dev/sda12")
    assert node_of(NEW, 1) == Path("/dev/nvme0n1p1")


@pytest.mark.parametrize("size", SIZES)
def test_smaller_and_larger_by_keys(size: tuple[int, int], tmp_path: Path) -> None:
    for name, made in (("smaller", machine(300 * GIB)), ("larger", machine(700 * GIB))):
        made.folder = tmp_path

        async def work(keys: Keys, name: str = name, made: World = made) -> None:
            text = await keys.press("enter", "enter", "enter")
            assert name in text
            text = await keys.press("enter")
            check_snapshot(f"restore-{name}-fit-{size[0]}", text)
            text = await keys.press("down", "enter")
            check_snapshot(f"restore-{name}-identity-{size[0]}", text)
            assert await keys.press("escape") != text
            assert "Onto which disk?" in await keys.press("escape")
            # Back at the question, what was chosen is what is pointed at.
            await keys.press("enter", "home", "down", "enter")
            await keys.type("NEW01")
            fit = "all" if name == "smaller" else "2"
            assert made.started[0].words[-2:] == ("--fit", fit)

        drive(made, work, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_into_by_keys(size: tuple[int, int], tmp_path: Path) -> None:
    made = machine(64 * GIB)
    made.folder = tmp_path

    async def work(keys: Keys) -> None:
        await keys.press("enter", "enter", "down", "enter", "down", "down", "space", "enter")
        text = await keys.press("enter")
        check_snapshot(f"restore-into-{size[0]}", text)
        text = await keys.press("end", "down", "up", "enter")
        assert "type the identity of the disk: NEW01" in text
        await keys.type("NEW01")
        assert made.started[0].words[-4:] == ("--partition", "3", "--into", "1")

    drive(made, work, size=size)


def test_smaller_larger_and_into_in_lines(world: World) -> None:
    small = machine(300 * GIB)
    world.disks, world.filesystems, world.layouts = small.disks, small.filesystems, small.layouts
    person = Person("1", "1", "1", "1", "2", "NEW01", "")
    assert run_menu(person) == 0
    assert world.started[0].words[-2:] == ("--fit", "all")
    assert "step 4: This disk is smaller" in person.shown
    assert "partitions will be made smaller, files stay" in person.shown
    assert person.shown.isascii()
    person = Person("1", "1", "2", "3", "1", "1", "NEW01", "")
    assert run_menu(person) == 0
    assert world.started[1].words[-4:] == ("--partition", "3", "--into", "1")
