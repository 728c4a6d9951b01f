"""Deep verification: every chunk is decoded and its content hashed, on all processors."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from time import monotonic

from rescue.core.errors import ImageDamaged
from rescue.core.progress import Reporter
from rescue.image.index import Entry, Where, kind_of
from rescue.image.keys import Secret
from rescue.image.reader import Image
from rescue.image.record import RecordHeader, Type
from rescue.verify.report import Damage, Report, chunk_extent, place
from rescue.verify.stored import check_map, namer, walk
from rescue.verify.structure import check_counts


def verify_deep(
    path: Path,
    reporter: Reporter,
    *,
    secrets: Sequence[Secret] = (),
    look_in: Sequence[Path] = (),
    threads: int = 0,
) -> Report:
    """Decode and hash every chunk of an image and its parents, and hash every stored byte.

    Raises:
        ImageLocked: it is encrypted, and no secret opens it.
        DiskTrouble, ImageDamaged, ImageIncomplete: as ``verify_stored``.
    """
    started = monotonic()
    with Image.open(path, secrets=secrets, look_in=look_in) as image:
        check_map(image)
        total = sum(container.parts.length for container in image.chain)
        damages: list[Damage] = []
        reporter.start("verify (every chunk)", total)
        for layer in range(len(image.chain)):
            damages += _layer(image, layer, reporter, threads)
        reporter.finish()
        return Report(
            image.image_id,
            image.root,
            "deep",
            tuple(damages),
            image.outcome,
            image.manifest.ledger.failed,
            total,
            monotonic() - started,
        )


def _layer(top: Image, layer: int, reporter: Reporter, threads: int) -> list[Damage]:
    """Every record of one image of the chain, and what ``top`` reads from it."""
    image = top.ancestor(layer) if layer else top
    first, others = _stored_entries(image)

    def look(head: RecordHeader, position: int, piece: memoryview) -> Damage | None:
        if head.type is not Type.CHUNK:
            return None
        entry = first.find(image, position)
        if entry is None:
            return Damage(f"a chunk is stored at {position} that no entry of the index names")
        try:
            if head.number != entry.number:
                raise ImageDamaged(f"chunk {entry.number} is not where the index says")
            image.decode(entry, piece)
        except ImageDamaged as error:
            return _hurt(image, error.message, entry)
        return None

    found = walk(image.container, namer(top, layer), look, reporter, threads)
    try:
        check_counts(image.container)
    except ImageDamaged as error:
        found.append(Damage(error.message))
    if image.size != top.size:
        found.append(Damage("the images of the chain are of disks of several sizes"))
    found += _misplaced(image, first)
    found += _check_rest(image, first, others)
    if layer:
        found += _check_shared(top, layer, image, first)
    return found


def _check_shared(top: Image, layer: int, image: Image, first: _First) -> list[Damage]:
    """What ``top`` reads from an ancestor is what the ancestor says is there."""
    found: list[Damage] = []
    for i, where in enumerate(top.index.wheres):
        if where >> 24 != layer:
            continue
        entry = top.index.entry(i)
        known = first.find(image, entry.position)
        if known is None or (known.digest, known.stored) != (entry.digest, entry.stored):
            message = f"chunk {entry.number} does not hold what was captured"
            found.append(_hurt(top, message, entry))
    return found


@dataclass(frozen=True, slots=True)
class _First:
    """The first entry of each record: positions ascending, and the entries' places in the index.

    Two arrays and not a dictionary: a terabyte has a million records.
    """

    positions: array[int]
    places: array[int]

    def find(self, image: Image, position: int) -> Entry | None:
        i = bisect_left(self.positions, position)
        if i == len(self.positions) or self.positions[i] != position:
            return None
        return image.index.entry(self.places[i])


def _stored_entries(image: Image) -> tuple[_First, array[int]]:
    """The entries with a record of their own, and the places of all other entries.

    Records are appended in the order of the entries, so an entry that points behind all earlier
    ones is the first of its record.
    """
    first = _First(array("Q"), array("L"))
    others = array("L")
    last = -1
    for i, (where, position) in enumerate(
        zip(image.index.wheres, image.index.positions, strict=True)
    ):
        if where >> 24:
            continue  # an ancestor's, looked at with that layer
        if kind_of(where) is not Where.ZERO and position > last:
            first.positions.append(position)
            first.places.append(i)
            last = position
        else:
            others.append(i)
    return first, others


def _check_rest(image: Image, first: _First, others: array[int]) -> list[Damage]:
    """Entries without a record of their own: zeros, and contents that came before."""
    found: list[Damage] = []
    zeros: dict[int, bytes] = {}
    for i in others:
        entry = image.index.entry(i)
        length = image.content_length(entry.number)
        if entry.where is Where.ZERO:
            if length not in zeros:
                zeros[length] = image.namer(bytes(length))
            sound = entry.digest == zeros[length]
        else:
            known = first.find(image, entry.position)
            sound = known is not None and (entry.digest, entry.stored) == (
                known.digest,
                known.stored,
            )
        if not sound:
            message = f"chunk {entry.number} does not hold what was captured"
            found.append(_hurt(image, message, entry))
    return found


def _misplaced(image: Image, first: _First) -> list[Damage]:
    """Entries that point to a place where no record begins."""
    try:
        starts = array("Q", accumulate(image.table(), initial=0))
    except ImageDamaged:
        return []  # the walk has told
    found: list[Damage] = []
    i = 0
    for position, at in zip(first.positions, first.places, strict=True):
        while i < len(starts) and starts[i] < position:
            i += 1
        if i == len(starts) or starts[i] != position:
            entry = image.index.entry(at)
            found.append(_hurt(image, f"chunk {entry.number} is not where the index says", entry))
    return found


def _hurt(image: Image, message: str, entry: Entry) -> Damage:
    extent = chunk_extent(image, entry.number)
    return Damage(message, place(image, extent), (extent,), entry.position)
