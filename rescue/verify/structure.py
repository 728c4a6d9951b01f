"""Whether the records of an image are those that its directory lists, in an order a writer writes.

Hashes tell whether bytes are as they were written. This tells whether what was written makes an
image: docs/format.md, "Overview", "Segment" and "Directory". No key is needed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import cached_property

from rescue.core.errors import ImageDamaged
from rescue.image.container import Container, Segment, parse_segment
from rescue.image.footer import Item
from rescue.image.record import RecordHeader, Type

# Records but chunks, by their type's number: segment, plan, then indexes and the segments of
# resumed captures, maps, the manifest, tables. The directory does not list itself.
_ORDER = re.compile("18[13]*4+56+")
_NUMBERED = (Type.INDEX, Type.MAP, Type.TABLE)


class Structure:
    """What the directory of one image says about its records."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @cached_property
    def _listed(self) -> Mapping[int, tuple[Item, int, int]]:
        """By position: the item, and the number and segment its record must have."""
        found: dict[int, tuple[Item, int, int]] = {}
        counts: dict[Type, int] = {}
        for item in self._container.items:
            count = counts.get(item.type, 0)
            counts[item.type] = count + 1
            number = count if item.type in _NUMBERED else 0
            found[item.position] = (item, number, counts.get(Type.SEGMENT, 0))
        return found

    def check(self) -> None:
        """The order of what is listed, and the segments.

        Raises:
            ImageDamaged: no writer writes this.
        """
        order = "".join(str(int(item.type)) for item in self._container.items)
        if not _ORDER.fullmatch(order):
            raise ImageDamaged("the records of the image are not in the order of a writer")
        for item in self._container.items:
            if item.type is Type.SEGMENT:
                _, content = self._container.stored_record(item)
                self._check_segment(parse_segment(content))
        places = set(self._listed)
        position = 0
        for total in self._container.table:
            places.discard(position)
            position += total
        if any(place < position for place in places):
            raise ImageDamaged("the directory lists a place where no record begins")

    def _check_segment(self, segment: Segment) -> None:
        if not self._container.header.sealed and any(segment.salt + segment.commitment):
            raise ImageDamaged("a segment has a salt in an image that is not encrypted")

    def fits(self, position: int, head: RecordHeader) -> bool:
        """Whether a whole record is what the directory says about its place."""
        listed = self._listed.get(position)
        if head.type is Type.CHUNK or listed is None:
            return head.type is Type.CHUNK and listed is None
        item, number, segment = listed
        return (head.type, head.total, head.digest, head.number, head.segment) == (
            item.type,
            item.total,
            item.digest,
            number,
            segment,
        )


def check_counts(container: Container) -> None:
    """Each segment says how many chunks were indexed before it; needs the key of a sealed image.

    Raises:
        ImageDamaged: it says another number.
    """
    before = 0
    for item in container.items:
        if item.type is Type.INDEX:
            before += struct.unpack_from("<I", container.content(item))[0]
        elif item.type is not Type.SEGMENT:
            continue
        elif parse_segment(container.content(item)).before != before:
            raise ImageDamaged("a segment miscounts the chunks before it")
