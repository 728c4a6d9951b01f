"""The level that chooses itself: up when the destination is what is waited for, down when not."""

from __future__ import annotations

import pytest

from rescue.capture.level import HIGHEST, LOWEST, Level


def run(level: Level, share: float, seconds: int, *, begin: float = 100.0) -> list[int]:
    """The level after each second in which writing took this share of the time."""
    values = []
    for second in range(seconds + 1):
        level.update(begin + second * 1.01, share * second * 1.01)
        values.append(level.value)
    return values


def test_a_busy_destination_raises_it() -> None:
    values = run(Level(3, auto=True), 0.9, 20)
    assert values[:3] == [3, 4, 5] and values[-1] == HIGHEST


def test_an_idle_destination_lowers_it() -> None:
    values = run(Level(3, auto=True), 0.05, 20)
    assert values[:3] == [3, 2, 1] and values[-1] == LOWEST


@pytest.mark.parametrize("share", [0.35, 0.5, 0.59])
def test_in_between_it_stays(share: float) -> None:
    assert set(run(Level(5, auto=True), share, 20)) == {5}


def test_a_fixed_level_stays() -> None:
    assert set(run(Level(7), 0.95, 20)) == {7}


def test_it_looks_once_a_second() -> None:
    level = Level(3, auto=True)
    for tick in range(100):
        level.update(50 + tick / 100, tick / 100)
    assert level.value == 3
    level.update(51.2, 1.1)
    assert level.value == 4
