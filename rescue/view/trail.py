"""What a reader in sequence leaves behind in the kernel's memory, and when it may go.

The kernel keeps every page that is read through a view. Of a long read in sequence nobody asks
again, and keeping it costs: new pages have to be found for each mebibyte (on a full machine by
giving up those of other files, on a virtual one by asking its host), and on rescue media memory is
all there is. Pages that are given back behind the reader are the next ones it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rescue.core.extent import Extent

KEPT = 16 << 20
"""Bytes that stay behind a reader in sequence, for whoever goes back a little."""

STEP = 8 << 20
"""Bytes that are let go of at once."""

_JITTER = 8 << 20  # requests of one reader arrive in any order, this far apart at most
_LEAP = 1 << 30  # a reader of data skips holes; one at random mostly leaps farther, or back


@dataclass(slots=True)
class _Run:
    """A read in sequence of one file: where what is still kept of it begins and ends."""

    start: int
    end: int
    read: int = 0


@dataclass(slots=True)
class Trail:
    """Follows the readers of all files of a view. Not safe from several threads.

    One reader a file: two that read the same file at different places look like one at random,
    whose pages all stay.
    """

    _runs: dict[int, _Run] = field(default_factory=dict)

    def read(self, node: int, offset: int, length: int) -> Extent | None:
        """Take note of a read of file ``node``; returns what may be let go of, in bytes of it."""
        end = offset + length
        run = self._runs.get(node)
        if run is None or not -_JITTER <= offset - run.end <= _LEAP:
            self._runs[node] = _Run(offset, end, length)
            return None
        run.end = max(run.end, end)
        run.read += length
        if run.read < KEPT + STEP or run.end - KEPT <= run.start:
            return None
        gone = Extent(run.start, run.end - KEPT - run.start)
        run.start, run.read = gone.end, KEPT
        return gone
