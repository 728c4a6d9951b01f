"""Getting files out, in both faces: folders, marks, search, a look at a file, copying, refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, UsageError
from rescue.jobs import runtime
from rescue.shell import actions
from rescue.shell.browser import Row
from rescue.shell.plain import browsing
from rescue.shell.screens import browse
from rescue.shell.screens.browse import BrowseScreen
from rescue.shell.screens.first import FirstScreen
from rescue.shell.screens.flow import FlowScreen
from rescue.shell.terminal import Back
from tests.unit.shell.driving import Keys, check_snapshot, drive
from tests.unit.shell.recorded import IMAGE, World
from tests.unit.shell.test_plain import Person

TREE = {
    "": [
        Row("1", "1-EFI", True, 1 << 30, about='vfat "EFI"'),
        Row("2", "2-Windows", True, 300 << 30, about='ntfs "Windows"'),
        Row("3", "3-secret", False, 9 << 30, why="it is encrypted"),
    ],
    "1": [],
    "2": [
        Row("2/Users", "Users", True),
        Row("2/evil\x1b[2J\n", "evil\x1b[2J\n", False, 7),
        Row("2/letter.txt", "letter.txt", False, 2048, 1_700_000_000 * 10**9),
    ],
    "2/Users": [Row("2/Users/Anna", "Anna", True)],
}


class Browser:
    """An image with a few files."""

    source = IMAGE.word

    def rows(self, path: str) -> tuple[list[Row], list[str]]:
        if path == "2/Users":
            raise DiskTrouble("the disk does not answer")
        return TREE[path], ["/lost: input/output error"] if path == "1" else []

    def search(self, pattern: str) -> tuple[list[Row], bool]:
        found = [row for rows in TREE.values() for row in rows if pattern in row.name]
        return found, pattern != "e"

    def preview(self, path: str) -> list[str]:
        if "evil" in path:
            raise UsageError("it is not there")
        return ["Dear Anna,", "\tI am well."]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What is opened is the tree of this file; the list says what was opened and closed."""
    said: list[str] = []

    @contextmanager
    def opened(source: str, passphrase: bytes = b"") -> Iterator[Browser]:
        if source == "/dev/sdc":
            raise DiskTrouble("the disk is gone", hint="plug it in again")
        said.append(f"opened {source}")
        yield Browser()
        said.append("closed")

    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr(time, "strftime", lambda *_words: "2026-11-24")
    monkeypatch.setattr("rescue.shell.screens.first._plugged", lambda: "the same")
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)
    monkeypatch.setattr(actions, "save_support", lambda _world: "Saved.")
    monkeypatch.setattr(browse, "opened", opened)
    monkeypatch.setattr(browsing, "opened", opened)
    return said


async def settled(keys: Keys) -> None:
    """The thread that holds the image open is none of the workers: wait for what it draws."""
    for _ in range(100):
        await keys.rest()
        if "Opening it" not in keys.text:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("size", [(80, 25), (120, 40)])
