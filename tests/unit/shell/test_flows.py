"""The flows: every path forwards and backwards, every refusal with its reason, every command."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import Exit
from rescue.devices.model import Use
from rescue.shell import actions, bars, health, words
from rescue.shell.facts import Sectors, likeliest
from rescue.shell.flows.base import Answer, Ask, Flow, Ready
from rescue.shell.flows.capture import CaptureFlow
from rescue.shell.flows.check import CheckFlow
from rescue.shell.flows.files import CopyFlow, FilesFlow
from rescue.shell.flows.restore import RestoreFlow
from tests.unit.shell.recorded import (
    BROKEN,
    GIB,
    IMAGE,
    LAYOUT,
    LOCKED,
    MACHINE,
    OTHER,
    PASSPHRASE,
    SMALL,
    STICK,
    STORE,
    VOLUMES,
    World,
    crowded,
    task_of,
)


def walk(flow: Flow, **answers: Answer) -> Ask | Ready:
    """The step after these answers, each of which must be one that will do."""
    given: dict[str, Answer] = {}
    for name, answer in answers.items():
        step = flow.step(given)
        assert isinstance(step, Ask), f"{name} is not asked any more"
        assert step.name == name.replace("_", "-")
        assert step.refusal(answer) == ""
        given[step.name] = answer
    return flow.step(given)


def asked(flow: Flow, **answers: Answer) -> Ask:
    step = walk(flow, **answers)
    assert isinstance(step, Ask)
    return step


def command(flow: Flow, **answers: Answer) -> str:
    step = walk(flow, **answers)
    assert isinstance(step, Ready)
    assert step.wish is not None
    return step.wish.command()


def refused(step: Ask) -> dict[str, str]:
    return {choice.value: choice.refused for choice in step.choices if choice.refused}


def test_the_likeliest_image_comes_first() -> None:
    world = World()
    order = [found.path for found in likeliest(world.images(), world.sight())]
    assert order == [IMAGE.path, OTHER.path, LOCKED.path, BROKEN.path]
    step = asked(RestoreFlow(world))
    assert "(of this machine)" in step.choices[0].text
    assert refused(step) == {BROKEN.word: BROKEN.why}
    assert "none of the choices" in step.refusal("/dev/sdb1:another.rescue")
    assert step.refusal(BROKEN.word) == BROKEN.why


def test_restore_of_the_whole_disk() -> None:
    flow = RestoreFlow(World())
    step = asked(flow, image=IMAGE.word, what="whole")
    assert step.choices[0].value == "/dev/sda", "the disk that the image was made of comes first"
    reasons = refused(step)
    assert "the image is on it" in reasons["/dev/sdb"]
    assert "too small: 64.0 GiB" in reasons["/dev/sdc"]
    assert "started from it" in reasons["/dev/sdd"]
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/sda")
    assert 'ntfs "Windows", 300.0 GiB' in step.warnings[0]
    assert [bar.head for bar in step.bars] == ["now", "after"]
    assert {piece.kind for piece in step.bars[0].pieces} >= {"lost"}
    assert {piece.kind for piece in step.bars[1].pieces} >= {"new"}
    for wrong in ("", "sda", "/dev/sda", "WX21A", "yes"):
        assert "is not the identity" in step.refusal(wrong), "a name is no identity"
    assert step.refusal(" s4evnx01 ") == ""
    expected = (
        "rescue task start --place /dev/sdb1 -- restore /dev/sdb1:images/pc.rescue /dev/sda "
        "--erase S4EVNX01"
    )
    assert any(expected in line for line in step.intro), "what will run is shown before"
    answers = {"image": IMAGE.word, "what": "whole", "target": "/dev/sda", "identity": "S4EVNX01"}
    assert command(flow, **answers) == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"uses": (Use("mounted", Path("/dev/sda2"), "/mnt"),)}, "/dev/sda2 is mounted on /mnt"),
        ({"uses": (Use("swap", Path("/dev/sda3")),)}, "used as swap"),
        ({"uses": (Use("holder", Path("/dev/sda3"), "/dev/md0 (raid1)"),)}, "in use by /dev/md0"),
        ({"serial": "WX21A"}, "/dev/sdb has the same serial number"),
        ({"size": 60 * GIB}, "too small"),
        ({"uses": (Use("read-only", Path("/dev/sda")),)}, ""),
    ],
)
def test_a_disk_that_would_be_refused_says_why(change: dict[str, object], reason: str) -> None:
    disk = replace(MACHINE, **change)  # type: ignore[arg-type]
    world = World(disks=(disk, STORE, SMALL, STICK))
    step = asked(RestoreFlow(world), image=IMAGE.word, what="whole")
    said = refused(step).get("/dev/sda", "")
    assert reason in said
    assert bool(said) == bool(reason)


def test_restore_of_some_partitions_needs_the_same_ones() -> None:
    flow = RestoreFlow(World(disks=(MACHINE, replace(SMALL, size=600 * GIB), STORE)))
    step = asked(flow, image=IMAGE.word, what="some")
    assert "at least one partition" in step.refusal(())
    step = asked(flow, image=IMAGE.word, what="some", partitions=("3",))
    assert "no partition 3 at the place" in refused(step)["/dev/sdc"]
    step = asked(flow, image=IMAGE.word, what="some", partitions=("3",), target="/dev/sda")
    assert '"data"' in step.warnings[0]
    assert '"Windows"' not in step.warnings[0], "what stays is not called lost"
    line = command(
        flow,
        image=IMAGE.word,
        what="some",
        partitions=("2", "3"),
        target="/dev/sda",
        identity="S4EVNX01",
    )
    assert line.endswith("--erase S4EVNX01 --partition 2 --partition 3")


def on_4096(size: int = 500 * GIB, others: Sectors | None = None) -> tuple[World, RestoreFlow]:
    """A machine whose own disk was changed for one with sectors of 4096 bytes."""
    world = World(disks=(replace(MACHINE, serial="NEW01", size=size, sector_size=4096), STORE))
    world.others = others
    return world, RestoreFlow(world)


def test_a_disk_with_other_sectors_is_a_target() -> None:
    notes = (
        "sectors of 512 bytes become sectors of 4096",
        "a BIOS does not start from such a disk",
    )
    bounds = World().bounds(IMAGE, b"")
    _, flow = on_4096(others=Sectors(bounds, frozenset({1, 2}), {}, notes))
    step = asked(flow, image=IMAGE.word, what="whole")
    choice = next(one for one in step.choices if one.value == "/dev/sda")
    assert choice.refused == ""
    assert "its sectors have 4096 bytes, the image's others: it will be made for" in choice.more[-1]
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/sda")
    assert step.name == "identity"
    assert f"Note: {notes[1]}" in step.intro


def test_what_cannot_be_on_such_sectors_is_left_out_when_a_person_says_so() -> None:
    why = "its exFAT is made for sectors of 512 bytes, and is not made anew"
    bounds = World().bounds(IMAGE, b"")
    _, flow = on_4096(others=Sectors(bounds, frozenset(), {3: why}))
    step = asked(flow, image=IMAGE.word, what="whole")
    assert "not for partition 3" in step.choices[0].more[-1]
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/sda")
    assert step.name == "leave"
    assert any(why in line for line in step.intro)
    assert "stay in the image" in step.choices[0].more[0]
    line = command(
        flow, image=IMAGE.word, what="whole", target="/dev/sda", leave="3", identity="NEW01"
    )
    assert line.endswith("--erase NEW01 --leave-out 3")


def test_a_table_that_such_sectors_have_no_place_for_is_refused() -> None:
    why = "the target has sectors of 4096 bytes: partition 1 begins in the middle of a sector"
    _, flow = on_4096(others=Sectors(why=why))
    assert refused(asked(flow, image=IMAGE.word, what="whole"))["/dev/sda"] == why
    assert bool(refused(asked(on_4096()[1], image=IMAGE.word, what="whole")).get("/dev/sda")) is (
        False
    )


def test_a_disk_of_the_same_size_whose_table_is_larger_asks_who_gives_the_room() -> None:
    """The second copy of a GPT takes 20 KiB there: the last partition reaches into it."""
    world, flow = on_4096()
    last = replace(LAYOUT.partitions[2], length=500 * GIB - LAYOUT.partitions[2].start - 33 * 512)
    full = replace(IMAGE, layout=replace(LAYOUT, partitions=(*LAYOUT.partitions[:2], last)))
    world.found = [full]
    step = asked(flow, image=IMAGE.word, what="whole", target="/dev/sda")
    assert step.name == "fit"
    assert "none" not in [choice.value for choice in step.choices]
    line = command(
        flow, image=IMAGE.word, what="whole", target="/dev/sda", fit="3", identity="NEW01"
    )
    assert line.endswith("--fit 3")


def test_single_partitions_on_other_sectors() -> None:
    """In place where nothing has to change; into another one where it has; or not at all."""
    bounds = World().bounds(IMAGE, b"")
    divided = {MACHINE.path: replace(LAYOUT, sector_size=4096)}
    for others, reason in (
        (Sectors(bounds), ""),
        (Sectors(bounds, frozenset({3})), ""),  # the next question is into which one
        (Sectors(bounds, frozenset(), {3: "nobody can look inside"}), "nobody can look inside"),
    ):
        world, flow = on_4096(others=others)
        world.layouts = dict(divided)
        step = asked(flow, image=IMAGE.word, what="some", partitions=("3",))
        assert reason in refused(step).get("/dev/sda", "")
        assert bool(refused(step).get("/dev/sda")) is bool(reason)
        if not reason:
            step = asked(flow, image=IMAGE.word, what="some", partitions=("3",), target="/dev/sda")
            assert step.name == ("into" if others.changed else "identity")


def test_the_first_disk_beside_the_target_is_asked_about() -> None:
    second = replace(SMALL, size=500 * GIB)
    flow = RestoreFlow(World(disks=(MACHINE, second, STORE)))
    given: dict[str, Answer] = {"image": IMAGE.word, "what": "whole"}
    assert asked(flow, **given, target="/dev/sda").name == "identity", "its own disk: no copy"
    step = asked(flow, **given, target="/dev/sdc")
    assert step.name == "copy"
    assert [choice.value for choice in step.choices] == ["instead", "beside"]
    assert "/dev/sda" in step.intro[0]
    for copy, more in (("instead", "FLASH01"), ("beside", "FLASH01 --new-identity")):
        line = command(flow, **given, target="/dev/sdc", copy=copy, identity="FLASH01")
        assert line.endswith(f"--erase {more}")
    # One partition of it, into another one of the very disk that it comes from.
    world = World()
    place = replace(LAYOUT.partitions[2], number=7)
    world.layouts = {MACHINE.path: replace(LAYOUT, partitions=(*LAYOUT.partitions[:2], place))}
    given = {"image": IMAGE.word, "what": "some", "partitions": ("3",), "target": "/dev/sda"}
    step = asked(RestoreFlow(world), **given, into="7")
    assert step.name == "copy" and "same UUID" in step.intro[0]
    line = command(RestoreFlow(world), **given, into="7", copy="beside", identity="S4EVNX01")
    assert line.endswith("--partition 3 --into 7 --new-identity")
    given = {"image": IMAGE.word, "what": "whole"}
    alone = RestoreFlow(World(disks=(second, STORE)))
    assert asked(alone, **given, target="/dev/sdc").name == "identity"


def test_an_encrypted_image_asks_for_its_passphrase_and_never_shows_it() -> None:
    flow = RestoreFlow(World())
    step = asked(flow, image=LOCKED.word)
    assert step.kind == "secret"
    assert "does not open" in step.refusal("wrong")
    assert "cannot be opened without" in step.refusal("")
    secret = PASSPHRASE.decode()
    ready = walk(
        flow,
        image=LOCKED.word,
        passphrase=secret,
        what="whole",
        target="/dev/sda",
        identity="S4EVNX01",
    )
    assert isinstance(ready, Ready)
    assert ready.wish is not None
    assert ready.wish.passphrase == PASSPHRASE
    assert secret not in ready.wish.command() + repr(ready)


def test_a_target_that_is_pulled_out_before_the_question() -> None:
    world = World()
    flow = RestoreFlow(world)
    asked(flow, image=IMAGE.word, what="whole")
    world.disks = (STORE, SMALL, STICK)
    step = flow.step({"image": IMAGE.word, "what": "whole", "target": "/dev/sda"})
    assert isinstance(step, Ask)
    assert "not there any more" in step.intro[0]
    assert step.refusal("yes"), "nothing can be confirmed for a disk that is gone"


def test_no_disks_and_no_images_is_a_way_on() -> None:
    world = World(disks=(), filesystems=(), images=())
    for flow in (RestoreFlow(world), CheckFlow(world), CaptureFlow(world), FilesFlow(world)):
        step = asked(flow)
        assert not step.choices
        assert "look again" in step.nothing


def test_capture_of_the_whole_disk() -> None:
    flow = CaptureFlow(World(images=()))
    step = asked(flow)
    assert refused(step) == {"/dev/sdd": "this system was started from it"}
    step = asked(flow, source="/dev/sda", what="whole")
    assert step.name == "place"
    assert "130.1 GiB will be read; the image takes about 65.0 GiB" in step.intro[0]
    assert "/dev/sda2" not in {choice.value for choice in step.choices}, "not onto itself"
    assert "not enough room: 10.0 GiB free" in refused(step)["/dev/sdc1"]
    answers: dict[str, Answer] = {
        "source": "/dev/sda",
        "what": "whole",
        "place": "/dev/sdb1",
        "level": "3",
        "encrypt": "no",
        "parts": "one",
    }
    step = asked(flow, **answers)
    for wrong in ("../x", "a:b", "bad\x1bname", ""):
        assert step.refusal(wrong), wrong
    line = command(flow, **answers, name="images/monday")
    assert line == (
        "rescue task start --writable /dev/sdb1 -- capture /dev/sda "
        "/dev/sdb1:images/monday.rescue --level 3"
    )


def test_a_disk_that_cannot_be_made_out_is_read_whole() -> None:
    flow = CaptureFlow(World(images=()))
    step = asked(flow, source="/dev/sdc")
    assert "Every sector will be read" in step.warnings[0]
    answers: dict[str, Answer] = {
        "source": "/dev/sdc",
        "what": "whole",
        "place": "/dev/sdb1",
        "level": "3",
        "encrypt": "no",
        "parts": "one",
        "name": "flash",
    }
    assert command(flow, **answers).endswith("--level 3 --all-sectors")


def test_an_ordinary_user_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "not root" in actions.promise()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert actions.promise() == actions.PROMISE


def test_capture_never_writes_over() -> None:
    world = World(images=())
    flow = CaptureFlow(world)
    answers: dict[str, Answer] = {
        "source": "/dev/sda",
        "what": "whole",
        "place": "/dev/sdb1",
        "level": "3",
        "encrypt": "no",
        "parts": "one",
    }
    first = asked(flow, **answers)
    world.there.add(f"{first.default}.rescue")
    second = asked(flow, **answers)
    assert second.default != first.default
    assert "never written over" in second.refusal(first.default)


def test_capture_with_a_passphrase_and_parts() -> None:
    flow = CaptureFlow(World(images=()))
    answers: dict[str, Answer] = {
        "source": "/dev/sda",
        "what": "some",
        "partitions": ("1", "2"),
        "place": "/dev/sdb1",
        "level": "auto",
        "encrypt": "passphrase",
    }
    step = asked(flow, **answers)
    assert step.kind == "secret"
    assert "at least 8" in step.refusal("short")
    step = asked(flow, **answers, passphrase="a long sentence")
    assert "not the same" in step.refusal("a long sentense")
    ready = walk(
        flow,
        **answers,
        passphrase="a long sentence",
        passphrase_again="a long sentence",
        parts="dvd",
        name="pc",
    )
    assert isinstance(ready, Ready)
    assert ready.wish is not None
    assert ready.wish.passphrase == b"a long sentence"
    assert ready.wish.words == (
        "capture", "/dev/sda", "/dev/sdb1:pc.rescue", "--level", "auto", "--partition", "1",
        "--partition", "2", "--part-size", "dvd", "--encrypt",
    )  # fmt: skip
    assert "sentence" not in ready.wish.command()


def test_capture_offers_only_what_changed_when_there_is_an_earlier_image() -> None:
    flow = CaptureFlow(World())
    answers: dict[str, Answer] = {"source": "/dev/sda", "what": "whole", "place": "/dev/sdb1"}
    step = asked(flow, **answers)
    assert step.name == "parent"
    assert [choice.value for choice in step.choices] == [IMAGE.word, "none"]
    line = command(flow, **answers, parent=IMAGE.word, level="3", parts="one", name="tuesday")
    assert "--parent /dev/sdb1:images/pc.rescue" in line
    step = asked(flow, **answers, parent="none", level="3")
    assert step.name == "encrypt"


@pytest.mark.parametrize(
    ("state", "fs", "said"),
    [
        ("hibernated", "ntfs", "asleep, not shut down"),
        ("dirty", "ntfs", "not closed properly by Windows"),
        ("dirty", "ext4", "switched off while it ran"),
    ],
)
def test_capture_warns_in_plain_words_before_it_begins(state: str, fs: str, said: str) -> None:
    world = World(images=())
    world.volumes = (VOLUMES[0], replace(VOLUMES[1], state=state, fs=fs), VOLUMES[2])
    flow = CaptureFlow(world)
    step = asked(flow, source="/dev/sda", what="whole")
    assert step.name == "warned"
    assert any(said in warning for warning in step.warnings)
    assert asked(flow, source="/dev/sda", what="whole", warned="yes").name == "place"
    step = asked(flow, source="/dev/sda", what="some", partitions=("3",))
    assert step.name == "place", "a partition that is not captured is nothing to warn of"


def test_capture_of_a_failing_disk_says_to_hurry() -> None:
    world = World(images=())
    world.failing = "it cannot read 12 of its sectors"
    step = asked(CaptureFlow(world), source="/dev/sda", what="whole")
    assert "This disk is failing: it cannot read 12 of its sectors." in step.warnings[0]
    assert "before anything else" in step.warnings[0]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ('{"smart_status": {"passed": false}}', "will fail soon"),
        ('{"smart_status": {"passed": true}}', ""),
        ('{"ata_smart_attributes": {"table": [{"id": 197, "raw": {"value": 12}}]}}', "12 of its"),
        ('{"ata_smart_attributes": {"table": [{"id": 197, "raw": {"value": 0}}]}}', ""),
        ('{"nvme_smart_health_information_log": {"media_errors": 3}}', "3 errors"),
        ("", ""),
        ("[1]", ""),
        ('{"smart_status": 7}', ""),
    ],
)
def test_what_a_disk_says_of_its_health(told: str, said: str) -> None:
    found = health.parse(told)
    assert said in found
    assert bool(found) == bool(said)


def test_capture_of_a_mounted_disk_says_what_to_do() -> None:
    used = replace(MACHINE, uses=(Use("mounted", Path("/dev/sda3"), "/home"),))
    step = asked(
        CaptureFlow(World(disks=(used, STORE), images=())), source="/dev/sda", what="whole"
    )
    assert "Unmount it first" in step.warnings[0]


def test_check_says_what_each_level_proves() -> None:
    flow = CheckFlow(World())
    step = asked(flow, image=IMAGE.word)
    assert [choice.value for choice in step.choices] == ["whole", "deep", "stored"]
    assert all(any("Proves" in line for line in choice.more) for choice in step.choices)
    assert "about" in step.choices[0].text, "how long it takes"
    line = command(flow, image=IMAGE.word, level="deep")
    assert line == "rescue task start --place /dev/sdb1 -- verify --deep /dev/sdb1:images/pc.rescue"
    line = command(flow, image=IMAGE.word, level="whole")
    assert line.endswith("-- verify --filesystems /dev/sdb1:images/pc.rescue")
    assert asked(flow, image=LOCKED.word, level="whole").name == "passphrase"
    assert command(flow, image=IMAGE.word, level="stored").endswith(f"verify {IMAGE.word}")
    assert asked(flow, image=LOCKED.word, level="deep").name == "passphrase"
    assert "verify" in command(flow, image=LOCKED.word, level="stored"), "needs no key"


def test_files_of_an_image_and_of_a_disk() -> None:
    flow = FilesFlow(World())
    step = asked(flow)
    values = [choice.value for choice in step.choices]
    assert "/dev/sda" in values
    assert "/dev/sdd" not in values, "the medium holds nothing of theirs"
    ready = walk(flow, image="/dev/sda")
    assert isinstance(ready, Ready)
    assert ready.browse == "/dev/sda"
    ready = walk(flow, image=LOCKED.word, passphrase=PASSPHRASE.decode())
    assert isinstance(ready, Ready)
    assert (ready.browse, ready.passphrase) == (LOCKED.word, PASSPHRASE)


def test_copying_goes_to_another_disk() -> None:
    flow = CopyFlow(World(), IMAGE.word, ["3/home/anna", "3/etc"])
    step = asked(flow)
    assert "being read" in refused(step)["/dev/sdb1"]
    line = command(flow, place="/dev/sdc1", folder="rescued")
    assert line == (
        "rescue task start --place /dev/sdb1 --writable /dev/sdc1 -- copy "
        "/dev/sdb1:images/pc.rescue 3/home/anna 3/etc /dev/sdc1:rescued"
    )
    step = asked(flow, place="/dev/sdc1")
    for wrong in ("..", "a/../../b", "x:y", "/"):
        assert step.refusal(wrong), wrong
    step = asked(CopyFlow(World(), "/dev/sda", ["2/Users"]))
    assert "which is only read" in refused(step)["/dev/sda3"]


def test_bars_fill_their_width_exactly_and_are_to_scale() -> None:
    world = crowded()
    for width in (20, 76, 116, 200):
        for disk in world.disks:
            drawn = bars.draw(bars.of_disk(disk, world.filesystems), width)
            assert sum(len(s.text) for s in drawn) + len(drawn) - 1 == width
            assert len(bars.plain(bars.of_disk(disk, world.filesystems), width)) == width
    pieces = bars.of_disk(MACHINE, World().filesystems)
    drawn = bars.draw(pieces, 100)
    assert [s.kind for s in drawn] == ["data", "data", "data", "free"]
    assert 55 <= len(drawn[1].text) <= 62, "300 of 500 GiB"
    assert 'ntfs "Windows" 300 GiB' in drawn[1].text
    many = [bars.Piece(1, "data", ("x",))] * 300
    assert sum(len(s.text) + 1 for s in bars.draw(many, 40)) - 1 == 40


def test_gaps_between_partitions_are_drawn_where_their_places_are_known() -> None:
    one, two, three = World().filesystems[:3]
    placed = (
        replace(three, start=340 * GIB, size=100 * GIB),
        replace(one, start=1 << 20),
        replace(two, start=10 * GIB),
    )
    drawn = bars.of_disk(MACHINE, placed)
    assert [piece.kind for piece in drawn] == ["data", "free", "data", "free", "data", "free"]
    lengths = [round(piece.length / GIB) for piece in drawn]
    assert lengths == [1, 9, 300, 30, 100, 60], "in the order of the disk"
    assert sum(lengths) == 500
    assert [piece.kind for piece in bars.of_disk(MACHINE, (one, two, three))][-1] == "free"


def test_a_disk_of_which_nothing_is_known_is_not_called_free() -> None:
    """It may hold all that somebody has, in a way that this machine cannot name."""
    (piece,) = bars.of_disk(MACHINE, ())
    assert (piece.kind, piece.texts[0]) == ("system", "nothing known, 500 GiB")
    used = replace(MACHINE, uses=(Use("mounted", MACHINE.path, "/"),))
    (piece,) = bars.of_disk(used, ())
    assert piece.texts[:2] == ("/dev/sda is mounted on /", "in use, 500 GiB")


def test_plots_and_progress_bars() -> None:
    assert bars.plot([], 5, 2) == ["     ", "     "]
    assert bars.plot([0, 50, 100], 3, 1) == [" ▄█"]
    rows = bars.plot([25, 100], 4, 2)
    assert rows == ["   █", "  ▄█"]
    assert bars.share_bar(0.5, 4, full="#", empty="-") == "##--"
    assert bars.share_bar(7, 3) == "███"


@pytest.mark.parametrize("verb", ["restore", "capture", "verify", "copy"])
@pytest.mark.parametrize("status", [*Exit, 99])
def test_every_exit_code_means_something(verb: str, status: int) -> None:
    assert words.meaning(verb, status)


def test_a_quick_check_claims_no_more_than_it_proves(tmp_path: Path) -> None:
    for level, said in (("deep", "The image is whole."), ("stored", "A deep check proves more.")):
        ready = walk(CheckFlow(World()), image=IMAGE.word, level=level)
        assert isinstance(ready, Ready)
        assert ready.wish is not None
        task = task_of(tmp_path, ready.wish, alive=False, exit=0)
        assert words.ending(task)[0].endswith(said)


def test_endings_say_what_to_do(tmp_path: Path) -> None:
    flow = RestoreFlow(World())
    ready = walk(flow, image=IMAGE.word, what="whole", target="/dev/sda", identity="S4EVNX01")
    assert isinstance(ready, Ready)
    assert ready.wish is not None
    (tmp_path / "log.txt").write_text(
        "warning: outcome: incomplete\nerror: cannot write /dev/sda: no such device\nhint: look\n"
    )
    task = task_of(tmp_path, ready.wish, alive=False, exit=10)
    task = replace(task, state={"steps": ["verify (stored bytes)"], "step": "restore"})
    said = " ".join(words.ending(task))
    assert "Cannot write /dev/sda" in said
    assert "plug it in again" in said
    assert "restore it again" in said
    assert "image is unharmed" in said
    refused = replace(task, exit=int(Exit.REFUSED))
    said = " ".join(words.ending(refused))
    assert "NOTHING was written" in said
    assert "part of the image only" not in said
    killed = replace(task, exit=None)
    assert "without a word" in words.ending(killed)[0]
