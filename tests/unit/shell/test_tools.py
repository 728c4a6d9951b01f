"""Tools in both faces: what they show, that ending the machine is asked twice, what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, ProgramFailed
from rescue.jobs import runtime
from rescue.shell import actions
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.tools import TextScreen, ToolsScreen
from tests.unit.shell.driving import Keys, drive
from tests.unit.shell.recorded import World
from tests.unit.shell.test_plain import Person, run_menu, world

assert world, "a fixture of the plain mode's tests"
_BEFORE = list(actions.TOOLS)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Nothing is really run or ended; what was asked for."""
    did: list[str] = []
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "the same")
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)
    monkeypatch.setattr(actions, "tool", lambda name: [f"what {name} shows", "evil\x1b[2Jname"])
    monkeypatch.setattr(actions, "leave", did.append)
    monkeypatch.setattr(actions, "save_support", lambda _world: "Saved as x.tar.gz.")
    monkeypatch.setattr(actions, "root_shell", lambda: did.append("root shell"))
    return did


async def tools(keys: Keys) -> None:
    """To the list of tools."""
    await keys.press("end", "enter")
    assert isinstance(keys.app.screen, ToolsScreen)


def test_every_tool_shows_its_text_and_leads_back() -> None:
    async def work(keys: Keys) -> None:
        await tools(keys)
        for number, name in enumerate(_BEFORE):
            text = await keys.press("home", *["down"] * number, "enter")
            assert isinstance(keys.app.screen, TextScreen)
            assert f"what {name} shows" in text
            assert actions.TOOLS[name] in text
            assert "\x1b" not in text
            await keys.press("escape")
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(World(), work)


@pytest.mark.parametrize(("steps", "word"), [(0, "poweroff"), (1, "reboot")])
def test_ending_the_machine_is_asked_twice(steps: int, word: str, quiet: list[str]) -> None:
    async def work(keys: Keys) -> None:
        await tools(keys)
        text = await keys.press("end", *["up"] * steps, "enter")
        assert "Press Enter once more" in text
        await keys.press("up", "down", "enter")
        assert quiet == [], "moving away is a no"
        await keys.press("enter")
        assert quiet == [word]

    drive(World(), work)


def test_ending_the_machine_names_what_still_runs(
    quiet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "busy", lambda: True)

    def fail(_word: str) -> None:
        raise DiskTrouble("this machine was not started from rescue media", hint="restart it")

    monkeypatch.setattr(actions, "leave", fail)

    async def work(keys: Keys) -> None:
        await tools(keys)
        text = await keys.press("end", "enter")
        assert "A task is still running; what it writes will be incomplete." in text
        text = await keys.press("enter")
        said = " ".join(text.split())
        assert "was not started from rescue media. What to do: restart it." in said

    drive(World(), work)


def test_the_support_bundle_from_the_list() -> None:
    async def work(keys: Keys) -> None:
        await tools(keys)
        await keys.press("home", *["down"] * (len(_BEFORE) + 1), "enter")
        assert "Saved as x.tar.gz." in keys.text

    drive(World(), work)


def test_a_support_bundle_that_cannot_be_saved_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_world: object) -> str:
        raise ProgramFailed("tar failed", hint="look at the log")

    monkeypatch.setattr(actions, "save_support", fail)

    async def work(keys: Keys) -> None:
        text = await keys.press("f9")
        assert "That did not work: tar failed. What to do: look at the log." in text

    drive(World(), work)


def test_tools_in_lines(world: World, quiet: list[str]) -> None:
    person = Person("8", "1", "", "8", "0", "9", "", "5")
    assert run_menu(person) == 0
    assert "what disks shows" in person.shown
    assert "\x1b" not in person.shown
    assert "Saved as x.tar.gz." in person.shown
    assert quiet == ["root shell"]


def test_layouts_in_lines_where_there_are_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rescue.shell.keyboard.layouts", list)
    person = Person("8", str(len(_BEFORE) + 1), "")
    assert run_menu(person) == 0
    assert "This system has no layouts to choose from." in person.shown
