"""Which pages a reader leaves behind: those of a long read in sequence, and no others."""

from __future__ import annotations

import random
from itertools import pairwise

from rescue.view.trail import KEPT, STEP, Trail

MIB = 1 << 20


def test_behind_a_reader_in_sequence_a_bounded_part_stays() -> None:
    trail, kept_from = Trail(), 0
    for number in range(400):
        gone = trail.read(7, number * MIB, MIB)
        if gone is not None:
            assert gone.start == kept_from
            assert gone.length >= STEP
            kept_from = gone.end
        assert (number + 1) * MIB - kept_from < KEPT + 2 * STEP
    assert kept_from > 350 * MIB


def test_requests_in_any_order_are_still_one_reader() -> None:
    rng, trail = random.Random(1), Trail()
    numbers = sorted(range(400), key=lambda number: number + rng.uniform(0, 4))
    pieces = [gone for n in numbers if (gone := trail.read(1, n * MIB, MIB))]
    assert sum(piece.length for piece in pieces) > 350 * MIB
    for before, after in pairwise(pieces):
        assert before.end == after.start


def test_holes_are_leapt_over() -> None:
    trail = Trail()
    gone = [trail.read(1, n * 100 * MIB, MIB) for n in range(100)]
    assert any(gone)


def test_a_reader_at_random_keeps_its_pages() -> None:
    rng, trail = random.Random(2), Trail()
    size = 4 << 30
    assert not any(trail.read(1, rng.randrange(size), 128 << 10) for _ in range(2000))


def test_going_back_begins_again() -> None:
    trail = Trail()
    for _ in range(10):
        assert not any(trail.read(1, n * MIB, MIB) for n in range((KEPT + STEP) // MIB - 1))


def test_files_are_apart() -> None:
    trail = Trail()
    taken = [trail.read(n % 2, n * MIB, MIB) for n in range(200)]
    assert {number % 2 for number, gone in enumerate(taken) if gone} == {0, 1}
