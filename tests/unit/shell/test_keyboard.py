"""Keyboard layouts: what is offered, when it is asked, and that no other word reaches loadkeys."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rescue.core import process
from rescue.core.errors import DiskTrouble
from rescue.jobs import runtime
from rescue.shell import actions, keyboard
from rescue.shell.plain import menu
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.tools import KeyboardScreen
from tests.unit.shell.driving import Keys, check_snapshot, drive
from tests.unit.shell.recorded import World
from tests.unit.shell.test_plain import Person, run_menu

KNOWN = [("us", "English (US)"), ("de-latin1", "Deutsch"), ("fr-latin9", "Francais (AZERTY)")]


@pytest.fixture
def first_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A start of the media at their own console; what was loaded."""
    loaded: list[str] = []
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr(keyboard.describe, "is_live", lambda: True)
    monkeypatch.setattr(os, "ttyname", lambda _fd: "/dev/tty1")
    monkeypatch.setattr(keyboard, "_RECIPE", tmp_path / "keymap")
    monkeypatch.setattr(keyboard, "layouts", lambda: KNOWN)
    monkeypatch.setattr(keyboard, "apply", loaded.append)
    monkeypatch.setattr(keyboard, "data_partition", lambda _sight: None)
    monkeypatch.setattr(time, "strftime", lambda *_words: "2026-11-24")
    monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "the same")
    monkeypatch.setattr("rescue.shell.screens.first.__version__", "0.0.0")
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)
    monkeypatch.setattr(actions, "promise", lambda: actions.PROMISE)
    return loaded


def test_common_layouts_come_first(tmp_path: Path) -> None:
    for name in ("qwertz/de-latin1", "qwerty/us", "qwerty/et", "include/x-include"):
        path = tmp_path / f"{name}.kmap.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = keyboard.layouts(tmp_path)
    assert found == [("us", "English (US)"), ("de-latin1", "Deutsch"), ("et", "et")]
    assert keyboard.layouts(tmp_path / "nothing") == []


def test_only_a_name_reaches_loadkeys(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(process, "require", lambda name, package: name)
    monkeypatch.setattr(process, "run", lambda words, **_more: ran.append(words))
    for wrong in ("", "../../etc/shadow", "a b", "x" * 41, "de\n", "-C"):
        with pytest.raises(DiskTrouble, match="no keyboard layout"):
            keyboard.apply(wrong)
    assert ran == []
    world = World()
    monkeypatch.setattr(keyboard, "data_partition", lambda _sight: None)
    assert keyboard.choose("de-latin1", world) == "Deutsch is loaded, until the restart."
    assert ran == [["loadkeys", "--quiet", "de-latin1"]]


def test_asked_once_in_a_start(first_start: list[str]) -> None:
    world = World()
    assert keyboard.to_ask(world)
    keyboard.asked()
    assert not keyboard.to_ask(world)


@pytest.mark.parametrize("why", ["a serial line", "ssh", "a desktop", "the recipe", "no layouts"])
def test_not_asked_where_it_is_known_or_makes_no_sense(
    why: str, first_start: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if why == "a serial line":
        monkeypatch.setattr(os, "ttyname", lambda _fd: "/dev/ttyS0")
    elif why == "ssh":
        monkeypatch.setattr(os, "ttyname", lambda _fd: "/dev/pts/0")
    elif why == "a desktop":
        monkeypatch.setattr(keyboard.describe, "is_live", lambda: False)
    elif why == "the recipe":
        (tmp_path / "keymap").touch()
    else:
        monkeypatch.setattr(keyboard, "layouts", list)
    assert not keyboard.to_ask(World())


def test_what_the_stick_remembers_is_loaded_and_not_asked(
    first_start: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyboard, "recall", lambda _world: first_start.append("cz") or "cz")
    assert not keyboard.to_ask(World())
    assert first_start == ["cz"]


@pytest.mark.parametrize("size", [(80, 25), (120, 40)])
def test_the_question_on_the_screen(size: tuple[int, int], first_start: list[str]) -> None:
    async def choose(keys: Keys) -> None:
        assert isinstance(keys.app.screen, KeyboardScreen)
        check_snapshot(f"keyboard-{size[0]}", keys.text)
        text = await keys.press("down", "enter")
        assert first_start == ["de-latin1"]
        assert isinstance(keys.app.screen, FirstScreen)
        assert "Deutsch is loaded, until the restart." in text

    async def no_more(keys: Keys) -> None:
        assert isinstance(keys.app.screen, FirstScreen)
        text = await keys.press("end", "enter", "down", "down", "down", "down", "down", "enter")
        assert "Tab leads here" in text, "Tools still has the list"
        await keys.press("enter")
        assert first_start == ["de-latin1", "us"]
        assert isinstance(keys.app.screen, KeyboardScreen)

    drive(World(), choose, size=size)
    drive(World(), no_more, size=size)


def test_the_question_is_passed_over_with_escape(first_start: list[str]) -> None:
    async def work(keys: Keys) -> None:
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)
        assert first_start == []
        assert not keyboard.to_ask(keys.app.world)

    drive(World(), work)


def test_a_layout_that_cannot_be_loaded_is_a_sentence(
    first_start: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_name: str) -> None:
        raise DiskTrouble("loadkeys failed", hint="choose another one")

    monkeypatch.setattr(keyboard, "apply", fail)

    async def work(keys: Keys) -> None:
        text = await keys.press("enter")
        assert isinstance(keys.app.screen, FirstScreen)
        said = " ".join(text.split())
        assert "That did not work: loadkeys failed. What to do: choose another one." in said

    drive(World(), work)


def test_the_question_in_lines(first_start: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(menu, "ThisMachine", World)
    monkeypatch.setattr(menu, "take_signals", lambda: None)
    monkeypatch.setattr(menu, "has_job", lambda: False)
    person = Person("2")
    assert run_menu(person) == 0
    assert first_start == ["de-latin1"]
    assert person.shown.index(keyboard.TITLE) < person.shown.index("Bring this machine back")
    person = Person()
    run_menu(person)
    assert keyboard.TITLE not in person.shown
    assert "Bring this machine back" in person.shown


@pytest.mark.parametrize("answer", ["0", "^C"])
def test_the_question_in_lines_is_passed_over(
    answer: str, first_start: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(menu, "ThisMachine", World)
    monkeypatch.setattr(menu, "take_signals", lambda: None)
    monkeypatch.setattr(menu, "has_job", lambda: False)
    person = Person(answer)
    assert run_menu(person) == 0
    assert first_start == []
    assert "Bring this machine back" in person.shown
