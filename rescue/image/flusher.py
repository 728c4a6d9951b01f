"""Flushing what was appended while the next is compressed.

A flush can take seconds. Nobody needs its end at once but the footer: a checkpoint is only believed
when every record before it is whole. What is on its way to the disk is bounded, so that a slow
destination is felt as it goes and not all at the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

STEP = 64 << 20  # bytes appended after which a flush is started
BEHIND = 4 * STEP  # bytes that may be on their way before the appender waits


class Flusher:
    """Flushes one file at a time in a thread of its own. All methods are for one other thread.

    An error is kept and raised by the next call: the kernel tells about a failed write-back once
    for each open file, and whoever flushes again hears of success.
    """

    def __init__(self, flush: Callable[[int], None] = os.fdatasync) -> None:
        """Nothing is started before the first ``start``."""
        self._flush = flush
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        self._begun = 0
        self._ended = 0

    def due(self, position: int) -> bool:
        """Whether so much was appended since the last flush began that another should."""
        return position - self._begun >= STEP

    def start(self, fd: int, position: int) -> None:
        """Start to flush what lies before ``position``; waits only when too much is on its way.

        Raises:
            OSError: this flush could not be started, or an earlier one failed.
        """
        if self._thread is not None and self._thread.is_alive():
            if position - self._ended < BEHIND:
                return
            self._thread.join()
        self._settle()
        self._begun = position
        self._thread = threading.Thread(target=self._run, args=(fd,), name="flush", daemon=True)
        self._thread.start()

    def _run(self, fd: int) -> None:
        try:
            self._flush(fd)
        except OSError as error:
            self._error = error

    def _settle(self) -> None:
        """The last flush has ended: what became of it."""
        self._thread = None
        if self._error is not None:
            raise self._error
        self._ended = self._begun

    def wait(self) -> None:
        """Wait for the flush that runs.

        Raises:
            OSError: it failed, or an earlier one did.
        """
        if self._thread is not None:
            self._thread.join()
        self._settle()

    def stop(self) -> None:
        """Wait for the flush that runs, whatever becomes of it: its file can be closed then."""
        if self._thread is not None:
            self._thread.join()
