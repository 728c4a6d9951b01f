"""What a plan comes to before the first write: moves, bytes to write over them, steps behind them.

Reading the image for it is all that happens here, so that whatever cannot be done is known while
the target is still as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rescue.core.errors import ImageDamaged, TargetRefused
from rescue.core.extent import Extent, ExtentMap
from rescue.core.progress import Reporter
from rescue.devices.target import SafeTarget
from rescue.image.reader import Image
from rescue.restore import bootblocks, fatfit, fatsector, growing, grubcore, ntfsboot, tables
from rescue.restore.moves import Moves
from rescue.restore.plan import Resize, RestorePlan
from rescue.restore.tables import Tables, Write

_EDGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A shrunk volume: its used bytes are read from an open file and written to the target.

    Attributes:
        fd: open for reading; it holds the volume from byte 0.
        used: which bytes of the volume hold data.
        target: where the volume starts on the target.
    """

    fd: int
    used: ExtentMap
    target: int


@dataclass(frozen=True, slots=True)
class After:
    """A step behind the copying.

    Attributes:
        run: does it to the target; what was done, in words, nothing when nothing was to be done.
    """

    run: Callable[[SafeTarget, Reporter], Sequence[str]]


def told(words: str, run: Callable[[SafeTarget, Reporter], bool]) -> After:
    """A step that is told in words known before, where ``run`` says that it did something."""
    return After(lambda target, reporter: (words,) if run(target, reporter) else ())


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that the pipeline writes.

    Attributes:
        patches: written over what was copied, offsets on the target.
        tables: tables and head; None: they are the image's own and among what is copied.
        head: the first bytes of the disk, written last; empty: none.
        settle: what the head becomes after the steps, which may have found out where things lie.
    """

    moves: Moves
    patches: tuple[Write, ...] = ()
    pieces: tuple[Piece, ...] = ()
    after: tuple[After, ...] = ()
    tables: Tables | None = None
    head: bytes = b""
    notes: tuple[str, ...] = ()
    settle: Callable[[bytes], bytes] = bytes


def prepare(
    plan: RestorePlan,
    image: Image,
    pieces: Sequence[Piece] = (),
    after: Sequence[After] = (),
) -> Prepared:
    """Work out what the plan comes to.

    Args:
        pieces, after: of volumes that somebody else shrank or copies.

    Raises:
        ImageDamaged: what must be read for it is damaged.
        TargetRefused: a filesystem cannot be made to fit after all.
    """
    if plan.arrangement is None:
        empty = [
            write
            for volume in plan.volumes
            if volume.partition in plan.left_out
            for write in _blank(volume.extent)
        ]
        return Prepared(plan.moves, tuple(empty), head=_old_head(plan, image))
    head = image.read(0, plan.head)
    copies = list(plan.moves)
    patches: list[Write] = []
    steps: list[After] = []
    sector = plan.arrangement.layout.sector_size
    for resize in plan.resizes:
        if resize.means == "rebuild":
            more, written = _rebuild(image, resize, plan.layout.sector_size, sector)
            copies += more
            patches += written
        elif resize.means == "boot":
            patches += _told(image, resize, plan.layout.sector_size, sector)
        elif resize.means in ("tool", "remake"):
            steps.append(_grow(resize, sector))
    for place in plan.arrangement.places:
        if place.number in plan.left_out:
            patches += _blank(place.new)
    other = sector != plan.layout.sector_size
    notes: list[str] = []
    known, held = head, None
    if not other:  # else nothing that counts in sectors starts from there
        if plan.identity is not None and plan.whole:
            head, core, note = grubcore.followed(
                image.read,
                head,
                plan.arrangement.places,
                sector,
                plan.identity.words,
                {volume.partition for volume in plan.volumes if volume.fs},
            )
            patches += core
            notes += [note] if note else []
        held = bootblocks.second_stage(head, plan.arrangement.places, sector)
        if held and any(r.volume.partition == held[0].number for r in plan.resizes):
            held = None  # where it lies is known when that is done (``blocklists``)
        known, second = bootblocks.grub(head, plan.arrangement.places, sector)
        if second:
            notes.append(f"GRUB's first stage follows its second into partition {second}")
    built = None
    if plan.addition is not None:
        built = Tables(plan.addition.writes, b"", in_order=True)
    elif plan.head:
        built = tables.build(image.read, plan.layout, plan.arrangement, known, plan.identity)
        overlapped = tables.overlapping(plan.arrangement.layout, built.writes)
        if overlapped:
            raise TargetRefused(
                f"the tables of the image have no room beside partition {overlapped[0]} there",
                hint="choose a larger disk; nothing was written",
            )
    for place in plan.arrangement.places:
        if place.new.start == place.old.start or place.kind == "extended" or other:
            continue
        steps += [
            told(step.words, step.run)
            for step in bootblocks.steps(
                place,
                plan.layout.sector_size,
                sector,
                held[1] if held and held[0] is place else -1,
            )
        ]
    return Prepared(
        Moves(copies),
        tuple(patches),
        tuple(pieces),
        (*after, *steps),
        built,
        built.head if built else b"",
        tuple(notes),
    )


def _blank(place: Extent) -> list[Write]:
    """Zeros where a filesystem of before would be known by, in a partition that stays empty."""
    edge = min(_EDGE, place.length)
    return [(place.start, bytes(edge)), (place.end - edge, bytes(edge))]


def _old_head(plan: RestorePlan, image: Image) -> bytes:
    """The first bytes as they were. Where they are damaged the pipeline meets that in their chunk
    again, after all that is whole was written, and leaves them away.
    """
    try:
        return image.read(0, plan.head)
    except ImageDamaged:
        return bytes(plan.head)


def _rebuild(
    image: Image, resize: Resize, old_sector: int, sector: int
) -> tuple[list[tuple[int, int, int]], list[Write]]:
    """A FAT made longer or shorter: copies and patches with places on both disks."""
    start = resize.old.start

    def read(offset: int, length: int) -> bytes:
        return image.read(start + offset, length)

    hidden = int.from_bytes(read(28, 4), "little")
    first = resize.new.start // sector if hidden == start // old_sector else None
    try:
        if fatfit.shape_of(read(0, 512)).sector != sector and sector != old_sector:
            rebuilt = fatsector.remake(read, resize.new.length, sector, first)
        else:
            rebuilt = fatfit.rebuild(read, resize.new.length, first)
    except fatfit.NoFat as error:
        raise TargetRefused(
            f"the FAT of partition {resize.volume.partition} cannot be written anew: {error}",
            hint="choose another disk; nothing was written",
        ) from error
    return (
        [
            (start + source, length, resize.new.start + target)
            for source, length, target in rebuilt.copies
        ],
        [(resize.new.start + offset, data) for offset, data in rebuilt.patches],
    )


def _told(image: Image, resize: Resize, old_sector: int, sector: int) -> list[Write]:
    """The two boot sectors of an NTFS for other sectors."""
    boot = image.read(resize.old.start, sector)
    follows = int.from_bytes(boot[28:32], "little") == resize.old.start // old_sector
    area, copy = ntfsboot.told(boot, sector, resize.new.start // sector if follows else None)
    return [(resize.new.start, area), (resize.new.start + copy, area)]


def _grow(resize: Resize, sector: int) -> After:
    volume = resize.volume
    place = Extent(resize.new.start, resize.new.length)

    def run(target: SafeTarget, reporter: Reporter) -> bool:
        growing.grow(target, place, volume, sector, reporter)
        return True

    return told(resize.line(), run)
