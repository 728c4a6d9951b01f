"""The header of a part: which image this file belongs to, and how to read what follows.

docs/format.md, "Header". Two copies stand at the start of every part, so that a header can be
rewritten (keys) without a moment at which none is whole, and so that one bad sector does not cost
the image. On disk, little-endian::

    offset size
         0    8  magic
         8    2  version
        10    2  header size (4096)
        12    4  critical flags
        16    4  informative flags
        20    4  generation
        24   16  image id
        40    4  part number
        44    4  chunk size
        48    8  part capacity
        56    8  created
        64   16  parent image id
        80   32  parent root
       112  144  zero
       256 2560  key slots, 16 of 160 bytes
      2816 1248  zero
      4064   32  BLAKE3-256 of bytes 0 to 4063
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from blake3 import blake3

from rescue.core.errors import ImageDamaged, ImageUnsupported

MAGIC = b"RESCUE\x1a\n"
VERSION = 1
HEADER_SIZE = 4096
BODY_START = 2 * HEADER_SIZE
CHUNK_SIZE = 1 << 20
SLOTS_AT, SLOT_SIZE, SLOTS = 256, 160, 16
_SLOTS_END = SLOTS_AT + SLOT_SIZE * SLOTS
_HASH_AT = HEADER_SIZE - 32

SEALED, SPLIT, INCREMENTAL = 1, 2, 4
_KNOWN_CRITICAL = SEALED | SPLIT | INCREMENTAL

# A part smaller than this could not hold a record of the largest size in two parts.
MIN_CAPACITY = 1 << 20
MAX_PARTS = 9999  # the name has room for four digits

_FIXED = struct.Struct("<8sHHIII16sIIQQ16s32s")


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one part, in memory.

    Attributes:
        image_id: 16 random bytes, the same in every part.
        part: number of this part, from 0.
        capacity: bytes of the stream in each part but the last; 0 when not split.
        created: seconds since 1970.
        parent_id, parent_root: the parent of an incremental image, else zeros.
        slots: the key slot area as it stands (2,560 bytes).
    """

    image_id: bytes
    part: int = 0
    capacity: int = 0
    created: int = 0
    generation: int = 1
    critical: int = 0
    informative: int = 0
    parent_id: bytes = bytes(16)
    parent_root: bytes = bytes(32)
    slots: bytes = bytes(SLOT_SIZE * SLOTS)

    @property
    def sealed(self) -> bool:
        """Whether the image is encrypted."""
        return bool(self.critical & SEALED)

    @property
    def incremental(self) -> bool:
        """Whether the image has a parent."""
        return bool(self.critical & INCREMENTAL)

    def for_part(self, part: int) -> Header:
        """The same header for another part: key slots stand in part 0 only."""
        return replace(self, part=part, slots=bytes(SLOT_SIZE * SLOTS))

    def to_bytes(self) -> bytes:
        """One copy, 4,096 bytes."""
        block = bytearray(HEADER_SIZE)
        _FIXED.pack_into(
            block,
            0,
            MAGIC,
            VERSION,
            HEADER_SIZE,
            self.critical,
            self.informative,
            self.generation,
            self.image_id,
            self.part,
            CHUNK_SIZE,
            self.capacity,
            self.created,
            self.parent_id,
            self.parent_root,
        )
        block[SLOTS_AT:_SLOTS_END] = self.slots
        block[_HASH_AT:] = blake3(block[:_HASH_AT]).digest()
        return bytes(block)


def parse_copy(block: bytes) -> Header:
    """Parse one copy strictly.

    Raises:
        ImageDamaged: not a header, or not as it was written.
        ImageUnsupported: a later version or an unknown critical flag.
    """
    if len(block) != HEADER_SIZE or block[:8] != MAGIC:
        raise ImageDamaged("no image header", hint="this is not a Rescue image")
    if blake3(block[:_HASH_AT]).digest() != block[_HASH_AT:]:
        raise ImageDamaged("the header is damaged")
    (
        _,
        version,
        size,
        critical,
        informative,
        generation,
        image_id,
        part,
        chunk_size,
        capacity,
        created,
        parent_id,
        parent_root,
    ) = _FIXED.unpack_from(block)
    if version != VERSION:
        raise ImageUnsupported(
            f"the image has format version {version}; this program reads version {VERSION}",
            hint="use a newer rescue",
        )
    if critical & ~_KNOWN_CRITICAL:
        raise ImageUnsupported(
            f"the image uses features that this program does not know (flags {critical:#x})",
            hint="use a newer rescue",
        )
    split = bool(critical & SPLIT)
    whole = (
        size == HEADER_SIZE
        and chunk_size == CHUNK_SIZE
        and generation > 0
        and split == (capacity > 0)
        and (not split or capacity >= MIN_CAPACITY)
        and part < (MAX_PARTS if split else 1)
        and bool(critical & INCREMENTAL) == any(parent_id + parent_root)
        and bool(critical & SEALED and part == 0) == any(block[SLOTS_AT:_SLOTS_END])
        and not any(block[_FIXED.size : SLOTS_AT])
        and not any(block[_SLOTS_END:_HASH_AT])
    )
    if not whole:
        raise ImageDamaged("the header holds values that no writer writes")
    return Header(
        image_id=image_id,
        part=part,
        capacity=capacity,
        created=created,
        generation=generation,
        critical=critical,
        informative=informative,
        parent_id=parent_id,
        parent_root=parent_root,
        slots=block[SLOTS_AT:_SLOTS_END],
    )


def parse_header(block: bytes) -> tuple[Header, int]:
    """The better of the two copies at the start of a part, and how many of the two are whole.

    Args:
        block: the first 8,192 bytes of the file (or fewer, if it is shorter).

    Raises:
        ImageDamaged: neither copy is whole.
        ImageUnsupported: from a later version.
    """
    found: list[Header] = []
    unsupported: ImageUnsupported | None = None
    for start in (0, HEADER_SIZE):
        try:
            found.append(parse_copy(block[start : start + HEADER_SIZE]))
        except ImageUnsupported as error:
            unsupported = error
        except ImageDamaged:
            continue
    if unsupported is not None:
        raise unsupported
    if not found:
        if MAGIC in (block[:8], block[HEADER_SIZE : HEADER_SIZE + 8]):
            raise ImageDamaged("both copies of the image header are damaged")
        raise ImageDamaged("this is not a Rescue image", hint="name the first file of an image")
    best = max(found, key=lambda header: header.generation)
    return best, len(found)
