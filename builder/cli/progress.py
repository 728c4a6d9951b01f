"""Progress on stderr: one line a step, redrawn on a terminal, with elapsed time and speed."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from rescue.core.progress import Meter
from rescue.core.units import format_duration, format_size

_REDRAW = 0.2
_LINE = 5.0
_BOLD, _YELLOW, _PLAIN, _CLEAR = "\x1b[1m", "\x1b[33m", "\x1b[0m", "\r\x1b[K"


class Terminal:
    """A Reporter for a person who waits. Without a terminal it prints whole lines and no colour."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stderr
        self.lively = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.lively and "NO_COLOR" not in os.environ
        self.step = ""
        self.last_note = ""
        self.meter = Meter(None)
        self.drawn = 0.0

    def start(self, step: str, total: int | None) -> None:
        """Begin a step."""
        self.step, self.last_note = step, ""
        self.meter = Meter(total)
        self.drawn = 0.0
        if self.lively:
            self._draw()
        else:
            print(f"{step} ...", file=self.out, flush=True)

    def advance(self, count: int) -> None:
        """Bytes of the step done."""
        now = time.monotonic()
        self.meter.advance(count, now)
        if self.lively and now - self.drawn >= _REDRAW:
            self._draw()
        elif not self.lively and now - max(self.drawn, self.meter.started) >= _LINE:
            self.drawn = now
            self._line(f"{self.step}: {', '.join(self._facts(now))}")

    def finish(self) -> None:
        """End the step: what it took stays on the screen."""
        seconds = time.monotonic() - self.meter.started
        words = [f"{seconds:.1f} s" if seconds < 60 else format_duration(seconds)]
        if self.meter.total:
            words.append(format_size(self.meter.done))
            if seconds > 0:
                words.append(f"{format_size(int(self.meter.done / seconds))}/s")
        self._line(f"{self.step}: {', '.join(words)}")
        self.step = ""

    def note(self, text: str) -> None:
        """One line worth telling; inside a step it shows with the time since the step began."""
        if self.step:
            self.last_note = text
            if self.lively:
                self._draw()
                return
            text = f"  {time.monotonic() - self.meter.started:5.0f} s  {text}"
        self._line(text)

    def warn(self, text: str) -> None:
        """One line that must be seen."""
        mark = f"{_YELLOW}warning:{_PLAIN}" if self.colour else "warning:"
        self._line(f"{mark} {text}")

    def abandon(self) -> None:
        """Leave the line that is being redrawn, before an error is printed under it."""
        if self.lively and self.step:
            print(_CLEAR, end="", file=self.out, flush=True)
        self.step = ""

    def _line(self, text: str) -> None:
        print(f"{_CLEAR if self.lively else ''}{text}", file=self.out, flush=True)

    def _facts(self, now: float) -> list[str]:
        """How far, how long so far, how fast, how long still."""
        words = [format_duration(now - self.meter.started)]
        if self.meter.total:
            words.insert(0, f"{min(100, self.meter.done * 100 // self.meter.total)} %")
            if self.meter.speed:
                words.append(f"{format_size(int(self.meter.speed))}/s")
            left = self.meter.seconds_left()
            if left is not None:
                words.append(f"{format_duration(left)} left")
        return words

    def _draw(self) -> None:
        now = time.monotonic()
        self.drawn = now
        words = self._facts(now)
        if self.last_note:
            words.append(self.last_note)
        name = f"{_BOLD}{self.step}{_PLAIN}" if self.colour else self.step
        width = 4096
        if self.lively:
            try:
                width = os.get_terminal_size(self.out.fileno()).columns
            except OSError:
                width = 80
        rest = f": {', '.join(words)}"[: max(0, width - len(self.step) - 1)]
        print(f"{_CLEAR}{name}{rest}", end="", file=self.out, flush=True)
