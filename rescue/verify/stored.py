"""Verification of the stored bytes: no key is needed, and it runs at the speed of the disk.

The record table says where each record begins, so that damage to one does not hide the next, and
blocks of records are hashed on all processors. Parents are part of an incremental image: all of the
chain is verified.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from time import monotonic

from rescue.core.errors import ImageDamaged
from rescue.core.extent import Extent
from rescue.core.parallel import ordered
from rescue.core.progress import Reporter
from rescue.image import chain as chains
from rescue.image import record
from rescue.image.container import Container
from rescue.image.header import CHUNK_SIZE
from rescue.image.keys import Secret
from rescue.image.reader import Image, unlock_chain
from rescue.image.record import HEADER_SIZE, RecordHeader, Type
from rescue.verify.report import Damage, Report, chunk_extent, header_damages, place
from rescue.verify.structure import Structure

BLOCK = 2 << 20  # two of them in flight stay in the second-level cache from read to hash

# Looks at one whole record (its header, position and bytes); returns what is wrong with it.
Look = Callable[[RecordHeader, int, memoryview], "Damage | None"]
# Puts a name to a record that is not whole, by its position and what its header still says.
Name = Callable[[int, "RecordHeader | None"], Damage]


@dataclass(frozen=True, slots=True)
class _Block:
    """Neighbouring records that are read at once."""

    position: int
    totals: array[int]


def verify_stored(
    path: Path,
    reporter: Reporter,
    *,
    secrets: Sequence[Secret] = (),
    look_in: Sequence[Path] = (),
    threads: int = 0,
) -> Report:
    """Hash every stored byte of an image and its parents and compare with what was written.

    Args:
        secrets: only so that damage in an encrypted image can be named by partition.

    Raises:
        DiskTrouble: the image cannot be read.
        ImageDamaged: what describes the image (header, index, manifest, footer) is damaged.
        ImageIncomplete: the capture never finished, or a parent is missing.
    """
    started = monotonic()
    chain = chains.open_chain(path, look_in)
    try:
        readable = bool(secrets) or not chain[0].header.sealed
        image = Image(chain, unlock_chain(chain, secrets)) if readable else None
        if image is not None:
            check_map(image)
        damages: list[Damage] = []
        total = sum(container.parts.length for container in chain)
        reporter.start("verify (stored bytes)", total)
        for layer, container in enumerate(chain):
            name = namer(image, layer)
            damages += walk(container, name, None, reporter, threads)
        reporter.finish()
        return Report(
            chain[0].header.image_id.hex(),
            chain[0].footer.root.hex(),
            "stored",
            tuple(damages),
            chain[0].footer.outcome,
            image.manifest.ledger.failed if image else (),
            total,
            monotonic() - started,
        )
    finally:
        chains.close(chain)


def walk(
    container: Container, name: Name, look: Look | None, reporter: Reporter, threads: int
) -> list[Damage]:
    """Hash every record of one image; ``look`` is called for each whole one as well."""
    damages = list(header_damages(container.parts))
    structure = Structure(container)
    try:
        table = container.table
        _check_tail(container, table)
    except ImageDamaged as error:
        damages.append(Damage(error.message))
        return damages
    try:
        structure.check()
    except ImageDamaged as error:
        damages.append(Damage(error.message))

    def check(block: _Block) -> tuple[int, list[Damage]]:
        return _check_block(container, structure, block, name, look)

    for done, found in ordered(check, _blocks(table), threads=threads):
        damages += found
        for damage in found:
            reporter.warn(f"{damage.what}: {damage.where}" if damage.where else damage.what)
        reporter.advance(done)
    return damages


def _check_tail(container: Container, table: array[int]) -> None:
    """Every byte from the start of the stream to the footer belongs to a known record."""
    at = sum(table)
    for item in container.items:
        if item.type is Type.TABLE:
            if item.position != at:
                raise ImageDamaged("there are bytes in the image that belong to no record")
            at += item.total
    if at != container.footer.directory_position:
        raise ImageDamaged("there are bytes in the image that belong to no record")


def check_map(image: Image) -> None:
    """The map of captured bytes agrees with the ledger.

    Raises:
        ImageDamaged: it does not.
    """
    ledger = image.manifest.ledger
    if image.captured.total != ledger.captured + ledger.failed_bytes:
        raise ImageDamaged("the map of captured bytes does not agree with the ledger")


def _blocks(table: array[int]) -> Iterator[_Block]:
    """The records of the table in blocks of about ``BLOCK`` bytes."""
    position = size = first = 0
    for i, total in enumerate(table):
        if size + total > BLOCK and size:
            yield _Block(position, table[first:i])
            position, size, first = position + size, 0, i
        size += total
    if size:
        yield _Block(position, table[first:])


def _check_block(
    container: Container, structure: Structure, block: _Block, name: Name, look: Look | None
) -> tuple[int, list[Damage]]:
    """Check the records of one block."""
    size = sum(block.totals)
    data = memoryview(container.parts.pread(block.position, size))
    found: list[Damage] = []
    for start, total in zip(accumulate(block.totals, initial=0), block.totals, strict=False):
        piece = data[start : start + total]
        damage = _check_record(structure, block.position + start, piece, name, look)
        if damage is not None:
            found.append(damage)
    return size, found


def _check_record(
    structure: Structure, position: int, piece: memoryview, name: Name, look: Look | None
) -> Damage | None:
    try:
        head = record.parse(piece[:HEADER_SIZE])
    except ImageDamaged:
        return name(position, None)
    if not record.is_whole(piece) or head.total != len(piece):
        return name(position, head)
    if not structure.fits(position, head):
        return Damage(f"the record at {position} is not what the directory lists", "", (), position)
    return look(head, position, piece) if look is not None else None


def namer(image: Image | None, layer: int) -> Name:
    """Names damage by every chunk that is read from the record; without a key, by its header."""

    def by_index(position: int, head: RecordHeader | None) -> Damage:
        assert image is not None
        entries = (
            image.index.entry(i) for i, at in enumerate(image.index.positions) if at == position
        )
        numbers = [entry.number for entry in entries if entry.stored and entry.layer == layer]
        if not numbers:
            what = f"a record at {position} is damaged; no chunk of this image is read from it"
            return Damage(what, position=position)
        extents = tuple(chunk_extent(image, number) for number in numbers)
        where = "; ".join(place(image, extent) for extent in extents)
        return Damage(f"the record of chunk {numbers[0]} is damaged", where, extents, position)

    def by_header(position: int, head: RecordHeader | None) -> Damage:
        if head is None or head.type is not Type.CHUNK:
            return Damage(f"a record at {position} is damaged", position=position)
        extent = Extent(head.number * CHUNK_SIZE, head.content)
        where = f"byte {extent.start:,} of the disk (the key is needed to name the partition)"
        return Damage(f"the record of chunk {head.number} is damaged", where, (extent,), position)

    return by_header if image is None else by_index
