"""Extents as sets of bytes: every operation agrees with Python's own sets."""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.core.extent import Extent, ExtentMap

LIMIT = 60
PAIRS = st.lists(
    st.tuples(st.integers(0, LIMIT), st.integers(0, LIMIT)).map(lambda p: (min(p), max(p))),
    max_size=8,
)


def bytes_of(extents: ExtentMap) -> set[int]:
    """The set that a map stands for."""
    return {n for start, end in extents.pairs() for n in range(start, end)}


def plain(pairs: list[tuple[int, int]]) -> set[int]:
    """The same from pairs."""
    return {n for start, end in pairs for n in range(start, end)}


@given(PAIRS)
def test_of_joins_and_sorts(pairs: list[tuple[int, int]]) -> None:
    made = ExtentMap.of(pairs)
    assert bytes_of(made) == plain(pairs)
    assert made.total == len(plain(pairs))
    ordered = list(made.pairs())
    assert all(start < end for start, end in ordered)
    assert all(a[1] < b[0] for a, b in pairwise(ordered)), "they touch"


@given(PAIRS, PAIRS)
def test_operations_are_those_of_sets(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    a, b = ExtentMap.of(left), ExtentMap.of(right)
    assert bytes_of(a.union(b)) == plain(left) | plain(right)
    assert bytes_of(a.intersection(b)) == plain(left) & plain(right)
    assert bytes_of(a.difference(b)) == plain(left) - plain(right)
    assert bytes_of(a.complement(5, 50)) == set(range(5, 50)) - plain(left)


@given(PAIRS, st.integers(0, LIMIT), st.integers(0, LIMIT))
def test_within_and_contains(pairs: list[tuple[int, int]], one: int, two: int) -> None:
    made = ExtentMap.of(pairs)
    low, high = min(one, two), max(one, two)
    assert plain(made.within(low, high)) == plain(pairs) & set(range(low, high))
    assert made.contains(one) == (one in plain(pairs))


@given(PAIRS, st.integers(1, 17))
def test_numbers_of_windows(pairs: list[tuple[int, int]], unit: int) -> None:
    assert list(ExtentMap.of(pairs).numbers(unit)) == sorted({n // unit for n in plain(pairs)})


@given(PAIRS, st.integers(0, 1000))
def test_shifted(pairs: list[tuple[int, int]], offset: int) -> None:
    assert bytes_of(ExtentMap.of(pairs).shifted(offset)) == {n + offset for n in plain(pairs)}


def test_single_and_empty() -> None:
    assert len(ExtentMap.single(7, 0)) == 0
    assert list(ExtentMap.single(7, 3)) == [Extent(7, 3)]
    assert not ExtentMap()
    assert ExtentMap().total == 0
    assert ExtentMap.single(0, 4).difference(ExtentMap()) == ExtentMap.single(0, 4)


def test_extent_edges() -> None:
    extent = Extent(10, 5)
    assert extent.end == 15
    assert extent.contains(10)
    assert not extent.contains(15)


def test_places_beyond_any_disk_of_today_fit() -> None:
    far = ExtentMap.single(1 << 62, 1 << 20)
    assert far.total == 1 << 20
    assert isinstance(far.starts, array)
    with pytest.raises(OverflowError):
        ExtentMap.single((1 << 64) - 1, 2)
