"""What was chosen last: kept word by word, offered first, never chosen by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.jobs.tasks import TaskWish
from rescue.shell.flows.base import Ask
from rescue.shell.flows.capture import CaptureFlow
from rescue.shell.settings import KEPT, Settings, of_capture, parse, save
from tests.unit.shell.recorded import KEEP, MACHINE, World


def capture(*more: str) -> TaskWish:
    return TaskWish(("capture", str(MACHINE.path), f"{KEEP.node}:images/x.rescue", *more), "x")


def test_a_capture_says_what_was_chosen() -> None:
    sight = World().sight()
    assert KEEP.uuid
    assert of_capture(capture("--level", "12"), sight) == Settings("12", KEEP.uuid)
    assert of_capture(capture(), sight) is None
    assert of_capture(TaskWish(("verify", "--deep", "x"), "x"), sight) is None


def test_they_come_back_as_they_were_kept(tmp_path: Path) -> None:
    save(Settings("12", "1234-ABCD"), tmp_path)
    assert parse((tmp_path / KEPT).read_bytes()) == Settings("12", "1234-ABCD")
    before = (tmp_path / KEPT).stat().st_mtime_ns
    save(Settings("12", "1234-ABCD"), tmp_path)
    assert (tmp_path / KEPT).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"\xff", b'{"level": "a b"}', b'{"place": "' + b"x" * 65 + b'"}']
)
def test_what_is_not_as_it_must_be_counts_as_nothing(data: bytes) -> None:
    assert parse(data) == Settings()


def question(world: World, **answers: str) -> Ask:
    step = CaptureFlow(world).step({"source": str(MACHINE.path), "what": "whole", **answers})
    while isinstance(step, Ask) and step.name == "warned":
        answers["warned"] = "yes"
        step = CaptureFlow(world).step({"source": str(MACHINE.path), "what": "whole", **answers})
    assert isinstance(step, Ask)
    return step


def test_what_was_chosen_last_is_offered_first() -> None:
    world = World()
    usual = [choice.value for choice in question(world).choices]
    assert str(KEEP.node) in usual
    levels = question(world, place=str(KEEP.node), parent="none").choices
    assert levels[0].value == "3"
    world.chosen = Settings("12", KEEP.uuid)
    assert question(world).choices[0].value == str(KEEP.node)
    assert sorted(choice.value for choice in question(world).choices) == sorted(usual)
    levels = question(world, place=str(KEEP.node), parent="none").choices
    assert (levels[0].value, levels[0].more) == ("12", ("as last time",))
    assert [choice.value for choice in levels[1:]] == ["3", "1", "auto"]
