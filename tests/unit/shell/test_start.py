"""Which face is shown, and that the lines take over when the screens fail."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from rescue.shell import start
from rescue.shell.screens.app import RescueApp


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The faces that were shown, on a capable terminal."""
    faces: list[str] = []

    def lines(**more: object) -> int:
        faces.append(f"lines {more}")
        return 0

    def screens(self: RescueApp, **_more: object) -> None:
        faces.append("screens")

    monkeypatch.setenv("TERM", "linux")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("rescue.shell.plain.menu.run", lines)
    monkeypatch.setattr(RescueApp, "run", screens)
    return faces


def run(*, plain: bool = False, announce: bool = False) -> int:
    return start.run(plain=plain, contrast=False, announce=announce)


def test_screens_where_they_can_be_drawn(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() == 0
    monkeypatch.setenv("NO_COLOR", "1")
    run()
    assert shown == ["screens", "screens"]
    monkeypatch.setenv("TERM", "dumb")
    run()
    run(plain=True)
    run(announce=True)
    assert [face.split()[0] for face in shown[2:]] == ["lines"] * 3


@pytest.mark.parametrize(
    ("encoding", "drawn"),
    [("iso-8859-1", False), ("ANSI_X3.4-1968", False), ("cp437", False), ("UTF-8", True)],
)
def test_a_locale_without_utf_8_gets_lines(
    encoding: str, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what the screens draw does not exist there, and such a letter would end them."""
    terminal = SimpleNamespace(encoding=encoding, isatty=lambda: True)
    monkeypatch.setattr(start, "sys", SimpleNamespace(stdin=terminal, stdout=terminal))
    monkeypatch.setenv("TERM", "xterm")
    assert start.can_draw() == drawn


def test_lines_take_over_when_the_screens_fail(
    capsys: pytest.CaptureFixture[str], shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: RescueApp, **_more: object) -> None:
        self.failure = ValueError("oh")

    monkeypatch.setattr(RescueApp, "run", fail)
    monkeypatch.setattr(start, "can_draw", lambda: True)
    capsys.readouterr()
    assert run() == 0
    assert len(shown) == 1
    said = capsys.readouterr().out
    assert "The screens failed (ValueError: oh)." in said
    assert "What was running goes on." in said
