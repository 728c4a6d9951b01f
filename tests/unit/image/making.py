"""Makes small images for the tests, chunk by chunk."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from rescue.core.extent import Extent, ExtentMap
from rescue.image import codec, record
from rescue.image.footer import Outcome
from rescue.image.header import CHUNK_SIZE
from rescue.image.ledger import Ledger
from rescue.image.manifest import Manifest, Volume
from rescue.image.record import Type
from rescue.image.seal import namer_of
from rescue.image.writer import Encoded, ImageWriter, Lock

SIZE = 5 * CHUNK_SIZE + 1000


def disk() -> bytes:
    """Chunks: text, a hole, noise, text again (the same), zeros, and a short last one."""
    text = b"the quick brown fox " * 52_429
    noise = blake3(b"noise").digest(length=300_000)
    chunks = [
        text[:CHUNK_SIZE],
        bytes(CHUNK_SIZE),
        noise.ljust(CHUNK_SIZE, b"\0"),
        text[:CHUNK_SIZE],
        bytes(CHUNK_SIZE),
        b"end" * 333 + b"!",
    ]
    return b"".join(chunks)


def encoded(number: int, content: bytes, writer: ImageWriter | None = None) -> Encoded:
    coding, payload = codec.compress(content, 3)
    head, payload = record.build(
        Type.CHUNK, coding, len(content), number, 1, payload, writer.sealer if writer else None
    )
    return Encoded(
        number,
        len(content),
        namer_of(writer.master if writer else b"")(content),
        coding,
        head,
        payload,
    )


def write(
    path: Path, *, capacity: int = 0, checkpoint: bool = False, lock: Lock | None = None
) -> bytes:
    """An image of ``disk()`` without chunk 1; returns the disk's bytes."""
    data = disk()
    writer = ImageWriter(path, b"{}", capacity=capacity, lock=lock)
    for number in (0, 2, 3, 4, 5):
        content = data[number * CHUNK_SIZE : (number + 1) * CHUNK_SIZE]
        if number == 3:
            writer.add_again(number, 0)
        elif number == 4:
            writer.add_zero(number, namer_of(writer.master)(content))
        else:
            writer.add(encoded(number, content, writer))
        if checkpoint:
            writer._checkpoint_at = 0
            writer.checkpoint()
    captured = ExtentMap.of([(0, CHUNK_SIZE), (2 * CHUNK_SIZE, SIZE)])
    manifest = Manifest(
        tool="test",
        created="2026-01-01T00:00:00Z",
        finished="2026-01-01T00:00:01Z",
        machine={},
        disk={"serial": "S"},
        layout={},
        volumes=(Volume(1, Extent(0, SIZE), "ext4", "root", "", "whole", captured.total),),
        ledger=Ledger(SIZE, captured.total, CHUNK_SIZE),
        chunks=5,
        level=3,
    )
    writer.finish(manifest, captured, Outcome.COMPLETE)
    return data
