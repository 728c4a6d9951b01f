"""Map records: the bytes of the disk that were captured, as columns of gaps and lengths.

docs/format.md, "Map". Content, little-endian::

    u32            count (at most 524,288)
    count * u64    gap: bytes between the end of the extent before (or offset 0) and this one
    count * u64    length

Gaps and lengths repeat where offsets do not, so they shrink to a fraction under zstd.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from itertools import accumulate, chain

from rescue.core.errors import ImageDamaged
from rescue.core.extent import ExtentMap

MAX_EXTENTS = 524_288  # 8 MiB of content a record


def encode(extents: ExtentMap) -> Iterator[bytes]:
    """Contents of the map records of a set; one record at least, the first gap counts from 0."""
    last = 0
    for first in range(0, max(1, len(extents)), MAX_EXTENTS):
        starts = extents.starts[first : first + MAX_EXTENTS]
        ends = extents.ends[first : first + MAX_EXTENTS]
        before = chain([last], ends)
        gaps = array("Q", map(int.__sub__, starts, before))
        lengths = array("Q", map(int.__sub__, ends, starts))
        last = ends[-1] if ends else last
        yield struct.pack("<I", len(starts)) + gaps.tobytes() + lengths.tobytes()


def decode(contents: Iterator[bytes], size: int) -> ExtentMap:
    """The set in these map records; nothing in it may reach beyond ``size``.

    Raises:
        ImageDamaged: not what a writer writes.
    """
    starts, ends = array("Q"), array("Q")
    last = 0
    for content in contents:
        if len(content) < 4:
            raise ImageDamaged("a map record is cut short")
        (count,) = struct.unpack_from("<I", content)
        if count > MAX_EXTENTS or len(content) != 4 + 16 * count:
            raise ImageDamaged("a map record has the wrong length")
        if not count:
            continue
        steps = array("Q")
        # gap, length, gap, length, … whose running sum is start, end, start, end, …
        gaps, lengths = array("Q"), array("Q")
        gaps.frombytes(content[4 : 4 + 8 * count])
        lengths.frombytes(content[4 + 8 * count :])
        if 0 in lengths or 0 in gaps[0 if starts else 1 :]:
            raise ImageDamaged("a map record holds an empty extent")
        steps = array("Q", bytes(16 * count))
        steps[0::2], steps[1::2] = gaps, lengths
        total = last + sum(steps)
        if total > size:
            raise ImageDamaged("the map reaches beyond the end of the disk")
        bounds = array("Q", accumulate(steps, initial=last))
        starts += bounds[1::2]
        ends += bounds[2::2]
        last = total
    return ExtentMap(starts, ends)
