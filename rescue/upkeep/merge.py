"""Merging: one full image that holds what the last image of a chain shows.

Payloads are taken over as they are, after they were decoded and compared; only differences are
compressed anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from rescue.core.parallel import ordered
from rescue.core.progress import Reporter
from rescue.image import codec, record
from rescue.image.index import Entry, Where
from rescue.image.keys import Secret
from rescue.image.reader import Image
from rescue.image.record import Coding, Type
from rescue.image.seal import Sealer
from rescue.image.writer import Encoded, ImageWriter, Lock, Sealed

_BATCH = 4


@dataclass(frozen=True, slots=True)
class _Copier:
    """What the workers do; changed by none."""

    image: Image
    segment: int
    sealer: Sealer | None
    level: int

    def batch(self, entries: list[Entry]) -> list[tuple[Entry, Encoded]]:
        return [(entry, self._copy(entry)) for entry in entries]

    def _copy(self, entry: Entry) -> Encoded:
        length = self.image.content_length(entry.number)
        if entry.where is Where.ZERO:
            return Encoded(entry.number, length, entry.digest, Coding.STORED, b"", b"")
        block = self.image.block(entry)
        content = self.image.decode(entry, block)
        coding, payload = self.image.coded(entry, block)
        if coding is Coding.DELTA:
            coding, whole = codec.compress(content, self.level)
        else:
            whole = bytes(payload)
        head, whole = record.build(
            Type.CHUNK, coding, length, entry.number, self.segment, whole, self.sealer
        )
        return Encoded(entry.number, length, entry.digest, coding, head, whole)


def merge(
    top: Path,
    out: Path,
    reporter: Reporter,
    *,
    secrets: Sequence[Secret] = (),
    look_in: Sequence[Path] = (),
    capacity: int = 0,
) -> Sealed:
    """Write a full image of what ``top`` and its chain hold.

    Raises:
        UsageError: ``out`` exists.
        ImageError: the chain cannot be used; ``out`` is then incomplete.
    """
    with ExitStack() as stack:
        image = stack.enter_context(Image.open(top, secrets=secrets, look_in=look_in))
        captured = image.captured
        lock = Lock(image.master, image.header.slots) if image.master else None
        writer = ImageWriter(out, b"{}", capacity=capacity, lock=lock)
        stack.callback(writer.close)
        level = image.manifest.level or codec.DEFAULT_LEVEL
        copier = _Copier(image, writer.segment, writer.sealer, level)
        reporter.start("merge", len(image.index) << 20)
        for done in ordered(copier.batch, _batches(image)):
            for entry, chunk in done:
                if entry.where is Where.ZERO:
                    writer.add_zero(chunk.number, chunk.digest)
                else:
                    writer.put(chunk)
                reporter.advance(1 << 20)
            writer.checkpoint()
        manifest = replace(
            image.manifest,
            chain=(),
            finished=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        sealed = writer.finish(manifest, captured, image.outcome)
        reporter.finish()
    return sealed


def _batches(image: Image) -> Iterator[list[Entry]]:
    entries = image.index.entries()
    while batch := list(islice(entries, _BATCH)):
        yield batch
