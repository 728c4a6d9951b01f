"""What the workers of a capture do: read, name, compare, compress, check and seal chunks.

An encoder is shared by all workers and changed by none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from rescue.capture.level import Level
from rescue.capture.reading import ChunkReader
from rescue.core.errors import ImageDamaged
from rescue.core.extent import Extent
from rescue.image import codec, record
from rescue.image.header import CHUNK_SIZE
from rescue.image.index import Entry, Where
from rescue.image.reader import Image, pack_base
from rescue.image.record import Coding, Type
from rescue.image.seal import Namer, Sealer
from rescue.image.writer import Encoded

# A difference is worth its second read when it is at most this part of the parent's record;
# otherwise the chunk is stored whole and the smaller of the two is kept.
_CLEARLY_SMALLER = 0.5


class Check(Enum):
    """Which compressed chunks are decoded again and compared before they are appended."""

    ALL = "all"
    SAMPLE = "sample"
    NONE = "none"


# One chunk in four: a codec that fails is found within the first few, and a fault of the memory
# that hits one chunk is found by ``verify --deep`` at the latest.
SAMPLE = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as a worker hands it back."""

    chunks: list[Encoded]
    same: dict[int, Entry]
    failed: list[Extent]
    captured: int


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes chunks.

    Attributes:
        size: bytes of the disk.
        segment: number of the segment that is written.
        seen: contents stored so far; only the appending thread adds to it.
        parent: the image that this one is the difference from, or None.
    """

    reader: ChunkReader
    size: int
    level: Level
    check: Check
    namer: Namer
    segment: int
    sealer: Sealer | None
    seen: Mapping[bytes, int]
    zeros: Mapping[int, bytes]
    parent: Image | None = None

    def batch(self, numbers: list[int]) -> Batch:
        """Encode these chunks."""
        failed: list[Extent] = []
        same: dict[int, Entry] = {}
        chunks = [self._chunk(number, failed, same) for number in numbers]
        return Batch(chunks, same, failed, sum(map(self.reader.captured_bytes, numbers)))

    def _chunk(self, number: int, failed: list[Extent], same: dict[int, Entry]) -> Encoded:
        length = min(CHUNK_SIZE, self.size - number * CHUNK_SIZE)
        zero = self.zeros[length]
        if self.reader.is_hole(number):
            return Encoded(number, length, zero, Coding.STORED, b"", b"")
        view, bad = self.reader.read(number)
        failed += bad
        digest = self.namer(view)
        nothing = Encoded(number, length, digest, Coding.STORED, b"", b"")
        if digest == zero or digest in self.seen:
            return nothing
        old = self.parent.index.find(number) if self.parent else None
        if old is not None and old.digest == digest:
            same[number] = old
            return nothing
        coding, payload = self._compress(view, digest, old)
        head, payload = record.build(
            Type.CHUNK, coding, length, number, self.segment, payload, self.sealer
        )
        return replace(nothing, coding=coding, head=head, payload=payload)

    def _compress(self, view: memoryview, digest: bytes, old: Entry | None) -> tuple[Coding, bytes]:
        """The smallest form of a chunk that is worth its price."""
        delta = self._delta(view, digest, old) if old is not None else None
        if old is not None and delta is not None and len(delta) < _CLEARLY_SMALLER * old.stored:
            return Coding.DELTA, delta
        coding, payload = codec.compress(view, self.level.value)
        if delta is not None and len(delta) < len(payload):
            return Coding.DELTA, delta
        if coding is Coding.ZSTD and self._is_checked(digest):
            self._compare(codec.decompress(coding, payload, len(view)), digest)
        return coding, payload

    def _delta(self, view: memoryview, digest: bytes, old: Entry) -> bytes | None:
        """The chunk as its difference from the parent's; None where the parent has only zeros.

        Where the parent's own chunk is a difference, its base is ours too: reading a chunk never
        decodes more than two records.
        """
        parent = self.parent
        if parent is None or old.where is Where.ZERO:
            return None
        base = old
        if old.where is Where.DELTA:
            _, payload = parent.coded(old, parent.block(old))
            base = parent.base_of(old, payload)
        content = parent.chunk(base)
        frame = codec.compress_delta(view, content, self.level.value)
        if self._is_checked(digest):
            self._compare(codec.decompress_delta(frame, content, len(view)), digest)
        return pack_base(replace(base, layer=base.layer + 1)) + frame

    def _is_checked(self, digest: bytes) -> bool:
        if self.check is Check.SAMPLE:
            return digest[0] % SAMPLE == 0
        return self.check is Check.ALL

    def _compare(self, content: bytes, digest: bytes) -> None:
        if self.namer(content) != digest:
            raise ImageDamaged(
                "a chunk did not survive compression; nothing of it was stored",
                hint="the memory or a library of this machine is at fault: test the memory",
            )


def zero_digests(size: int, namer: Namer) -> dict[int, bytes]:
    """Digests of chunks of zeros, by length: the whole ones and the last one of the disk."""
    return {length: namer(bytes(length)) for length in {CHUNK_SIZE, size % CHUNK_SIZE} if length}
