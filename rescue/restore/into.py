"""Planning the restore of partitions into a disk that is divided already, whatever disk it is.

Into a partition that is there, or into free room, where the table gets a new entry at the very end.
All else on the target stays as it is. Where a partition gets another length or other sectors, the
filesystem is made to fit by the same means as on a whole disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rescue.core.errors import TargetRefused, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import format_size
from rescue.devices.model import Layout, Partition
from rescue.image.manifest import Volume
from rescue.image.reader import Image
from rescue.restore import gaps, newentry, sectors
from rescue.restore.asked import check_chosen, describe_lost, layout_of, with_failures
from rescue.restore.bounds import Bounds, Means
from rescue.restore.gaps import GRAIN, Gap
from rescue.restore.identity import identity_of
from rescue.restore.layout import Arrangement, Place, up
from rescue.restore.newentry import Entry
from rescue.restore.plan import Resize, RestorePlan
from rescue.restore.planning import bounds_for

Read = Callable[[int, int], bytes]
_SAME_UUID = (
    "the filesystem keeps its UUID: two of one UUID in one machine are mistaken for each other; "
    "--new-identity gives it another"
)


def plan_into(
    image: Image,
    target_size: int | None,
    partitions: Sequence[int],
    into: int,
    *,
    target_layout: Layout | None,
    target_sector_size: int | None,
    seed: str = "",
) -> RestorePlan:
    """Plan to write one partition of the image into partition ``into`` of the target.

    Args:
        seed: make a new identifier for the filesystem from it; empty: the old one stays.

    Raises:
        UsageError: not exactly one partition is chosen, or the image does not hold it.
        TargetRefused: the target has no such partition, or what is to go there does not fit.
    """
    layout = layout_of(image)
    chosen = check_chosen(image, partitions)
    if len(chosen) != 1:
        raise UsageError(
            "--into N takes exactly one --partition", hint="restore them one after the other"
        )
    there = target_layout.partition(into) if target_layout else None
    if target_size is None or target_layout is None or there is None or there.kind == "extended":
        known = [p.number for p in target_layout.partitions] if target_layout else []
        listed = ", ".join(map(str, known)) or "no partitions"
        raise TargetRefused(
            f"the target has no partition {into} to restore into", hint=f"it has: {listed}"
        )
    (number,) = chosen
    sector = target_sector_size or target_layout.sector_size
    volume, bounds, means = _one(image, layout, number, sector)
    if there.length < min(bounds.low, volume.extent.length):
        why = f": {bounds.why}" if bounds.why else ""
        raise TargetRefused(
            f"partition {into} of the target is too small: it has "
            f"{format_size(there.length)}, partition {number} of the image needs "
            f"{format_size(bounds.low)} ({bounds.low} bytes){why}",
            hint="choose a larger partition",
        )
    notes = (
        f"the table of the target stays as it is; partition {into} keeps its type and name",
        *(() if seed else (_SAME_UUID,)),
    )
    plan = _plan(
        image,
        layout,
        target_layout,
        (Place(number, volume.extent, there.extent, there.kind),),
        _resize(volume, there.extent, bounds, means),
        sector,
    )
    return replace(
        plan,
        lost=tuple(describe_lost(target_layout, (into,))),
        notes=notes + plan.notes,
        identity=identity_of(layout, [volume], seed, entries=False) if seed else None,
    )


def plan_free(
    image: Image,
    target_size: int | None,
    partitions: Sequence[int],
    start: int,
    *,
    target_layout: Layout | None,
    target_sector_size: int | None,
    read: Read,
    seed: str = "",
) -> RestorePlan:
    """Plan to write partitions of the image into free room of the target, as new partitions.

    Args:
        start: byte from which on; 0: the largest gap for each.
        read: reads the target as it is now.
        seed: make new identifiers from it; empty: the old ones stay.

    Raises:
        UsageError: no partition is chosen, or the image does not hold one.
        TargetRefused: they do not fit, or the target's table cannot take them.
    """
    layout = layout_of(image)
    chosen = check_chosen(image, partitions)
    if not chosen:
        raise UsageError("--into free needs --partition", hint="say which: --partition 3")
    if target_size is None or target_layout is None or target_layout.label == "none":
        raise TargetRefused(
            "the target has no partition table that a partition could be added to",
            hint="restore the whole disk, or make a partition table first",
        )
    sector = target_sector_size or target_layout.sector_size
    there = replace(target_layout, sector_size=sector)
    identity = None
    if seed:
        volumes = [v for v in image.manifest.volumes if v.partition in chosen]
        identity = identity_of(layout, volumes, seed, entries=there.label == "gpt")
    found = gaps.gaps(there, newentry.usable(read, there))
    entries: list[Entry] = []
    places: list[Place] = []
    resizes: tuple[Resize, ...] = ()
    for number in chosen:
        volume, bounds, means = _one(image, layout, number, sector)
        of = layout.partition(number)
        assert of is not None
        # One after the other: what START names is where the first of them goes.
        at = max((e.place.end for e in entries), default=start) if start else 0
        gap = gaps.choose(found, at)
        entry = _entry(there, entries, gap, (of, volume), bounds)
        fresh = identity.of("partition", number) if identity else None
        entry = replace(entry, unique=fresh.new if fresh else "")
        found = gaps.left_of(found, Extent(gap.extent.start, entry.place.end - gap.extent.start))
        entries.append(entry)
        places.append(Place(number, volume.extent, entry.place, entry.kind))
        resizes += _resize(volume, entry.place, bounds, means)
    addition = newentry.add(read, there, image.read, layout, entries)
    plan = _plan(image, layout, there, tuple(places), resizes, sector)
    notes = (
        *addition.notes,
        "the other partitions of the target stay as they are; its table is written last of all, so "
        "a restore that is cut off leaves the target as it was, and is begun again",
        *(() if seed else (_SAME_UUID,)),
    )
    return replace(plan, addition=addition, notes=notes + plan.notes, identity=identity)


def _entry(
    there: Layout, made: Sequence[Entry], gap: Gap, of: tuple[Partition, Volume], bounds: Bounds
) -> Entry:
    """Where in a gap a partition goes; shorter than it was where it must be and may be.

    Raises:
        TargetRefused: it does not fit.
    """
    sector = there.sector_size
    start, record = gap.extent.start, 0
    if gap.kind == "logical":
        frame = next(p for p in there.partitions if p.kind == "extended")
        chain = [p for p in there.partitions if p.kind == "logical"]
        first = not chain and not any(e.kind == "logical" for e in made)
        record = frame.start if first else start
        start = up(record + sector, GRAIN)
    room = gap.extent.end - start
    length = up(of[1].extent.length, sector)
    if length > room:
        length = room // sector * sector
        if length < bounds.low:
            why = f": {bounds.why}" if bounds.why else ""
            raise TargetRefused(
                f"the free room of the target is too small: {format_size(max(0, room))} in one "
                f"piece, where {format_size(bounds.low)} ({bounds.low} bytes) are needed{why}",
                hint="choose another disk, or a partition with --into N",
            )
    return Entry(Extent(start, length), gap.kind, of[0], of[1].fs, record)


def _one(
    image: Image, layout: Layout, number: int, sector: int
) -> tuple[Volume, Bounds, Means | None]:
    """One volume of the image, what may be done to its length, and how it gets to such sectors.

    Raises:
        TargetRefused: it cannot be on a disk with such sectors.
    """
    volume = next(v for v in image.manifest.volumes if v.partition == number)
    means = sectors.plan_volumes(image.read, layout, [volume], sector)
    return volume, bounds_for(image, layout, sector, means)[number], means.get(number)


def _resize(volume: Volume, new: Extent, bounds: Bounds, means: Means | None) -> tuple[Resize, ...]:
    old = volume.extent
    if means is not None:
        return (Resize(volume, old, new, means),)
    if new.length < old.length and bounds.low < old.length:
        return (Resize(volume, old, new, bounds.shrink),)
    if new.length > old.length and new.length - old.length >= GRAIN // 256:
        return (Resize(volume, old, new, bounds.grow if new.length <= bounds.high else "none"),)
    return ()


def _plan(
    image: Image,
    layout: Layout,
    target: Layout,
    places: tuple[Place, ...],
    resizes: tuple[Resize, ...],
    sector: int,
) -> RestorePlan:
    plan = RestorePlan(
        layout=layout,
        volumes=image.manifest.volumes,
        needed=max(place.new.end for place in places),
        written=ExtentMap(),
        last=frozenset(),
        chosen=tuple(place.number for place in places),
        unreadable=(),
        arrangement=Arrangement(places, replace(target, sector_size=sector)),
        resizes=resizes,
        notes=tuple(sectors.warnings({r.volume.partition: r.means for r in resizes})),
        target_size=target.size,
    )
    rebuilt = [(r.old.start, r.old.end) for r in resizes if r.means == "rebuild"]
    taken = plan.moves.sources.union(ExtentMap.of(rebuilt))
    return with_failures(replace(plan, written=image.captured.intersection(taken)), image)
