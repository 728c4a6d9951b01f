"""Extents: which bytes. Start and length in bytes everywhere; sectors only at the edge.

An ``ExtentMap`` holds sorted, disjoint, non-touching extents in two ``array('Q')``: a fragmented
terabyte has millions of extents, and two machine words each is what keeps memory bounded.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """``length`` bytes from ``start``."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.start + self.length

    def contains(self, offset: int) -> bool:
        """Whether the byte at ``offset`` lies inside."""
        return self.start <= offset < self.end


class ExtentMap:
    """A set of bytes: sorted, disjoint extents. Never changed; operations return new ones."""

    __slots__ = ("ends", "starts")

    def __init__(self, starts: array[int] | None = None, ends: array[int] | None = None) -> None:
        """Take two arrays that are already sorted, disjoint and not touching."""
        self.starts: array[int] = starts if starts is not None else array("Q")
        self.ends: array[int] = ends if ends is not None else array("Q")

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> ExtentMap:
        """From (start, end) pairs in any order; overlapping and touching ones are joined."""
        starts, ends = array("Q"), array("Q")
        last = -1
        for start, end in sorted(pairs):
            if end <= start:
                continue
            if start <= last:
                if end > last:
                    ends[-1] = last = end
            else:
                starts.append(start)
                ends.append(end)
                last = end
        return cls(starts, ends)

    @classmethod
    def single(cls, start: int, length: int) -> ExtentMap:
        """One extent, or none when ``length`` is 0."""
        return cls.of([(start, start + length)])

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Extent]:
        for start, end in self.pairs():
            yield Extent(start, end - start)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExtentMap):
            return NotImplemented
        return self.starts == other.starts and self.ends == other.ends

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ExtentMap({list(self.pairs())[:8]}{'…' if len(self) > 8 else ''})"

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(start, end) of each extent, in order."""
        return zip(self.starts, self.ends, strict=True)

    @property
    def total(self) -> int:
        """Bytes in the set."""
        return sum(self.ends) - sum(self.starts)

    def contains(self, offset: int) -> bool:
        """Whether the byte at ``offset`` is in the set."""
        i = bisect_right(self.starts, offset) - 1
        return i >= 0 and offset < self.ends[i]

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of the set inside ``[start, end)``, as (start, end) pairs."""
        first = bisect_right(self.ends, start)
        last = bisect_left(self.starts, end)
        return [(max(start, self.starts[i]), min(end, self.ends[i])) for i in range(first, last)]

    def part(self, start: int, end: int) -> ExtentMap:
        """The same as ``within``, as a set."""
        first = bisect_right(self.ends, start)
        last = bisect_left(self.starts, end)
        starts, ends = self.starts[first:last], self.ends[first:last]
        if starts:
            starts[0], ends[-1] = max(start, starts[0]), min(end, ends[-1])
        return ExtentMap(starts, ends)

    def followed_by(self, other: ExtentMap) -> ExtentMap:
        """The union with a set that begins where this one ends, or behind it."""
        if not self or not other:
            return self or other
        if other.starts[0] < self.ends[-1]:
            raise ValueError("the sets overlap")
        if other.starts[0] > self.ends[-1]:
            return ExtentMap(self.starts + other.starts, self.ends + other.ends)
        return ExtentMap(self.starts + other.starts[1:], self.ends[:-1] + other.ends)

    def union(self, other: ExtentMap) -> ExtentMap:
        """Bytes in either."""
        if not other:
            return self
        if not self:
            return other
        if self.ends[-1] < other.starts[0]:
            return ExtentMap(self.starts + other.starts, self.ends + other.ends)
        return ExtentMap.of([*self.pairs(), *other.pairs()])

    def intersection(self, other: ExtentMap) -> ExtentMap:
        """Bytes in both."""
        starts, ends = array("Q"), array("Q")
        i = j = 0
        while i < len(self.starts) and j < len(other.starts):
            start = max(self.starts[i], other.starts[j])
            end = min(self.ends[i], other.ends[j])
            if start < end:
                starts.append(start)
                ends.append(end)
            if self.ends[i] < other.ends[j]:
                i += 1
            else:
                j += 1
        return ExtentMap(starts, ends)

    def complement(self, start: int, end: int) -> ExtentMap:
        """Bytes of ``[start, end)`` that are not in the set."""
        starts, ends = array("Q"), array("Q")
        at = start
        for low, high in self.within(start, end):
            if low > at:
                starts.append(at)
                ends.append(low)
            at = high
        if at < end:
            starts.append(at)
            ends.append(end)
        return ExtentMap(starts, ends)

    def difference(self, other: ExtentMap) -> ExtentMap:
        """Bytes of this set that are not in ``other``."""
        if not self or not other:
            return self
        return self.intersection(other.complement(self.starts[0], self.ends[-1]))

    def shifted(self, offset: int) -> ExtentMap:
        """The same set, ``offset`` bytes further on."""
        return ExtentMap(
            array("Q", [s + offset for s in self.starts]),
            array("Q", [e + offset for e in self.ends]),
        )

    def numbers(self, unit: int) -> Iterator[int]:
        """Numbers of the ``unit``-sized windows that hold a byte of it, ascending, once each."""
        following = 0
        for start, end in self.pairs():
            first, behind = max(following, start // unit), -(-end // unit)
            yield from range(first, behind)
            following = max(following, behind)


def joined(pieces: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Ascending (start, end) pairs, those with less than ``gap`` bytes between them made one."""
    if len(pieces) < 2:
        return pieces
    result = [pieces[0]]
    for start, end in pieces[1:]:
        if start - result[-1][1] < gap:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result
