"""The set of discs as the medium reads it, and changing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.core import process
from rescue.core.errors import ImageDamaged
from rescue.core.progress import Silent
from rescue.image.partreader import Wanted
from rescue.jobs import discs, places
from rescue.jobs.discs import Discs, Drive, parse, parse_drives

BUILD = "0123456789abcdef"
IMAGES = "rescue/images"
LIST = f"1 {IMAGES}/x.rescue\n2 {IMAGES}/x.rescue.002 {IMAGES}/x.rescue.003\n3 {IMAGES}/y.rescue\n"
SET = parse(LIST, f"{BUILD} 1 3\n")


def test_which_disc_holds_a_part() -> None:
    assert SET.build == BUILD
    assert [SET.number("x.rescue", part) for part in (0, 1, 2)] == [1, 2, 2]
    assert SET.number("x.rescue", None) == 2
    assert SET.number("y.rescue", None) == 3
    for part in (3, None):
        with pytest.raises(ImageDamaged, match="none of the 3 discs"):
            SET.number("z.rescue" if part is None else "x.rescue", part)


@pytest.mark.parametrize(
    ("listing", "mark"),
    [
        ("", f"{BUILD} 1 1"),
        ("1 a\n3 b\n", f"{BUILD} 1 2"),
        ("1 a\n2 b\n", f"{BUILD} 1 3"),
        ("1 a\n2 b c'\n", f"{BUILD} 1 2"),
        ("1 a\n", "short 1 1"),
        ("1 a\n", ""),
    ],
)
def test_a_list_that_makes_no_sense_is_damage(listing: str, mark: str) -> None:
    with pytest.raises(ImageDamaged, match="list of the discs"):
        parse(listing, mark)


def test_drives_for_discs_come_first() -> None:
    text = """{"blockdevices": [{"path": "/dev/sda", "type": "disk"},
        {"path": "/dev/loop0", "type": "loop"}, {"path": "/dev/sr1", "type": "rom"}]}"""
    assert parse_drives(text) == (Path("/dev/sr1"), Path("/dev/sda"))


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


def test_a_wrong_disc_is_passed_over_and_the_right_one_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A drive that a person changes the disc of, each time the machine looks at it in vain."""
    in_drive = [f"{BUILD} 1 3", "", f"{'f' * 16} 2 3", f"{BUILD} 3 3", f"{BUILD} 2 3"]
    commands: list[str] = []
    root = tmp_path / "disc"
    root.mkdir()
    monkeypatch.setattr(discs, "_ROOT", root)
    monkeypatch.setattr(discs, "drives", lambda: (Path("/dev/sr0"),))
    monkeypatch.setattr(discs, "_holds_iso", lambda node: bool(in_drive[0]))

    def mounted(node: Path) -> bool:
        (root / "rescue").mkdir(exist_ok=True)
        (root / discs.SET).write_text(f"{in_drive[0]}\n")
        return True

    def unmount(where: Path) -> None:
        commands.append("umount")

    def run(command: list[str | Path], check: bool = True) -> None:
        commands.append(" ".join(map(str, command)))

    monkeypatch.setattr(discs, "_mounted", mounted)
    monkeypatch.setattr(places, "unmount", unmount)
    monkeypatch.setattr(process, "run", run)
    said = Said()
    with Drive(SET, "x.rescue", said, pause=lambda seconds: in_drive.__delitem__(0)) as drive:
        assert said.lines == []
        assert drive.file(f"/{IMAGES}/x.rescue") == root / IMAGES / "x.rescue"
        drive.ask(Wanted("put in the disc with x.rescue.002", 1))
        assert said.lines == [
            "put in disc 2 of 3; the work goes on by itself",
            "this is a disc of something else; disc 2 of 3 is wanted",
            "this is disc 3; disc 2 of 3 is wanted",
        ]
        assert in_drive == [f"{BUILD} 2 3"]
        # The first disc was looked at once more before and after, and two wrong ones.
        assert commands == ["umount", "umount", "eject /dev/sr0", *["umount"] * 3]
        # The same disc again is there already: nobody is asked.
        drive.ask(Wanted("put in the disc with the last part of x.rescue", None))
        assert len(said.lines) == 3
    assert commands[-1] == "umount"


def test_a_medium_that_is_no_set(tmp_path: Path) -> None:
    assert discs.load(tmp_path) is None
    (tmp_path / "rescue").mkdir()
    (tmp_path / discs.LIST).write_text(LIST)
    (tmp_path / discs.SET).write_text(f"{BUILD} 1 3\n")
    assert discs.load(tmp_path) == Discs(BUILD, SET.parts)
