"""Encrypted partitions in the capture flow: opened for the look, or read whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rescue.jobs.tasks import TaskWish
from rescue.shell.flows.base import Ask, Ready
from rescue.shell.flows.capture import CaptureFlow
from tests.unit.shell.recorded import (
    CLOSED,
    GIB,
    MACHINE,
    OPENED,
    PASSPHRASE,
    VOLUMES,
    World,
    encrypted,
)
from tests.unit.shell.test_flows import asked, walk

WORD = PASSPHRASE.decode()


def test_it_is_asked_and_tried_at_once() -> None:
    flow = CaptureFlow(encrypted())
    step = asked(flow, source=str(MACHINE.path), what="whole")
    assert (step.name, step.kind) == ("open", "one")
    assert step.intro[0].startswith("Partition 2 (BitLocker, 300.0 GiB). Nobody can tell")
    assert "all 300.0 GiB are read" in step.choices[1].more[0]
    step = asked(flow, source=str(MACHINE.path), what="whole", open="yes")
    assert (step.name, step.kind) == ("opening", "secret")
    assert "recovery key" in step.intro[-1]
    assert "does not open partition 2" in step.refusal("wrong")
    assert "leave it closed" in step.refusal("")
    assert step.refusal(WORD) == ""


def test_what_is_opened_counts_and_the_command_has_no_secret() -> None:
    flow = CaptureFlow(encrypted())
    answers = {"source": str(MACHINE.path), "what": "whole", "open": "yes", "opening": WORD}
    step = asked(flow, **answers)
    assert step.name == "place"
    assert "130.1 GiB will be read" in step.intro[0]
    answers |= {"place": "/dev/sdb1", "parent": "none", "level": "3", "encrypt": "no"}
    done = walk(flow, **answers, parts="one", name="x")
    assert isinstance(done, Ready)
    assert done.wish is not None
    assert done.wish.opening == PASSPHRASE
    assert done.wish.passphrase == b""
    assert " --unlock" in done.wish.command()
    assert done.again is not None
    assert done.again.opening == PASSPHRASE
    assert WORD not in repr(done) + done.wish.command()


def test_it_may_stay_closed() -> None:
    flow = CaptureFlow(encrypted())
    step = asked(flow, source=str(MACHINE.path), what="whole", open="no")
    assert step.name == "place"
    assert "340.1 GiB will be read" in step.intro[0]


def test_nobody_is_asked_for_partitions_that_are_left_out_or_open() -> None:
    flow = CaptureFlow(encrypted())
    step = asked(flow, source=str(MACHINE.path), what="some", partitions=("3",))
    assert step.name == "place"
    world = World()
    world.volumes = (VOLUMES[0], OPENED, VOLUMES[2])
    step = asked(CaptureFlow(world), source=str(MACHINE.path), what="whole")
    assert step.name == "place"


def test_several_are_listed() -> None:
    world = encrypted()
    luks = replace(VOLUMES[2], fs="crypto_LUKS", label="", method="whole", captured=150 * GIB)
    world.volumes = (VOLUMES[0], CLOSED, luks)
    step = asked(CaptureFlow(world), source=str(MACHINE.path), what="whole")
    assert isinstance(step, Ask)
    wanted = "Partition 2 (BitLocker, 300.0 GiB) and partition 3 (LUKS, 150.0 GiB)."
    assert step.intro[0].startswith(wanted)


@pytest.mark.parametrize("secret", ["passphrase", "opening"])
def test_a_wish_never_shows_a_secret(secret: str) -> None:
    wish = replace(TaskWish(("capture", "a", "b"), "t", (Path("/dev/sda1"),)), **{secret: b"XYZZY"})
    assert "XYZZY" not in repr(wish) + wish.command()
