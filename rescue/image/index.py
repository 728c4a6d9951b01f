"""The index: where each chunk lies. 48 bytes a chunk, in columns, so that loading is a copy.

docs/format.md, "Index". An index record holds the entries of the chunks written since the one
before it; together, in order, they are the index of the image. Content, little-endian::

    u32             count (at most 65,536)
    count * u32     chunk numbers, ascending
    count * u32     where: stored length (bits 0-21), coding (22-23), layer (24-31)
    count * u64     position of the record in the stream of that layer
    count * 32      BLAKE3-256 of the chunk's content
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from rescue.core.errors import ImageDamaged
from rescue.image.record import MAX_CHUNK_STORED

MAX_ENTRIES = 65_536
ENTRY_SIZE = 48
_LENGTH_BITS = 22
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("the index is read by copying little-endian columns")


class Where(IntEnum):
    """How an entry's chunk is kept (two bits of an entry)."""

    STORED = 0
    ZSTD = 1
    DELTA = 2
    ZERO = 3


def kind_of(where: int) -> Where:
    """How a chunk is kept, from the packed column."""
    return Where(where >> _LENGTH_BITS & 3)


_ALL_ZEROS = Where.ZERO << _LENGTH_BITS


def _is_possible(where: int) -> bool:
    """Whether a packed column entry is one that this version writes."""
    stored, kind = where & _LENGTH_MASK, where >> _LENGTH_BITS & 3
    if kind == Where.ZERO:
        return where == _ALL_ZEROS
    return 0 < stored <= MAX_CHUNK_STORED


@dataclass(frozen=True, slots=True)
class Entry:
    """One chunk: its number, where its record lies, and the BLAKE3 of its content."""

    number: int
    where: Where
    stored: int
    layer: int
    position: int
    digest: bytes


def pack(entry: Entry) -> int:
    """The packed column of an entry: stored length, kind and layer."""
    return entry.stored | entry.where << _LENGTH_BITS | entry.layer << 24


def unpack(number: int, where: int, position: int, digest: bytes) -> Entry:
    """An entry from its columns."""
    return Entry(number, kind_of(where), where & _LENGTH_MASK, where >> 24, position, digest)


class Index:
    """Entries in columns, ascending by chunk number. Grows at its end only."""

    __slots__ = ("digests", "numbers", "positions", "wheres")

    def __init__(self) -> None:
        self.numbers: array[int] = array("I")
        self.wheres: array[int] = array("I")
        self.positions: array[int] = array("Q")
        self.digests = bytearray()

    def __len__(self) -> int:
        return len(self.numbers)

    def append(self, entry: Entry) -> None:
        """Add an entry; its number is above all numbers so far."""
        assert not self.numbers or entry.number > self.numbers[-1]
        self.numbers.append(entry.number)
        self.wheres.append(pack(entry))
        self.positions.append(entry.position)
        self.digests += entry.digest

    def entry(self, i: int) -> Entry:
        """The entry at place ``i`` (not: of chunk number ``i``)."""
        digest = bytes(self.digests[32 * i : 32 * i + 32])
        return unpack(self.numbers[i], self.wheres[i], self.positions[i], digest)

    def find(self, number: int) -> Entry | None:
        """The entry of chunk ``number``; None where nothing is allocated in it."""
        i = bisect_left(self.numbers, number)
        if i == len(self.numbers) or self.numbers[i] != number:
            return None
        return self.entry(i)

    def between(self, first: int, behind: int) -> range:
        """Places of the entries whose chunk number is in ``[first, behind)``."""
        return range(bisect_left(self.numbers, first), bisect_left(self.numbers, behind))

    def entries(self) -> Iterator[Entry]:
        """All entries, ascending."""
        return (self.entry(i) for i in range(len(self)))

    def encode(self, first: int, behind: int) -> bytes:
        """Content of an index record with the entries at places ``[first, behind)``."""
        return b"".join(
            (
                struct.pack("<I", behind - first),
                self.numbers[first:behind].tobytes(),
                self.wheres[first:behind].tobytes(),
                self.positions[first:behind].tobytes(),
                self.digests[32 * first : 32 * behind],
            )
        )

    def extend(self, content: bytes, *, chunks: int, layers: int = 1) -> None:
        """Take in the content of the next index record.

        Args:
            chunks: how many chunks the disk has; no number may reach it.
            layers: how many images the chain has, this one included; no layer may reach it.

        Raises:
            ImageDamaged: the content is not one that a writer writes.
        """
        if len(content) < 4:
            raise ImageDamaged("an index record is cut short")
        (count,) = struct.unpack_from("<I", content)
        if not 0 < count <= MAX_ENTRIES or len(content) != 4 + ENTRY_SIZE * count:
            raise ImageDamaged("an index record has the wrong length")
        numbers, wheres, positions = array("I"), array("I"), array("Q")
        numbers.frombytes(content[4 : 4 + 4 * count])
        wheres.frombytes(content[4 + 4 * count : 4 + 8 * count])
        positions.frombytes(content[4 + 8 * count : 4 + 16 * count])
        last = self.numbers[-1] if self.numbers else -1
        ascending = numbers[0] > last and all(map(int.__lt__, numbers[:-1], numbers[1:]))
        if not ascending or numbers[-1] >= chunks:
            raise ImageDamaged("the index is not in order")
        seen = set(wheres)
        if not all(map(_is_possible, seen)) or max(seen) >> 24 >= layers:
            raise ImageDamaged("the index holds an entry that no writer writes")
        if _ALL_ZEROS in wheres and any(
            position and where == _ALL_ZEROS
            for where, position in zip(wheres, positions, strict=True)
        ):
            raise ImageDamaged("the index gives a place to a chunk of zeros")
        self.numbers += numbers
        self.wheres += wheres
        self.positions += positions
        self.digests += content[4 + 16 * count :]


def build(entries: Iterable[Entry]) -> Index:
    """An index of these entries."""
    index = Index()
    for entry in entries:
        index.append(entry)
    return index
