"""Going on with a capture that was killed.

Before it goes on, it makes sure that the source is still the same: the same disk (size, serial,
layout, allocation), and the same content: every chunk that was captured is read and hashed again,
all of them, not a sample. That costs a fraction of capturing them, and a mixture of two states of a
disk is worth nothing. A dying disk may have lost sectors since: of such a chunk everything that can
still be read is compared, and what was captured of the rest is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from blake3 import blake3

from rescue.capture.plan import CapturePlan
from rescue.capture.reading import ChunkReader
from rescue.core.errors import ImageDamaged, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.parallel import ordered
from rescue.core.progress import Reporter
from rescue.image import codec, extents, record
from rescue.image.header import CHUNK_SIZE, Header
from rescue.image.index import Entry, Where, unpack
from rescue.image.keys import Secret, unlock
from rescue.image.partreader import PartReader
from rescue.image.reader import BASE, BASE_SIZE, Image
from rescue.image.record import HEADER_SIZE, Coding, RecordHeader, Type
from rescue.image.scan import Found, Opener, unfinished
from rescue.image.seal import Namer
from rescue.image.writer import ImageWriter, Lock, Unfinished

_BATCH = 8
_SECTOR = 512  # the smallest that a disk loses


def plan_bytes(plan: CapturePlan) -> bytes:
    """What a resumed capture must find again, as JSON; content of the image's plan record."""
    hasher = blake3()
    for content in extents.encode(plan.captured):
        hasher.update(content)
    layout = json.dumps(plan.layout.to_json(), sort_keys=True).encode()
    return json.dumps(
        {
            "size": plan.disk.size,
            "serial": plan.disk.serial,
            "wwn": plan.disk.wwn,
            "layout": blake3(layout).hexdigest(),
            "allocation": hasher.hexdigest(),
            "chosen": list(plan.chosen),
        }
    ).encode()


def read_unfinished(
    path: Path, secrets: Sequence[Secret], reporter: Reporter, *, layers: int
) -> tuple[Unfinished, bytes]:
    """An incomplete image up to its last checkpoint, and its master key (empty: not sealed).

    Raises:
        UsageError: the image is complete.
        RescueError: it cannot be read, opened or gone on with.
    """
    with PartReader(path) as parts:
        master = unlock(parts.header, secrets) if parts.header.sealed else b""
        reporter.start("check what is there", parts.length)
        found = unfinished(parts, master, reporter.advance, layers=layers)
        reporter.finish()
    return found, master


def check_same(plan: CapturePlan, found: Unfinished) -> None:
    """Make sure that the plan is the one the image was begun with.

    Raises:
        UsageError: it is not; the message names what differs.
    """
    try:
        before: Any = json.loads(found.plan)
    except ValueError as error:
        raise ImageDamaged("the plan in the image is not JSON") from error
    now = json.loads(plan_bytes(plan))
    words = {
        "size": "the disk has another size",
        "serial": "it is another disk (the serial number differs)",
        "wwn": "it is another disk (the WWN differs)",
        "layout": "its partitions are others now",
        "allocation": "its filesystems were written to since, or --unlock was given only once",
        "chosen": "other partitions were chosen",
    }
    for key, why in words.items():
        if not isinstance(before, dict) or before.get(key) != now[key]:
            raise UsageError(
                f"this capture cannot be resumed: {why}",
                hint="delete the incomplete image and capture anew",
            )


