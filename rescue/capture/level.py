"""The compression level: fixed, or chosen while it runs so that nothing waits for long.

``auto``: when the destination is busy most of the time, the processors have time to spare and the
level rises; when the processors are what everything waits for, it falls.
"""

from __future__ import annotations

from dataclasses import dataclass

LOWEST, HIGHEST = 1, 12  # beyond 12 zstd gains little and needs much memory
_BUSY, _IDLE = 0.6, 0.3
_SECONDS = 1.0


@dataclass(slots=True)
class Level:
    """The level that workers read for each chunk."""

    value: int
    auto: bool = False
    _since: float = 0.0
    _writing: float = 0.0

    def update(self, now: float, seconds_writing: float) -> None:
        """Look at the last second.

        Args:
            now: monotonic seconds.
            seconds_writing: spent in writing to the destination since the start.
        """
        if not self.auto or now - self._since < _SECONDS:
            return
        if self._since:
            share = (seconds_writing - self._writing) / (now - self._since)
            if share > _BUSY:
                self.value = min(HIGHEST, self.value + 1)
            elif share < _IDLE:
                self.value = max(LOWEST, self.value - 1)
        self._since, self._writing = now, seconds_writing
