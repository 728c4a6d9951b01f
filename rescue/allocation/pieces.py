"""Volumes that lie in another one: pieces of the inner one, each somewhere on the outer one.

A logical volume, an opened LUKS or BitLocker container and a mirrored array are all the same here:
runs of bytes that stand elsewhere under other numbers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rescue.allocation.model import VolumeMap
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import format_size


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` bytes that the inner volume has at ``inner`` and the outer one at ``outer``."""

    inner: int
    length: int
    outer: int

    @property
    def extent(self) -> Extent:
        """Where it lies on the outer volume."""
        return Extent(self.outer, self.length)


def shifted(pieces: Iterable[Piece], offset: int) -> tuple[Piece, ...]:
    """The same pieces where the outer volume itself lies ``offset`` bytes further on."""
    return tuple(Piece(p.inner, p.length, p.outer + offset) for p in pieces)


def fault(pieces: Sequence[Piece], size: int, room: Extent) -> str:
    """Why these pieces are not exactly ``size`` bytes that lie apart inside ``room``; or empty."""
    reached = 0
    for piece in sorted(pieces, key=lambda p: p.inner):
        if piece.length <= 0 or piece.inner < reached:
            return "two of its pieces are the same"
        reached = piece.inner + piece.length
        if piece.outer < room.start or piece.extent.end > room.end:
            return "a piece of it lies outside"
    if reached > size:
        return "its pieces are longer than it is"
    last = -1
    for piece in sorted(pieces, key=lambda p: p.outer):
        if piece.outer < last:
            return "two of its pieces lie at the same place"
        last = piece.extent.end
    return ""


def complete(pieces: Sequence[Piece], size: int) -> bool:
    """Whether every byte of the inner volume stands in a piece."""
    return sum(piece.length for piece in pieces) == size


def outward(inside: ExtentMap, pieces: Iterable[Piece], unit: int = 1) -> ExtentMap:
    """Places on the outer volume of bytes of the inner one.

    Args:
        unit: bytes that only have a meaning together (a sector of encryption): what holds one
            byte of a unit, counted from its piece's start, holds all of it.
    """
    result = ExtentMap()
    for piece in sorted(pieces, key=lambda p: p.outer):
        part = inside.part(piece.inner, piece.inner + piece.length).shifted(-piece.inner)
        if unit > 1:
            part = ExtentMap.of(
                (_down(start, unit), min(piece.length, _up(end, unit)))
                for start, end in part.pairs()
            )
        result = result.followed_by(part.shifted(piece.outer))
    return result


def _down(number: int, unit: int) -> int:
    return number // unit * unit


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


@dataclass(frozen=True, slots=True)
class Inside:
    """A volume that was found inside another one.

    Attributes:
        name: of a logical volume; empty where there is only one.
        size: bytes of the inner volume.
        found: its map, with places on the outer volume.
    """

    name: str
    size: int
    found: VolumeMap


def told(one: Inside) -> tuple[str, ...]:
    """Lines about an inner volume: what is in it and how much of it, then its own notes."""
    name = f"{one.name}: " if one.name else ""
    if one.found.method in ("whole", "swap", "stack"):
        return tuple(f"{name}{note}" for note in one.found.notes)
    used, size = format_size(one.found.allocated.total), format_size(one.size)
    return tuple(
        f"{name}{line}" for line in (f"{one.found.fs}, {used} of {size}", *one.found.notes)
    )
