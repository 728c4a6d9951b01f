"""Progress drawn for a person: a bar on a terminal, a plain line every few seconds elsewhere.

Both go to stderr; stdout stays free for data. Plain ASCII, so that a serial line and a VGA console
show the same.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from rescue.cli.console import clean, is_terminal, paint, write
from rescue.core.progress import Meter
from rescue.core.units import format_duration, format_size
from rescue.jobs import taskstate
from rescue.jobs.lines import LineReporter, Tee, plain_line

_REDRAW = 0.2
_BAR = 24
_FACTS = 50


def make_reporter() -> BarReporter | LineReporter | TaskReporter:
    """The reporter that suits this process's stderr; a task also keeps its state for others."""
    if folder := os.environ.get(taskstate.VARIABLE):
        return TaskReporter(Path(folder))
    if is_terminal(sys.stderr) and os.environ.get("TERM", "dumb") not in ("dumb", ""):
        return BarReporter(sys.stderr)
    return LineReporter(lambda line: write(sys.stderr, clean(line)))


class TaskReporter(Tee):
    """Plain lines for the log of a task, and its state for whoever looks at it."""

    def __init__(self, folder: Path) -> None:
        self._state = taskstate.StateReporter(folder)
        super().__init__(LineReporter(lambda line: write(sys.stderr, clean(line))), self._state)

    @property
    def warnings(self) -> list[str]:
        """What was warned of."""
        return self._state.warnings

    def close(self) -> None:
        """The last state stays."""
        self._state.close()


class BarReporter:
    """One line that is drawn over again; notes and warnings scroll above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._step = ""
        self._meter: Meter | None = None
        self._drawn = 0.0
        self._width = 0
        self.warnings: list[str] = []

    def start(self, step: str, total: int | None) -> None:
        """A step begins."""
        with self._lock:
            self._erase()
            self._step, self._meter, self._drawn = clean(step), Meter(total), 0.0
            self._draw(time.monotonic())

    def advance(self, count: int) -> None:
        """``count`` more bytes; draws at most five times a second."""
        now = time.monotonic()
        with self._lock:
            if self._meter is None:
                return
            self._meter.advance(count, now)
            if now - self._drawn >= _REDRAW:
                self._draw(now)

    def finish(self) -> None:
        """The step ended: its bar gives way to one plain line that stays."""
        with self._lock:
            if self._meter is None:
                return
            self._erase()
            write(self._stream, plain_line(self._step, self._meter, ended=True))
            self._meter = None

    def note(self, text: str) -> None:
        """One line above the bar."""
        with self._lock:
            self._erase()
            write(self._stream, clean(text))

    def warn(self, text: str) -> None:
        """One line above the bar that stands out."""
        with self._lock:
            self.warnings.append(text)
            self._erase()
            write(self._stream, f"{paint('warning:', 'yellow', self._stream)} {clean(text)}")

    def close(self) -> None:
        """Leave no half-drawn bar behind when a step did not end well."""
        with self._lock:
            self._erase()
            self._meter = None

    def _erase(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0

    def _draw(self, now: float) -> None:
        assert self._meter is not None
        self._drawn = now
        line = bar_line(self._step, self._meter, _columns(self._stream) - 1)
        padding = " " * max(0, self._width - len(line))
        self._stream.write("\r" + line + padding)
        self._stream.flush()
        self._width = len(line)


def bar_line(step: str, meter: Meter, width: int) -> str:
    """The bar as text of at most ``width`` letters: step, share, bytes, speed, time left."""
    speed = f"  {format_size(int(meter.speed))}/s" if meter.speed else ""
    if not meter.total:
        done = f"  {format_size(meter.done)}" if meter.done else ""
        return f"{step}{done}{speed}"[:width]
    share = min(1.0, meter.done / meter.total)
    left = meter.seconds_left()
    rest = f"  {format_duration(left)} left" if left is not None and share < 1 else ""
    facts = f"{share:4.0%}  {format_size(meter.done)} of {format_size(meter.total)}{speed}{rest}"
    # A bar of steady length: it must not jump when a number gets a digit more.
    room = min(_BAR, width - len(step) - max(len(facts), _FACTS) - 5)
    if room < 4:
        return f"{step} {facts}"[:width]
    filled = int(room * share)
    return f"{step} [{'#' * filled}{'-' * (room - filled)}] {facts}"[:width]


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80  # a serial line says 0
    except (OSError, ValueError):
        return 80