class Stored:
    """Contents of the chunks of an incomplete image."""

    def __init__(self, path: Path, found: Unfinished, master: bytes, parent: Image | None) -> None:
        self._parts = PartReader(path)
        self._opener = Opener(found.header, master)
        self._parent = parent
        for item in found.items:
            if item.type is Type.SEGMENT:
                self._payload(item.position, item.total)

    def _payload(self, position: int, total: int) -> tuple[RecordHeader, memoryview]:
        block = memoryview(self._parts.pread(position, total))
        head = record.parse(block)
        return head, memoryview(self._opener.open(Found(position, head, block)))

    def content(self, entry: Entry, length: int) -> bytes:
        """Content of a chunk of this many bytes.

        Raises:
            ImageDamaged: it is not what was written.
        """
        if entry.where is Where.ZERO:
            return bytes(length)
        parent = self._parent
        if entry.layer and parent is not None:
            return parent.chunk(replace(entry, layer=entry.layer - 1))
        head, payload = self._payload(entry.position, HEADER_SIZE + entry.stored)
        if head.coding is not Coding.DELTA:
            return codec.decompress(head.coding, payload, length)
        if parent is None:
            raise ImageDamaged("a difference in an image without a parent")
        where, _, position, digest = BASE.unpack_from(payload)
        base = unpack(entry.number, where, position, digest)
        content = parent.chunk(replace(base, layer=base.layer - 1))
        return codec.decompress_delta(payload[BASE_SIZE:], content, length)

    def close(self) -> None:
        """Close the image."""
        self._parts.close()


def check_content(
    found: Unfinished, reader: ChunkReader, namer: Namer, stored: Stored, reporter: Reporter
) -> ExtentMap:
    """Compare everything that was captured so far again; returns what could not be read of it.

    Raises:
        UsageError: the source holds something else now.
    """
    numbers = iter(found.index.numbers)

    def batches() -> Iterator[list[int]]:
        while batch := list(islice(numbers, _BATCH)):
            yield batch

    def look(batch: list[int]) -> tuple[int, list[tuple[int, int]]]:
        bad: list[tuple[int, int]] = []
        for number in batch:
            entry = found.index.find(number)
            view, failed = reader.read(number)
            if entry is not None and namer(view) == entry.digest:
                bad += [(extent.start, extent.end) for extent in failed]
                continue
            lost = None
            if entry is not None and failed:
                content = stored.content(entry, len(view))
                if namer(content) == entry.digest:
                    lost = lost_since(content, view, number * CHUNK_SIZE, failed)
            if lost is None:
                raise UsageError(
                    f"this capture cannot be resumed: the source changed since, "
                    f"at byte {number * CHUNK_SIZE}",
                    hint="delete the incomplete image and capture anew",
                )
            bad += lost
        return sum(map(reader.captured_bytes, batch)), bad

    failed: list[tuple[int, int]] = []
    reporter.start("compare what was captured", None)
    for done, bad in ordered(look, batches()):
        failed += bad
        reporter.advance(done)
    reporter.finish()
    return ExtentMap.of(failed)


def lost_since(
    content: bytes, now: memoryview, start: int, failed: Sequence[Extent]
) -> list[tuple[int, int]] | None:
    """What of a captured chunk was not captured, now that other sectors cannot be read; pure.

    Outside of ``failed`` both must be equal. Inside, what the image holds was read before; where it
    holds zeros nobody knows whether they were read, and they count as unreadable.

    Returns:
        (start, end) pairs of the disk, or None when the two differ.
    """
    masked = bytearray(content)
    bad: list[tuple[int, int]] = []
    for extent in failed:
        low = extent.start - start
        for at in range(low, low + extent.length, _SECTOR):
            end = min(at + _SECTOR, low + extent.length)
            if not any(content[at:end]):
                bad.append((start + at, start + end))
        masked[low : low + extent.length] = bytes(extent.length)
    return bad if masked == now else None


def same_parent(header: Header, parent_id: bytes, parent_root: bytes) -> None:
    """Make sure that the parent is the one the image was begun with.

    Raises:
        UsageError: it is another one.
    """
    if (header.parent_id, header.parent_root) != (parent_id, parent_root):
        raise UsageError(
            "this capture cannot be resumed: it was begun with another parent",
            hint="give the same --parent as before",
        )


def go_on(path: Path, found: Unfinished, master: bytes) -> ImageWriter:
    """A writer behind the last checkpoint."""
    lock = Lock(master, found.header.slots) if master else None
    return ImageWriter.resume(path, found, lock)
