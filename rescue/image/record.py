"""Records: everything behind the header is a run of them.

docs/format.md, "Records". On disk, little-endian, 64 bytes before each payload::

    offset size
         0    4  magic "RRec"
         4    1  type
         5    1  coding
         6    2  flags (bit 0: sealed)
         8    4  stored length: bytes of payload
        12    4  content length: bytes after decoding
        16    8  number
        24    4  segment
        28    4  zero
        32   32  BLAKE3-256 of bytes 0 to 31 and the payload

The hash covers every byte of a record but itself, so whoever holds no key can still tell whether
the stored bytes are those that were written.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from blake3 import blake3

from rescue.core.errors import ImageDamaged
from rescue.image.seal import TAG_SIZE, Sealer

MAGIC = b"RRec"
HEADER_SIZE = 64
_FIXED = struct.Struct("<4sBBHIIQII")

MAX_CHUNK_STORED = (1 << 20) + 64  # a chunk that does not shrink, its base and its seal
MAX_CONTENT = 16 << 20  # the manifest is the largest thing that is not a chunk


class Type(IntEnum):
    """What a record holds."""

    SEGMENT = 1
    CHUNK = 2
    INDEX = 3
    MAP = 4
    MANIFEST = 5
    TABLE = 6
    DIRECTORY = 7
    PLAN = 8


class Coding(IntEnum):
    """How the content became the payload."""

    STORED = 0
    ZSTD = 1
    DELTA = 2


SEALED_FLAG = 1
# These tell nothing but where things lie, and are needed before any key is known.
CLEAR_TYPES = frozenset({Type.SEGMENT, Type.TABLE, Type.DIRECTORY})


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The 64 bytes before a payload, in memory; ``number`` counts within a type and segment."""

    type: Type
    coding: Coding
    stored: int
    content: int
    number: int
    segment: int
    digest: bytes
    sealed: bool = False

    @property
    def total(self) -> int:
        """Bytes of header and payload."""
        return HEADER_SIZE + self.stored


def build(
    kind: Type,
    coding: Coding,
    content: int,
    number: int,
    segment: int,
    payload: bytes,
    sealer: Sealer | None = None,
) -> tuple[bytes, bytes]:
    """Header (64 bytes) and payload as they are appended; sealed where a sealer is given."""
    sealed = sealer is not None and kind not in CLEAR_TYPES
    stored = len(payload) + (TAG_SIZE if sealed else 0)
    fixed = _FIXED.pack(MAGIC, kind, coding, int(sealed), stored, content, number, segment, 0)
    if sealed and sealer is not None:
        payload = sealer.seal(fixed, kind, number, payload)
    return fixed + blake3(fixed).update(payload).digest(), payload


def parse(block: bytes | memoryview) -> RecordHeader:
    """Parse a record's header strictly; the payload is not looked at.

    Raises:
        ImageDamaged: these are not the bytes of a record header.
    """
    if len(block) < HEADER_SIZE:
        raise ImageDamaged("a record is cut short")
    magic, kind, coding, flags, stored, content, number, segment, zero = _FIXED.unpack_from(block)
    if magic != MAGIC or flags & ~SEALED_FLAG or zero:
        raise ImageDamaged("no record where one should be")
    try:
        header = RecordHeader(
            Type(kind),
            Coding(coding),
            stored,
            content,
            number,
            segment,
            bytes(block[32:64]),
            bool(flags),
        )
    except ValueError as error:
        raise ImageDamaged("a record of unknown type or coding") from error
    limit = MAX_CHUNK_STORED if header.type is Type.CHUNK else MAX_CONTENT
    if stored > limit or content > (1 << 20 if header.type is Type.CHUNK else MAX_CONTENT):
        raise ImageDamaged("a record is longer than any writer makes it")
    overhead = TAG_SIZE if header.sealed else 0
    if header.sealed and header.type in CLEAR_TYPES:
        raise ImageDamaged("a record is sealed that never is")
    if header.coding is Coding.DELTA and header.type is not Type.CHUNK:
        raise ImageDamaged("a record is a difference that never is")
    if header.coding is Coding.STORED and stored != content + overhead:
        raise ImageDamaged("a record's lengths contradict each other")
    return header


def is_whole(block: memoryview) -> bool:
    """Whether a whole record (header and payload) hashes to what its header says."""
    return blake3(block[:32]).update(block[HEADER_SIZE:]).digest() == block[32:HEADER_SIZE]
