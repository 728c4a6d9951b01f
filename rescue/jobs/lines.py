"""Progress as plain lines, every few seconds: for logs, pipes, and every console of a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rescue.core.progress import Meter, Reporter
from rescue.core.units import format_duration, format_size


def plain_line(step: str, meter: Meter, *, ended: bool = False, now: float | None = None) -> str:
    """``capture: 43%, 1.2 GiB of 2.8 GiB, 310.0 MiB/s, 5 s left``; the step's end in words."""
    if ended:
        took = (time.monotonic() if now is None else now) - meter.started
        speed = f", {format_size(int(meter.done / took))}/s" if took >= 0.5 and meter.done else ""
        bytes_done = f", {format_size(meter.done)}" if meter.done or meter.total else ""
        return f"{step}: done{bytes_done} in {format_duration(took)}{speed}"
    facts = [format_size(meter.done)]
    if meter.total:
        share = min(1.0, meter.done / meter.total)
        facts = [f"{share:.0%}", f"{format_size(meter.done)} of {format_size(meter.total)}"]
    if meter.speed:
        facts.append(f"{format_size(int(meter.speed))}/s")
    left = meter.seconds_left()
    if left is not None:
        facts.append(f"{format_duration(left)} left")
    return f"{step}: {', '.join(facts)}"


class LineReporter:
    """A reporter that hands whole lines to ``write``; safe to call from several threads.

    Args:
        write: receives each line, without its end.
        every: seconds between two lines of the same step.
    """

    def __init__(self, write: Callable[[str], None], *, every: float = 5.0) -> None:
        self._write = write
        self._every = every
        self._lock = threading.Lock()
        self._step = ""
        self._meter: Meter | None = None
        self._told = 0.0
        self.warnings: list[str] = []

    def start(self, step: str, total: int | None) -> None:
        """A step begins: one line says so, with its size where it is known."""
        with self._lock:
            self._step, self._meter = step, Meter(total)
            self._told = time.monotonic()
            self._write(f"{step}: {format_size(total)}" if total else f"{step} ...")

    def advance(self, count: int) -> None:
        """``count`` more bytes; a line when it is time for one."""
        now = time.monotonic()
        with self._lock:
            if self._meter is None:
                return
            self._meter.advance(count, now)
            if now - self._told >= self._every:
                self._told = now
                self._write(plain_line(self._step, self._meter))

    def finish(self) -> None:
        """The step ended: one line with its time."""
        with self._lock:
            if self._meter is None:
                return
            self._write(plain_line(self._step, self._meter, ended=True))
            self._meter = None

    def note(self, text: str) -> None:
        """One line."""
        with self._lock:
            self._write(text)

    def warn(self, text: str) -> None:
        """One line that stands out; kept."""
        with self._lock:
            self.warnings.append(text)
            self._write(f"warning: {text}")

    def close(self) -> None:
        """Nothing is half drawn: nothing to do."""


class Tee:
    """A reporter that hands everything to several others: a console and a log."""

    def __init__(self, *others: Reporter) -> None:
        self._others = others

    def start(self, step: str, total: int | None) -> None:
        """A step begins."""
        for other in self._others:
            other.start(step, total)

    def advance(self, count: int) -> None:
        """``count`` more bytes."""
        for other in self._others:
            other.advance(count)

    def finish(self) -> None:
        """The step ended."""
        for other in self._others:
            other.finish()

    def note(self, text: str) -> None:
        """One line."""
        for other in self._others:
            other.note(text)

    def warn(self, text: str) -> None:
        """One line that stands out."""
        for other in self._others:
            other.warn(text)
