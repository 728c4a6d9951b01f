"""Sizes and times as people write them, and the meter behind every bar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.core.progress import Meter, Silent
from rescue.core.units import format_duration, format_size, parse_size, plural


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("4G", 4 << 30),
        ("4 GiB", 4 << 30),
        ("1.5 TiB", 3 << 39),
        ("64k", 64 << 10),
        (" 2MB ", 2 << 20),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "4 X", "-1", "1..5G", "4Gi4", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1000204886016, "931.5 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_format_size(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 1 << 60))
def test_a_size_survives_being_written_within_its_rounding(size: int) -> None:
    back = parse_size(format_size(size))
    assert abs(back - size) <= max(size * 0.051, 0.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_plural() -> None:
    assert plural(1, "disk") == "1 disk"
    assert plural(0, "disk") == "0 disks"
    assert plural(1234, "entry", "entries") == "1,234 entries"


def test_meter_knows_nothing_at_first() -> None:
    meter = Meter(1000, started=0.0)
    meter.advance(10, 0.1)
    assert meter.seconds_left() is None


def test_meter_speed_and_time_left() -> None:
    meter = Meter(1000, started=0.0)
    meter.advance(100, 1.0)
    assert meter.speed == pytest.approx(100)
    assert meter.seconds_left() == pytest.approx(9)
    meter.advance(200, 2.0)
    assert meter.speed == pytest.approx(0.7 * 100 + 0.3 * 200)


def test_meter_without_a_total_never_promises() -> None:
    meter = Meter(None, started=0.0)
    meter.advance(100, 1.0)
    assert meter.seconds_left() is None


def test_meter_beyond_its_total_is_not_negative() -> None:
    meter = Meter(100, started=0.0)
    meter.advance(150, 1.0)
    assert meter.seconds_left() == 0


def test_silent_keeps_warnings() -> None:
    silent = Silent()
    silent.note("a note")
    silent.warn("a warning")
    assert silent.warnings == ["a warning"]
