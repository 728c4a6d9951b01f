"""What the workers of a restore do: read, decode, check and write chunks; or read them back.

No chunk is written whose content does not hash to what was captured. Where the target may hold the
right bytes already, it is read first, and only what differs is written. What was written is read
back from the disk and compared by the same hash.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rescue.core import direct
from rescue.core.errors import DiskTrouble, ImageDamaged, from_os_error
from rescue.core.extent import Extent
from rescue.devices.target import SafeTarget
from rescue.image.header import CHUNK_SIZE
from rescue.image.index import Entry, Where
from rescue.image.reader import Image
from rescue.image.record import HEADER_SIZE
from rescue.restore.moves import Moves, Piece
from rescue.restore.plan import RestorePlan

_BATCH = 4 << 20  # stored bytes a worker reads at once
# Free space shorter than this between two used pieces is written as zeros with them.
_JOIN = 64 << 10
# When only what differs is written: in steps of this, so that a changed page costs little.
_STEP = 64 << 10

Read = Callable[[memoryview, int], int]
"""Fills some of the room with the target's bytes from an offset; how many it was."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker did with a batch.

    Attributes:
        covered: captured bytes that the batch stands for.
        written: bytes that were written.
        damaged: entries that were not written, and why.
        differing: entries whose bytes on the target are not those of the image.
        behind: every chunk of the batch lies below this number.
        touched: when only what differs is written: numbers of the chunks that did.
    """

    covered: int
    written: int
    damaged: tuple[tuple[Entry, str], ...]
    differing: tuple[Extent, ...] = ()
    behind: int = 0
    touched: tuple[int, ...] = ()


def entries_of(plan: RestorePlan, image: Image) -> Iterator[Entry]:
    """Entries of the chunks that the plan writes to, in disk order."""
    if plan.whole and plan.arrangement is None:
        yield from image.index.entries()
        return
    for number in plan.written.numbers(CHUNK_SIZE):
        entry = image.index.find(number)
        if entry is None:
            raise ImageDamaged(
                f"the index lists no chunk {number}, and the map says it was captured"
            )
        yield entry


def batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Neighbouring records together, so that they are read at once."""
    batch: list[Entry] = []
    size = end = layer = 0
    for entry in entries:
        length = HEADER_SIZE + entry.stored if entry.stored else 0
        far = length and end and (entry.layer, entry.position) != (layer, end)
        if batch and (far or size + length > _BATCH or len(batch) >= 64):
            yield batch
            batch, size, end = [], 0, 0
        batch.append(entry)
        size += length
        if length:
            layer, end = entry.layer, entry.position + length
    if batch:
        yield batch


