"""Salvage: what is intact of a damaged or incomplete image goes to a new file, with a map.

While the index can be read, each chunk is taken by it and compared with the hash of what was
captured. Without it the stream is searched for whole records, whose own hash and number say what
they are; then nobody knows what is missing, and the map calls everything else bad.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rescue.core import mapfile
from rescue.core.errors import DiskTrouble, ImageError, ImageLocked, UsageError, from_os_error
from rescue.core.extent import ExtentMap
from rescue.core.parallel import ordered
from rescue.core.progress import Reporter
from rescue.image import codec, record
from rescue.image.header import CHUNK_SIZE
from rescue.image.index import Entry
from rescue.image.keys import Secret, unlock
from rescue.image.partreader import PartReader
from rescue.image.reader import Image
from rescue.image.record import HEADER_SIZE, Coding, Type
from rescue.image.scan import Found, Opener, records


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What a salvage brought; sizes in bytes of the disk.

    Attributes:
        intact: bytes written whose hash fits.
        lost: extents that are known to be hurt or missing.
        by_index: whether the index told what should be there.
    """

    size: int
    intact: int
    lost: ExtentMap
    by_index: bool


def salvage(
    path: Path,
    target: Path,
    map_path: Path,
    reporter: Reporter,
    *,
    secrets: Sequence[Secret] = (),
    look_in: Sequence[Path] = (),
) -> Salvaged:
    """Write what is intact to ``target``, a new file, and a ddrescue mapfile of the rest.

    Raises:
        UsageError: the target exists.
        ImageLocked: the image is encrypted, and no secret opens it.
        ImageError: not even its header can be read.
    """
    for one in (target, map_path):
        if os.path.lexists(one):
            raise UsageError(f"{one} exists already", hint="salvage writes a new file")
    try:
        fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, f"create {target}") from error
    try:
        try:
            with Image.open(path, secrets=secrets, look_in=look_in) as image:
                result = _by_index(image, fd, reporter)
        except ImageLocked:
            raise
        except ImageError as error:
            reporter.warn(f"{error.message}: searching for whole records instead")
            result = _by_search(path, fd, secrets, reporter)
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        if target.stat().st_size == 0:
            target.unlink()
        raise
    os.close(fd)
    mapfile.write(map_path, result.lost, result.size)
    return result


def _write(fd: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    try:
        while view:
            count = os.pwrite(fd, view, offset)
            view, offset = view[count:], offset + count
    except OSError as error:
        raise from_os_error(error, "write the target file") from error


def _by_index(image: Image, fd: int, reporter: Reporter) -> Salvaged:
    """Every chunk that the index names, or the reason why not."""
    os.ftruncate(fd, image.size)

    def look(entry: Entry) -> tuple[Entry, bytes | None]:
        try:
            return entry, image.chunk(entry)
        except (ImageError, DiskTrouble):
            return entry, None

    lost: list[tuple[int, int]] = [(e.start, e.end) for e in image.manifest.ledger.failed]
    intact = 0
    reporter.start("salvage", len(image.index) * CHUNK_SIZE)
    for entry, content in ordered(look, image.index.entries()):
        start = entry.number * CHUNK_SIZE
        if content is None:
            lost.append((start, start + image.content_length(entry.number)))
            reporter.warn(f"chunk {entry.number} is damaged: lost")
        else:
            _write(fd, content, start)
            intact += len(content)
        reporter.advance(CHUNK_SIZE)
    reporter.finish()
    return Salvaged(image.size, intact, ExtentMap.of(lost), True)


def _by_search(path: Path, fd: int, secrets: Sequence[Secret], reporter: Reporter) -> Salvaged:
    """Every whole chunk record that can be found in the stream."""
    intact: list[tuple[int, int]] = []
    with PartReader(path, gaps=True) as parts:
        master = unlock(parts.header, secrets) if parts.header.sealed else b""
        opener = Opener(parts.header, master)
        reporter.start("search", parts.length)
        end = 0
        for found in _search(parts):
            reporter.advance(max(0, found.position - end))
            end = found.position
            content = _content(found, opener)
            if content is None:
                continue
            start = found.head.number * CHUNK_SIZE
            _write(fd, content, start)
            intact.append((start, start + len(content)))
        reporter.finish()
    there = ExtentMap.of(intact)
    size = there.ends[-1] if there else 0
    return Salvaged(size, there.total, there.complement(0, size), False)


def _content(found: Found, opener: Opener) -> bytes | None:
    """Content of a chunk record; None for all others and for what needs another image."""
    try:
        payload = opener.open(found)
        if found.head.type is not Type.CHUNK or found.head.coding is Coding.DELTA:
            return None
        return codec.decompress(found.head.coding, payload, found.head.content)
    except ImageError:
        return None


def _search(parts: PartReader) -> Iterator[Found]:
    """Whole records, also behind damage: the next magic is looked for."""
    at = 0
    while at < parts.length:
        for found in records(parts, at):
            yield found
            at = found.position + found.head.total
        at = _next_magic(parts, at + 1)


def _next_magic(parts: PartReader, at: int) -> int:
    """Position of the next magic of a record, or the end of the stream."""
    window = CHUNK_SIZE
    while at + HEADER_SIZE <= parts.length:
        data = parts.pread(at, min(window + HEADER_SIZE, parts.length - at))
        hit = data.find(record.MAGIC)
        if hit >= 0:
            return at + hit
        at += window
    return parts.length
