"""The log of QEMU's ``blklogwrites``: what a guest wrote, and when it asked for it to be kept.

The format is that of the kernel's dm-log-writes: a superblock, then for each request one sector
that says what it is, and behind it what was written.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAGIC = 0x6A736677736872
_SUPER = struct.Struct("<QQQI")  # magic, version, number of entries, sector
_ENTRY = struct.Struct("<QQQQ")  # first sector, sectors, flags, bytes of data
_FLUSH, _FUA, _DISCARD = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at a place; ``data`` empty and ``zeros`` set: that many bytes were discarded."""

    offset: int
    data: bytes
    zeros: int = 0

    @property
    def content(self) -> bytes:
        """What the disk holds there afterwards."""
        return self.data or bytes(self.zeros)


@dataclass(frozen=True, slots=True)
class Interval:
    """What was written between two flushes, in the order of the requests."""

    writes: tuple[Write, ...]


def read(path: Path) -> list[Interval]:
    """The intervals of a log; what is behind the last flush is the last one.

    Raises:
        ValueError: it is no such log.
    """
    found: list[Interval] = []
    waiting: list[Write] = []
    for write, flags in _entries(path):
        if flags & _FLUSH:
            found.append(Interval(tuple(waiting)))
            waiting = []
        if write is not None:
            waiting.append(write)
        if flags & _FUA:
            # Kept by itself; taking all before it as kept would hide reorderings, so nothing is.
            continue
    return [*found, Interval(tuple(waiting))]


def _entries(path: Path) -> Iterator[tuple[Write | None, int]]:
    with path.open("rb") as file:
        magic, version, count, sector = _SUPER.unpack(file.read(_SUPER.size))
        if magic != _MAGIC or version != 1 or sector not in (512, 4096):
            raise ValueError(f"{path} is no log of writes")
        at = sector
        for _ in range(count):
            file.seek(at)
            raw = file.read(_ENTRY.size)
            if len(raw) < _ENTRY.size:
                return
            first, sectors, flags, _ = _ENTRY.unpack(raw)
            at += sector
            if flags & _DISCARD:
                yield Write(first * sector, b"", sectors * sector), flags
                continue
            if not sectors:
                yield None, flags
                continue
            file.seek(at)
            yield Write(first * sector, file.read(sectors * sector)), flags
            at += sectors * sector


def torn(interval: Interval, rng: random.Random, sector: int = 512) -> Sequence[Write]:
    """What of an interval may have reached a disk that lost its power: some writes, in any order,
    of some only the first sectors."""
    chosen = [write for write in interval.writes if rng.random() < rng.choice((0.1, 0.5, 0.9))]
    rng.shuffle(chosen)
    result = []
    for write in chosen:
        content = write.content
        if rng.random() < 0.3 and len(content) > sector:
            content = content[: rng.randrange(1, len(content) // sector) * sector]
        result.append(Write(write.offset, content))
    return result
