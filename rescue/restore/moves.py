"""Which bytes of the source go where on the target: runs with a shift each. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from rescue.core.extent import ExtentMap

Piece = tuple[int, int, int]
"""Start and end on the source, and start on the target."""


class Moves:
    """Sorted, disjoint runs of source bytes, each with its place on the target. Never changed.

    A run for every partition and a few for each rebuilt FAT: machine words, because a FAT whose
    end was full of files has one for every run of clusters.
    """

    __slots__ = ("ends", "starts", "targets")

    def __init__(self, copies: Iterable[tuple[int, int, int]]) -> None:
        """Take (source, length, target) in any order; they must not overlap on the source."""
        listed = sorted(copy for copy in copies if copy[1] > 0)
        self.starts = array("Q", [source for source, _, _ in listed])
        self.ends = array("Q", [source + length for source, length, _ in listed])
        self.targets = array("Q", [target for _, _, target in listed])
        if any(end > start for end, start in zip(self.ends, self.starts[1:], strict=False)):
            raise ValueError("two moves take the same bytes")

    @property
    def sources(self) -> ExtentMap:
        """The bytes of the source that go anywhere."""
        return ExtentMap.of(zip(self.starts, self.ends, strict=True))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(source, length, target) of every run."""
        for start, end, target in zip(self.starts, self.ends, self.targets, strict=True):
            yield start, end - start, target

    def cut(self, low: int, high: int) -> Iterator[Piece]:
        """The pieces of ``[low, high)`` that go anywhere, in the order of the source."""
        i = max(0, bisect_right(self.starts, low) - 1)
        while i < len(self.starts) and self.starts[i] < high:
            start, end = max(low, self.starts[i]), min(high, self.ends[i])
            if start < end:
                yield start, end, self.targets[i] + start - self.starts[i]
            i += 1


def unmoved(size: int) -> Moves:
    """Everything stays where it was."""
    return Moves([(0, size, 0)])
