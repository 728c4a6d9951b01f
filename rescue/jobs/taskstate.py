"""How far a task is, in one small file that is rewritten several times a second.

``state.json`` holds the step with its bytes and speed, a history of speeds for a plot, the last
notes and all warnings. Times are seconds of the wall clock: other processes read them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from rescue.core.progress import Meter
from rescue.jobs import runtime

VARIABLE = "RESCUE_TASK"
"""Names the task's folder to the command that runs in it."""

_EVERY = 0.25
_SAMPLE = 1.0
_SAMPLES = 240
_NOTES = 50


class StateReporter:
    """A reporter that keeps ``state.json`` of a task; safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self._lock = threading.Lock()
        self._meter: Meter | None = None
        self._step = ""
        self._steps: list[str] = []
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._speeds: deque[int] = deque(maxlen=_SAMPLES)
        self._written = self._sampled = 0.0
        self.warnings: list[str] = []

    def start(self, step: str, total: int | None) -> None:
        """A step begins; its speeds are plotted anew."""
        with self._lock:
            self._step, self._meter = step, Meter(total)
            self._speeds.clear()
            self._sampled = time.monotonic()
            self._write()

    def advance(self, count: int) -> None:
        """``count`` more bytes."""
        now = time.monotonic()
        with self._lock:
            if self._meter is None:
                return
            self._meter.advance(count, now)
            if now - self._sampled >= _SAMPLE:
                self._speeds.append(int(self._meter.speed))
                self._sampled = now
            if now - self._written >= _EVERY:
                self._write()

    def finish(self) -> None:
        """The step ended."""
        with self._lock:
            self._steps.append(self._step)
            self._meter = None
            self._write()

    def note(self, text: str) -> None:
        """One line."""
        with self._lock:
            self._notes.append(text)
            self._write()

    def warn(self, text: str) -> None:
        """One line that a person must see."""
        with self._lock:
            self.warnings.append(text)
            self._write()

    def close(self) -> None:
        """The last state stays."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        meter = self._meter
        self._written = time.monotonic()
        state = {
            "time": time.time(),
            "step": self._step if meter else "",
            "done": meter.done if meter else 0,
            "total": meter.total if meter else None,
            "speed": int(meter.speed) if meter else 0,
            "left": meter.seconds_left() if meter else None,
            "speeds": list(self._speeds),
            "steps": self._steps[-_NOTES:],
            "notes": list(self._notes),
            "warnings": self.warnings[-_NOTES:],
        }
        # A full memory must not end a restore: the state is for show.
        with suppress(OSError):
            runtime.write_json(self._path, state)
