"""Progress as events. The library reports; only ``cli`` and ``shell`` draw.

A ``Reporter`` is given to everything that takes longer than a second. It may be called often (each
chunk): an implementation throttles. Raising from it stops the work, which is how Ctrl-C in a screen
is passed down.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol


class Reporter(Protocol):
    """Receives what is going on; all sizes in bytes."""

    def start(self, step: str, total: int | None) -> None:
        """A step begins ("capture", "verify stored records"); ``total`` bytes or None."""

    def advance(self, count: int) -> None:
        """``count`` more bytes of the step are done."""

    def finish(self) -> None:
        """The step ended well."""

    def note(self, text: str) -> None:
        """One line worth telling ("partition 3: unknown filesystem, every sector captured")."""

    def warn(self, text: str) -> None:
        """One line that a person must see; kept for the result."""


class Silent:
    """A reporter that draws nothing; warnings are kept in ``warnings``."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def start(self, step: str, total: int | None) -> None:
        """Ignore."""

    def advance(self, count: int) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def warn(self, text: str) -> None:
        """Keep."""
        self.warnings.append(text)


@dataclass(slots=True)
class Meter:
    """Speed and time left of one step, smoothed; pure but for the clock it is given."""

    total: int | None
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    speed: float = 0.0
    _mark_time: float = 0.0
    _mark_done: int = 0

    def __post_init__(self) -> None:
        self._mark_time = self.started

    def advance(self, count: int, now: float) -> None:
        """Count ``count`` more bytes at time ``now`` (monotonic seconds)."""
        self.done += count
        span = now - self._mark_time
        if span >= 0.5:
            latest = (self.done - self._mark_done) / span
            self.speed = latest if self.speed == 0 else 0.7 * self.speed + 0.3 * latest
            self._mark_time, self._mark_done = now, self.done

    def seconds_left(self) -> float | None:
        """Estimate, or None while nothing is known."""
        if self.total is None or self.speed <= 0:
            return None
        return max(0.0, (self.total - self.done) / self.speed)
