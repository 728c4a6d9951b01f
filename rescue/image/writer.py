"""Writing an image: records appended in order, a checkpoint every few seconds, the footer last.

Nothing is ever overwritten. A capture that is killed leaves a stream without a footer, and that is
what "incomplete" means.
"""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

from rescue.core.extent import ExtentMap
from rescue.image import codec, extents, record
from rescue.image.container import Segment
from rescue.image.footer import Footer, Item, Outcome, encode_directory
from rescue.image.header import INCREMENTAL, SEALED, SPLIT, Header
from rescue.image.index import MAX_ENTRIES, Entry, Index, Where
from rescue.image.manifest import Manifest
from rescue.image.parts import PartWriter
from rescue.image.record import Coding, Type
from rescue.image.seal import Sealer

CHECKPOINT_SECONDS = 5.0
# Distinct contents remembered to find duplicates: 50 MiB of memory at the most. A chunk that comes
# again after more distinct ones than this is stored a second time.
MAX_SEEN = 1 << 18
MAX_TABLE = 1 << 20  # record lengths in one table record: 4 MiB


@dataclass(frozen=True, slots=True)
class Encoded:
    """One chunk, ready to be appended; made by a worker, in any order.

    ``head`` and ``payload`` are empty for a chunk of zeros and for one known to be stored already.
    """

    number: int
    content: int
    digest: bytes
    coding: Coding
    head: bytes
    payload: bytes

    @property
    def is_delta(self) -> bool:
        """Whether it is a difference from the parent's chunk, which nothing else may share."""
        return self.coding is Coding.DELTA


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished image: its outcome, root and size in bytes."""

    outcome: Outcome
    image_id: bytes
    root: bytes
    stored: int


@dataclass(frozen=True, slots=True, repr=False)
class Lock:
    """How an image is sealed: the master key of its chain, and its key slots as in the header."""

    master: bytes
    slots: bytes


@dataclass(frozen=True, slots=True)
class Parent:
    """The parent of an incremental image."""

    image_id: bytes
    root: bytes


@dataclass(slots=True)
class Unfinished:
    """What of an incomplete image is whole, up to its last checkpoint; made by ``scan``.

    Attributes:
        position: end of the last record that counts.
        totals: total length of each record up to there.
        items: those that are not chunks.
        ordinals: the next number of each type.
    """

    header: Header
    position: int
    index: Index
    totals: array[int]
    items: list[Item]
    ordinals: dict[Type, int]
    segment: int
    plan: bytes


class ImageWriter:
    """Writes one image. Not for several threads: workers encode, one thread appends.

    Attributes:
        seen: contents stored so far by name, and the place of their entry; others may only read it.
    """

    def __init__(
        self,
        path: Path,
        plan: bytes,
        *,
        capacity: int = 0,
        lock: Lock | None = None,
        parent: Parent | None = None,
    ) -> None:
        """Create the image file (0600) with its header, first segment and plan.

        Args:
            plan: JSON that a resumed capture compares with its own.
            capacity: bytes of the stream in each part, or 0 for one file.

        Raises:
            UsageError: the file exists.
            DiskTrouble: it cannot be created.
        """
        critical = (
            (SPLIT if capacity else 0) | (SEALED if lock else 0) | (INCREMENTAL if parent else 0)
        )
        header = Header(
            image_id=os.urandom(16), capacity=capacity, created=int(time.time()), critical=critical
        )
        if lock is not None:
            header = replace(header, slots=lock.slots)
        if parent is not None:
            header = replace(header, parent_id=parent.image_id, parent_root=parent.root)
        self._begin(path, header, PartWriter(path, header), lock)
        try:
            self._open_segment()
            self._record(Type.PLAN, plan)
            self._out.publish()
        except BaseException:
            self.close()
            raise

    @classmethod
    def resume(cls, path: Path, found: Unfinished, lock: Lock | None) -> ImageWriter:
        """Go on with an incomplete image behind its last checkpoint, in a new segment."""
        self = cls.__new__(cls)
        out = PartWriter.reopen(path, found.header, found.position)
        self._begin(path, found.header, out, lock)
        self.index = found.index
        self._indexed = len(found.index)
        self.seen = _contents(found.index)
        self._totals = found.totals
        self._items = found.items
        self._ordinals = found.ordinals
        self.segment = found.segment + 1
        try:
            self._open_segment()
            self._out.flush()
        except BaseException:
            self.close()
            raise
        return self

    def _begin(self, path: Path, header: Header, out: PartWriter, lock: Lock | None) -> None:
        self.path = path
        self.header = header
        self.image_id = header.image_id
        self.segment = 1
        self.index = Index()
        self.seen: dict[bytes, int] = {}
        self.sealer: Sealer | None = None
        self.seconds_writing = 0.0
        self.master = lock.master if lock else b""
        self._out = out
        self._indexed = 0
        self._totals = array("I")
        self._items: list[Item] = []
        self._ordinals: dict[Type, int] = {}
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS

    def _open_segment(self) -> None:
        """A new segment, under a key of its own when the image is sealed."""
        segment = Segment(int(time.time()), len(self.index))
        if self.master:
            self.sealer = Sealer(self.master, self.image_id, self.segment)
            segment = replace(segment, salt=self.sealer.salt, commitment=self.sealer.commitment)
        self._ordinals.pop(Type.SEGMENT, None)
        self._record(Type.SEGMENT, segment.to_bytes())

    @property
    def stored(self) -> int:
        """Bytes of the stream so far."""
        return self._out.position

    def _record(self, kind: Type, content: bytes) -> Item:
        coding, payload = codec.compress(content, codec.DEFAULT_LEVEL)
        number = self._ordinals.get(kind, 0)
        self._ordinals[kind] = number + 1
        head, payload = record.build(
            kind, coding, len(content), number, self.segment, payload, self.sealer
        )
        position = self._out.append((head, payload))
        total = len(head) + len(payload)
        self._totals.append(total)
        item = Item(kind, total, position, head[32:64])
        if kind is not Type.DIRECTORY:
            self._items.append(item)
        return item

    def put(self, chunk: Encoded) -> None:
        """Append a chunk; a content that came before is listed again and not stored again."""
        place = self.seen.get(chunk.digest)
        if place is None:
            self.add(chunk)
        else:
            self.add_again(chunk.number, place)

    def add(self, chunk: Encoded) -> Entry:
        """Append a chunk's record and index it."""
        started = time.monotonic()
        position = self._out.append((chunk.head, chunk.payload))
        self.seconds_writing += time.monotonic() - started
        self._totals.append(len(chunk.head) + len(chunk.payload))
        where = Where(int(chunk.coding))
        entry = Entry(chunk.number, where, len(chunk.payload), 0, position, chunk.digest)
        if len(self.seen) < MAX_SEEN and not chunk.is_delta:
            self.seen[chunk.digest] = len(self.index)
        self._list(entry)
        return entry

    def add_zero(self, number: int, digest: bytes) -> None:
        """Index a chunk that is allocated and holds only zeros."""
        self._list(Entry(number, Where.ZERO, 0, 0, 0, digest))

    def add_again(self, number: int, place: int) -> None:
        """Index a chunk whose content is stored already, by the entry at ``place``."""
        known = self.index.entry(place)
        self._list(
            Entry(number, known.where, known.stored, known.layer, known.position, known.digest)
        )

    def add_from_parent(self, entry: Entry) -> None:
        """Index a chunk that has not changed: ``entry`` is the parent's."""
        layer = entry.layer if entry.where is Where.ZERO else entry.layer + 1
        self._list(replace(entry, layer=layer))

    def _list(self, entry: Entry) -> None:
        self.index.append(entry)
        if len(self.index) - self._indexed >= MAX_ENTRIES:
            self._write_index()

    def _write_index(self) -> None:
        if len(self.index) > self._indexed:
            self._record(Type.INDEX, self.index.encode(self._indexed, len(self.index)))
            self._indexed = len(self.index)

    def checkpoint(self) -> None:
        """Every few seconds: write the index so far; a killed capture goes on here.

        The flush is not waited for. Whoever goes on reads and hashes every record up to the last
        index that is whole, so a checkpoint that reached the disk before its records counts for
        nothing.
        """
        started = time.monotonic()
        due = started >= self._checkpoint_at
        if due:
            self._write_index()
        self._out.flush_behind(now=due)
        self.seconds_writing += time.monotonic() - started
        if due:
            self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS

    def finish(self, manifest: Manifest, captured: ExtentMap, outcome: Outcome) -> Sealed:
        """Write index, map, manifest, table, directory and footer; flush; close.

        Raises:
            DiskTrouble: the destination failed; the image stays incomplete.
        """
        self._write_index()
        for content in extents.encode(captured):
            self._record(Type.MAP, content)
        self._record(Type.MANIFEST, manifest.encode())
        totals = self._totals[:]
        for first in range(0, len(totals), MAX_TABLE):
            self._record(Type.TABLE, totals[first : first + MAX_TABLE].tobytes())
        directory = self._record(Type.DIRECTORY, encode_directory(self.image_id, self._items))
        # All records are on the disk before the footer that vouches for them is written.
        self._out.flush()
        footer = Footer(
            image_id=self.image_id,
            outcome=outcome,
            directory_position=directory.position,
            directory_total=directory.total,
            stream_length=directory.position + directory.total + 128,
            root=directory.digest,
        )
        end = self._out.position
        try:
            self._out.append((footer.to_bytes(),))
            stored = self._out.position
            self._out.finish()
        except BaseException:
            # Nobody knows what reached the disk: without a footer it says so itself.
            self._out.take_back(end)
            raise
        return Sealed(outcome, self.image_id, directory.digest, stored)

    def close(self) -> None:
        """Leave the image as it is: incomplete, unless ``finish`` ended."""
        self._out.close()


def _contents(index: Index) -> dict[bytes, int]:
    """Contents that an index lists, by name, and the place of their first entry."""
    seen: dict[bytes, int] = {}
    for place in range(min(len(index), MAX_SEEN)):
        entry = index.entry(place)
        if entry.where is not Where.DELTA:  # a difference belongs to its own chunk
            seen.setdefault(entry.digest, place)
    return seen
