"""Places of an inner volume on the outer one."""

from __future__ import annotations

import random

import pytest

from rescue.allocation.pieces import Piece, complete, fault, outward, shifted
from rescue.core.extent import Extent, ExtentMap

TURNED = (Piece(0, 100, 500), Piece(100, 50, 200), Piece(150, 50, 250))
ROOM = Extent(100, 600)


def test_pieces_in_another_order() -> None:
    inside = ExtentMap.of([(90, 110), (140, 160), (199, 200)])
    wanted = ExtentMap.of([(590, 600), (200, 210), (240, 250), (250, 260), (299, 300)])
    assert outward(inside, TURNED) == wanted
    assert outward(ExtentMap(), TURNED) == ExtentMap()
    assert shifted(TURNED, 7)[1] == Piece(100, 50, 207)


def test_every_byte_stands_where_its_piece_says() -> None:
    dice = random.Random(5)
    for _ in range(200):
        lengths = [dice.randrange(1, 60) for _ in range(dice.randrange(1, 7))]
        places, at = [], 0
        for length in lengths:
            at += dice.randrange(0, 9)
            places.append(at)
            at += length
        inner, pieces = 0, []
        order = list(range(len(lengths)))
        dice.shuffle(order)
        for i in order:
            pieces.append(Piece(inner, lengths[i], places[i]))
            inner += lengths[i]
        assert fault(pieces, inner, Extent(0, at)) == ""
        assert complete(pieces, inner)
        used = {n for n in range(inner) if dice.random() < 0.5}
        inside = ExtentMap.of((n, n + 1) for n in used)
        found = outward(inside, pieces)
        wanted = {p.outer + n - p.inner for n in used for p in pieces if n in _bytes(p)}
        assert {n for start, end in found.pairs() for n in range(start, end)} == wanted


def _bytes(piece: Piece) -> range:
    return range(piece.inner, piece.inner + piece.length)


def test_a_sector_of_encryption_is_kept_whole() -> None:
    """Half of one cannot be decrypted; they are counted from where the piece begins."""
    pieces = (Piece(0, 4096 * 3, 1000), Piece(4096 * 3, 6000, 50_000))
    inside = ExtentMap.of([(512, 1024), (8191, 8193), (4096 * 3 + 5000, 4096 * 3 + 5001)])
    wanted = ExtentMap.of([(1000, 1000 + 12288), (50_000 + 4096, 50_000 + 6000)])
    assert outward(inside, pieces, 4096) == wanted


@pytest.mark.parametrize(
    ("pieces", "size", "why"),
    [
        ([Piece(0, 10, 90)], 10, "outside"),
        ([Piece(0, 10, 695)], 10, "outside"),
        ([Piece(0, 10, 100), Piece(5, 10, 200)], 20, "the same"),
        ([Piece(0, 0, 100)], 0, "the same"),
        ([Piece(0, 10, 100), Piece(10, 10, 105)], 20, "same place"),
        ([Piece(0, 10, 100)], 5, "longer"),
    ],
)
def test_what_cannot_be_is_told(pieces: list[Piece], size: int, why: str) -> None:
    assert why in fault(pieces, size, ROOM)


def test_a_volume_that_is_not_all_here() -> None:
    assert fault([Piece(0, 10, 100)], 20, ROOM) == ""
    assert not complete([Piece(0, 10, 100)], 20)
