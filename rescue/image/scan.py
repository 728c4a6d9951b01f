"""Walking the records of a stream that has no footer, or none that can be trusted.

For a capture that goes on where it was killed: everything up to the last checkpoint counts, and all
of it is hashed again first, because after a power cut nothing is taken for granted.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rescue.core.errors import ImageDamaged, UsageError
from rescue.image import codec, record
from rescue.image.container import parse_segment
from rescue.image.footer import FOOTER_SIZE, Item, parse_footer
from rescue.image.header import Header
from rescue.image.index import Index
from rescue.image.manifest import MAX_CHUNKS
from rescue.image.partreader import PartReader
from rescue.image.record import CLEAR_TYPES, HEADER_SIZE, RecordHeader, Type
from rescue.image.seal import Sealer
from rescue.image.writer import Unfinished


@dataclass(frozen=True, slots=True)
class Found:
    """A whole record: where it begins, its header and all its bytes."""

    position: int
    head: RecordHeader
    block: memoryview


def records(parts: PartReader, start: int = 0) -> Iterator[Found]:
    """Whole records from ``start`` on, up to the first that is not whole."""
    at = start
    while at + HEADER_SIZE <= parts.length:
        try:
            head = record.parse(parts.pread(at, HEADER_SIZE))
        except ImageDamaged:
            return
        if at + head.total > parts.length:
            return
        block = memoryview(parts.pread(at, head.total))
        if not record.is_whole(block):
            return
        yield Found(at, head, block)
        at += head.total


def unfinished(
    parts: PartReader, master: bytes, reporter: Callable[[int], None], *, layers: int = 1
) -> Unfinished:
    """What an incomplete image holds up to its last checkpoint.

    Args:
        master: the master key when the image is sealed.
        reporter: told how many bytes were looked at.
        layers: images in its chain.

    Raises:
        UsageError: the image is complete.
        ImageDamaged: not even its plan is whole.
        ImageLocked: the key is not the one of this image.
    """
    tail = parts.pread(max(0, parts.length - FOOTER_SIZE), min(FOOTER_SIZE, parts.length))
    if parse_footer(tail) is not None:
        raise UsageError(f"{parts.first} is complete", hint="there is nothing to resume")
    index = Index()
    totals, kept = array("I"), 0
    items: list[Item] = []
    opener = Opener(parts.header, master)
    state = Unfinished(parts.header, 0, index, totals, [], {}, 0, b"")
    segment = 0
    for found in records(parts):
        head = found.head
        reporter(head.total)
        totals.append(head.total)
        if head.type is Type.CHUNK:
            continue
        items.append(Item(head.type, head.total, found.position, head.digest))
        state.ordinals[head.type] = head.number + 1
        content = codec.decompress(head.coding, opener.open(found), head.content)
        if head.type is Type.SEGMENT:
            segment = head.segment
        elif head.type is Type.PLAN:
            state.plan = content
        elif head.type is Type.INDEX:
            index.extend(content, chunks=MAX_CHUNKS, layers=layers)
        else:
            # Maps and what follows are written anew.
            break
        if head.type in (Type.PLAN, Type.INDEX, Type.SEGMENT):
            state.position, kept = found.position + head.total, len(totals)
            state.items, state.segment = items[:], segment
    if not state.plan:
        raise ImageDamaged(
            f"{parts.first} ends before its first checkpoint", hint="delete it and capture anew"
        )
    del totals[kept:]
    state.ordinals = {
        kind: count for kind, count in state.ordinals.items() if kind in (Type.PLAN, Type.INDEX)
    }
    return state


class Opener:
    """Opens the records of a stream as they come; learns each segment's key from its record."""

    def __init__(self, header: Header, master: bytes) -> None:
        self._header = header
        self._master = master
        self._sealers: dict[int, Sealer] = {}

    def open(self, found: Found) -> bytes | memoryview:
        """The payload of a record, as it was before sealing.

        Raises:
            ImageDamaged: it was changed, or its segment is not known.
            ImageLocked: the master key is not the one of this image.
        """
        head = found.head
        payload: bytes | memoryview = found.block[HEADER_SIZE:]
        if head.sealed != (self._header.sealed and head.type not in CLEAR_TYPES):
            raise ImageDamaged("a record is not sealed as the header says")
        if head.sealed:
            sealer = self._sealers.get(head.segment)
            if sealer is None:
                raise ImageDamaged("a record belongs to a segment that the image does not have")
            return sealer.open(bytes(found.block[:32]), head.type, head.number, payload)
        if head.type is Type.SEGMENT and self._master:
            opened = parse_segment(codec.decompress(head.coding, payload, head.content))
            sealer = Sealer(self._master, self._header.image_id, head.segment, opened.salt)
            sealer.check(opened.commitment)
            self._sealers[head.segment] = sealer
        return payload