def test_two_panes_by_keys(size: tuple[int, int], quiet: list[str], tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    async def work(keys: Keys) -> None:
        await keys.press("down", "down", "down", "enter", "enter")
        await settled(keys)
        assert isinstance(keys.app.screen, BrowseScreen)
        check_snapshot(f"files-volumes-{size[0]}", keys.text)
        text = await keys.press("down", "down", "enter")
        assert "Its files cannot be seen: it is encrypted." in text
        text = await keys.press("up", "enter")
        assert "letter.txt" in text
        assert "\x1b" not in text
        await keys.press("space", "down", "space")
        check_snapshot(f"files-marked-{size[0]}", keys.text)
        assert "2 entries marked" in keys.text
        text = await keys.press("enter")
        assert "Dear Anna," in text
        text = await keys.press("home", "enter")
        assert "That did not work: the disk does not answer." in text
        await keys.press("slash")
        text = await keys.type("letter")
        assert 'found for "letter"' in text
        text = await keys.press("c")
        await keys.rest()
        assert isinstance(keys.app.screen, FlowScreen)
        assert "Copy to which disk?" in keys.text
        await keys.press("enter", "enter")
        assert world.started[0].words == (
            "copy", IMAGE.word, "2/Users", "2/letter.txt", "/dev/sda1:rescued-2026-11-24",
        )  # fmt: skip

    drive(world, work, size=size)
    time.sleep(0.1)
    assert quiet == [f"opened {IMAGE.word}", "closed"], "what was opened is closed again"


def test_backspace_leads_up_and_escape_leaves(quiet: list[str], tmp_path: Path) -> None:
    async def work(keys: Keys) -> None:
        await keys.press("down", "down", "down", "enter", "enter")
        await settled(keys)
        text = await keys.press("enter")
        assert "/lost: input/output error" in text
        text = await keys.press("backspace", "backspace")
        assert "1-EFI" in text
        await keys.press("slash", "escape")
        assert isinstance(keys.app.screen, BrowseScreen), "escape closes the search line first"
        await keys.press("escape")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(World(folder=tmp_path), work)


def test_a_folder_that_was_left_before_it_was_read_is_not_shown(
    quiet: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad disk answers late: by then another folder is looked at, and stays."""
    late, asked = threading.Event(), threading.Event()
    rows = Browser.rows

    def slow(self: Browser, path: str) -> tuple[list[Row], list[str]]:
        if path == "1":
            asked.set()
            assert late.wait(10)
        return rows(self, path)

    monkeypatch.setattr(Browser, "rows", slow)

    async def work(keys: Keys) -> None:
        await keys.press("down", "down", "down", "enter", "enter")
        await settled(keys)
        await keys.pilot.press("enter")
        while not asked.is_set():
            await keys.pilot.pause(0.01)
        await keys.pilot.press("down", "enter")
        for _ in range(200):
            if "letter.txt" in keys.text:
                break
            await keys.pilot.pause(0.01)
        late.set()
        await keys.rest()
        assert "letter.txt" in keys.text
        assert "input/output error" not in keys.text

    drive(World(folder=tmp_path), work)


def test_what_is_open_is_closed_when_the_shell_ends(quiet: list[str], tmp_path: Path) -> None:
    """Also by a signal: the shell's end lets go of what its screens hold."""

    async def work(keys: Keys) -> None:
        await keys.press("down", "down", "down", "enter", "enter")
        await settled(keys)
        assert quiet == [f"opened {IMAGE.word}"]
        keys.app.let_go()
        assert quiet[-1] == "closed"

    drive(World(folder=tmp_path), work)


def test_a_disk_that_is_gone_is_said(tmp_path: Path) -> None:
    async def work(keys: Keys) -> None:
        keys.app.push_screen(BrowseScreen("/dev/sdc"))
        await settled(keys)
        assert "That did not work: the disk is gone. What to do: plug it in" in keys.text
        await keys.press("enter", "space", "c", "v", "backspace", "escape")
        assert isinstance(keys.app.screen, FirstScreen)

    drive(World(folder=tmp_path), work)


def test_in_lines(quiet: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    finished: list[object] = []
    monkeypatch.setattr(
        "rescue.shell.plain.menu.finish", lambda _t, _w, ready: finished.append(ready.wish.words)
    )
    person = Person("3", "2", "c", "1", "3", "", "m 1 3 99 x", "m 3", "0", "/letter", "m 1", "c",
                    "3", "rescued")  # fmt: skip
    browsing.browse(person.terminal, world, IMAGE.word)  # type: ignore[arg-type]
    assert "Its files cannot be seen: it is encrypted." in person.shown
    assert "Nothing is marked." in person.shown
    assert "That did not work: the disk does not answer." in person.shown
    assert "Dear Anna," in person.shown
    assert "\x1b" not in person.shown
    assert finished == [
        ("copy", IMAGE.word, "2/Users", "2/letter.txt", "/dev/sda3:rescued"),
    ]
    assert quiet == [f"opened {IMAGE.word}", "closed"]


def test_leaving_in_lines_copies_nothing(quiet: list[str], tmp_path: Path) -> None:
    person = Person("2", "m 1", "0", "0")
    with pytest.raises(Back):
        browsing.browse(person.terminal, World(folder=tmp_path), IMAGE.word)  # type: ignore[arg-type]