class Workers:
    """Shared by all threads, changed by none."""

    def __init__(
        self, plan: RestorePlan, moves: Moves, image: Image, target: SafeTarget, *, compare: bool
    ) -> None:
        self._written = plan.written
        self._moves = moves
        # Outside chosen partitions nothing is written, not even zeros into what looks free; and
        # what is free on the source may be where a cluster of a rebuilt FAT goes.
        rebuilt = any(resize.means == "rebuild" for resize in plan.resizes)
        self._join = 0 if plan.chosen or compare or rebuilt else _JOIN
        self._image = image
        self._target = target
        self._compare = compare
        # A plain file is what its filesystem says it is; a disk is what it gives back itself.
        io = target.io
        self._look: Read = io.read if _is_block(target.fd) else io.read_known
        self._local = threading.local()

    def write(self, entries: list[Entry]) -> Done:
        """Read, check and write these chunks."""
        if self._compare:
            return self._write_differing(entries)
        stored = [entry for entry in entries if entry.stored]
        data = memoryview(b"")
        first = 0
        if stored:
            first = stored[0].position
            end = stored[-1].position + HEADER_SIZE + stored[-1].stored
            parts = self._image.chain[stored[0].layer].parts
            data = memoryview(parts.pread(first, end - first))
        total = wrote = 0
        damaged: list[tuple[Entry, str]] = []
        for entry in entries:
            try:
                if entry.where is Where.ZERO:
                    content = self._image.zeros(entry)
                else:
                    at = entry.position - first
                    piece = data[at : at + HEADER_SIZE + entry.stored]
                    content = self._image.decode(entry, piece)
            except ImageDamaged as error:
                damaged.append((entry, error.message))
                continue
            pieces = self._pieces(entry)
            total += sum(high - low for low, high, _ in pieces)
            if entry.where is Where.ZERO and self._target.created:
                continue  # a new sparse file is zeros already
            view = memoryview(content)
            start = entry.number * CHUNK_SIZE
            for low, high, to in _joined(pieces, self._join):
                pwrite(self._target, view[low - start : high - start], to)
                wrote += high - low
        return Done(total, wrote, tuple(damaged), (), entries[-1].number + 1)

    def _write_differing(self, entries: list[Entry]) -> Done:
        """Read the target first; decode and write only what is not there already."""
        total = wrote = 0
        touched: list[int] = []
        damaged: list[tuple[Entry, str]] = []
        for entry in entries:
            pieces = self._pieces(entry)
            total += sum(high - low for low, high, _ in pieces)
            found = self._gather(entry, pieces, self._look)
            if self._is_whole(entry, pieces) and self._image.namer(found) == entry.digest:
                continue
            try:
                content = self._image.chunk(entry)
            except ImageDamaged as error:
                damaged.append((entry, error.message))
                continue
            view = memoryview(content)
            touched.append(entry.number)
            start = entry.number * CHUNK_SIZE
            for low, high, to in pieces:
                for at in range(low, high, _STEP):
                    end = min(high, at + _STEP)
                    new = view[at - start : end - start]
                    if bytes(new) != bytes(found[at - start : end - start]):
                        pwrite(self._target, new, to + at - low)
                        wrote += end - at
        behind = entries[-1].number + 1
        return Done(total, wrote, tuple(damaged), (), behind, tuple(touched))

    def read_back(self, entries: list[Entry]) -> Done:
        """Read what was written and compare it with the image."""
        total = 0
        differing: list[Extent] = []
        for entry in entries:
            pieces = self._pieces(entry)
            if not pieces:
                continue
            total += sum(high - low for low, high, _ in pieces)
            found = self._gather(entry, pieces, self._target.io.read)
            if self._is_whole(entry, pieces):
                same = self._image.namer(found) == entry.digest
            else:
                start = entry.number * CHUNK_SIZE
                content = self._image.chunk(entry)
                same = all(
                    bytes(found[low - start : high - start]) == content[low - start : high - start]
                    for low, high, _ in pieces
                )
            if not same:
                low, high, to = pieces[0][0], pieces[-1][1], pieces[0][2]
                differing.append(Extent(to, high - low))
        return Done(total, 0, (), tuple(differing), entries[-1].number + 1)

    def _pieces(self, entry: Entry) -> list[Piece]:
        """The captured bytes of a chunk that go anywhere, and where."""
        start = entry.number * CHUNK_SIZE
        end = start + self._image.content_length(entry.number)
        return [
            piece
            for low, high in self._written.within(start, end)
            for piece in self._moves.cut(low, high)
        ]

    def _is_whole(self, entry: Entry, pieces: list[Piece]) -> bool:
        """Whether the pieces are all that was captured of the chunk, so that its name tells."""
        start = entry.number * CHUNK_SIZE
        end = start + self._image.content_length(entry.number)
        captured = sum(high - low for low, high in self._image.captured.within(start, end))
        return captured == sum(high - low for low, high, _ in pieces)

    def _gather(self, entry: Entry, pieces: list[Piece], read: Read) -> memoryview:
        """The chunk as the target holds it: its pieces, and zeros where nothing was captured.

        It lies in memory that the next call of this thread uses again.
        """
        room: memoryview | None = getattr(self._local, "room", None)
        if room is None:
            room = self._local.room = direct.buffer()
        start = entry.number * CHUNK_SIZE
        view = room[: self._image.content_length(entry.number)]
        at = 0
        try:
            for low, high, to in pieces:
                view[at : low - start] = bytes(low - start - at)
                at = high - start
                _fill(read, view[low - start : at], to)
        except OSError as error:
            raise from_os_error(error, f"read {self._target.path}") from error
        view[at:] = bytes(len(view) - at)
        return view


def _fill(read: Read, view: memoryview, offset: int) -> None:
    while view:
        count = read(view, offset)
        if count == 0:
            raise OSError(errno.EIO, "it ended too early")
        view = view[count:]
        offset += count


def _joined(pieces: list[Piece], gap: int) -> list[Piece]:
    """Pieces with less than ``gap`` bytes between them on both disks made one."""
    if len(pieces) < 2:
        return pieces
    result = [pieces[0]]
    for low, high, to in pieces[1:]:
        first, end, place = result[-1]
        if low - end < gap and to - place == low - first:
            result[-1] = (first, high, place)
        else:
            result.append((low, high, to))
    return result


def pwrite(target: SafeTarget, data: bytes | memoryview, offset: int) -> None:
    """Write all of it.

    Raises:
        DiskTrouble: the target failed, or there is no room for a file.
    """
    view = memoryview(data)
    while view:
        try:
            count = target.io.write(view, offset)
        except OSError as error:
            if error.errno == errno.ENOSPC and _is_block(target.fd):
                # A disk that was pulled out has no size any more, so nothing fits on it.
                raise DiskTrouble(
                    f"the target is not there any more: it took nothing at byte {offset:,}",
                    hint="look at its cable; what was written so far is not a whole disk",
                ) from error
            if error.errno == errno.ENOSPC:
                raise DiskTrouble(
                    "no room left for the target file",
                    hint="make room; what was written so far is not a whole disk",
                ) from error
            raise from_os_error(error, "write the target") from error
        view = view[count:]
        offset += count


def _is_block(fd: int) -> bool:
    return stat.S_ISBLK(os.fstat(fd).st_mode)
