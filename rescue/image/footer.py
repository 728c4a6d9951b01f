"""The directory and the footer: the last record, and the last 128 bytes, of a complete image.

docs/format.md, "Directory" and "Footer". The directory lists every record that is not a chunk
with its hash; the root, which identifies the image, is the directory record's own hash. Directory
content, little-endian::

    16 image id, u32 count, count * (u8 type, 3 zero, u32 total length, u64 position, 32 hash)

Footer::

    offset size
         0    8  magic "RESCUEnd"
         8    2  version
        10    1  outcome
        11    5  zero
        16   16  image id
        32    8  position of the directory record
        40    4  its total length
        44    4  zero
        48    8  length of the stream, this footer included
        56    8  zero
        64   32  root
        96   32  BLAKE3-256 of bytes 0 to 95
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from blake3 import blake3

from rescue.core.errors import ImageDamaged
from rescue.image.header import VERSION
from rescue.image.record import HEADER_SIZE, MAX_CONTENT, Type

MAGIC = b"RESCUEnd"
FOOTER_SIZE = 128
_FOOTER = struct.Struct("<8sHB5s16sQI4sQ8s32s")
_ITEM = struct.Struct("<B3sIQ32s")
MAX_ITEMS = 65_536


class Outcome(IntEnum):
    """How a finished capture ended. An unfinished one has no footer: incomplete."""

    COMPLETE = 0
    UNREADABLE = 1


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer in memory."""

    image_id: bytes
    outcome: Outcome
    directory_position: int
    directory_total: int
    stream_length: int
    root: bytes

    def to_bytes(self) -> bytes:
        """The last 128 bytes of the stream."""
        fixed = _FOOTER.pack(
            MAGIC,
            VERSION,
            self.outcome,
            bytes(5),
            self.image_id,
            self.directory_position,
            self.directory_total,
            bytes(4),
            self.stream_length,
            bytes(8),
            self.root,
        )
        return fixed + blake3(fixed).digest()


def parse_footer(block: bytes) -> Footer | None:
    """Parse the last 128 bytes of a stream; None when there is no footer (the image is incomplete).

    Raises:
        ImageDamaged: there is a footer, and it is damaged.
    """
    if len(block) != FOOTER_SIZE:
        return None
    body, digest = block[:96], block[96:]
    sound = blake3(body).digest() == digest
    if not sound:
        # A flipped bit in the magic must not turn a complete image into one never finished: the
        # hash decides what the rest of the block was meant to be.
        if block[:8] == MAGIC or blake3(MAGIC + body[8:]).digest() == digest:
            raise ImageDamaged("the footer is damaged")
        return None
    (magic, version, outcome, z1, image_id, position, total, z2, length, z3, root) = _FOOTER.unpack(
        body
    )
    whole = (
        magic == MAGIC
        and version == VERSION
        and outcome in tuple(Outcome)
        and not any(z1 + z2 + z3)
        and HEADER_SIZE <= total <= HEADER_SIZE + MAX_CONTENT
        and position + total + FOOTER_SIZE == length
    )
    if not whole:
        raise ImageDamaged("the footer holds values that no writer writes")
    return Footer(image_id, Outcome(outcome), position, total, length, root)


@dataclass(frozen=True, slots=True)
class Item:
    """One record that the directory lists."""

    type: Type
    total: int
    position: int
    digest: bytes


def encode_directory(image_id: bytes, items: list[Item]) -> bytes:
    """Content of the directory record."""
    listed = (_ITEM.pack(i.type, bytes(3), i.total, i.position, i.digest) for i in items)
    return image_id + struct.pack("<I", len(items)) + b"".join(listed)


def parse_directory(content: bytes, footer: Footer) -> tuple[Item, ...]:
    """The records listed, in stream order.

    Raises:
        ImageDamaged: not what a writer writes, or of another image.
    """
    if len(content) < 20 or content[:16] != footer.image_id:
        raise ImageDamaged("the directory belongs to another image")
    (count,) = struct.unpack_from("<I", content, 16)
    if count > MAX_ITEMS or len(content) != 20 + _ITEM.size * count:
        raise ImageDamaged("the directory has the wrong length")
    items: list[Item] = []
    end = 0
    for kind, zero, total, position, digest in _ITEM.iter_unpack(content[20:]):
        if kind not in tuple(Type) or any(zero) or position < end:
            raise ImageDamaged("the directory holds values that no writer writes")
        end = position + total
        if not HEADER_SIZE <= total <= HEADER_SIZE + MAX_CONTENT or end > footer.directory_position:
            raise ImageDamaged("the directory points outside the image")
        items.append(Item(Type(kind), total, position, digest))
    return tuple(items)
