"""Planning a restore: from an image and what is known of a target to a plan, or a refusal.

Nothing is written here. A plan that cannot work says why, and what would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rescue.core.errors import UsageError
from rescue.core.extent import ExtentMap
from rescue.core.units import format_size
from rescue.devices.model import Layout
from rescue.image.header import CHUNK_SIZE
from rescue.image.manifest import Volume
from rescue.image.reader import Image
from rescue.restore import fatfit, sectors
from rescue.restore.arrange import arrange, smallest
from rescue.restore.asked import (
    check_chosen,
    check_left,
    describe_lost,
    layout_of,
    left_notes,
    same_layout,
    wanted,
    with_failures,
)
from rescue.restore.bounds import Bounds, Means, bounds_of
from rescue.restore.identity import new_identity
from rescue.restore.inplace import plan_in_place
from rescue.restore.layout import Arrangement, Fit
from rescue.restore.plan import Resize, RestorePlan
from rescue.restore.tables import HEAD


def plan_restore(
    image: Image,
    target_size: int | None,
    partitions: Sequence[int] = (),
    *,
    target_layout: Layout | None = None,
    target_sector_size: int | None = None,
    fit: Fit | None = None,
    leave_out: Sequence[int] = (),
    seed: str = "",
) -> RestorePlan:
    """Plan a restore onto a target of ``target_size`` bytes; nothing is written.

    Args:
        target_size: None for a file that does not exist yet.
        target_layout: how the target is divided now; None where it is new or has no table.
        target_sector_size: None for a file that gets the sectors of the image's disk.
        fit: which partitions use the room of a larger target, or make room on a smaller one.
        leave_out: partitions of which only the entry in the table is restored.
        seed: make new identifiers from it; empty: the old ones stay.

    Raises:
        UsageError: a partition was named that the image does not hold.
        TargetRefused: the target is too small, has sectors that a filesystem cannot be made for,
            or does not have these partitions.
    """
    layout = layout_of(image)
    chosen = check_chosen(image, partitions)
    fit = fit or Fit()
    left = check_left(image, chosen, leave_out)
    sector = target_sector_size or layout.sector_size
    other = sector != layout.sector_size
    size = image.size if target_size is None else target_size
    means = sectors.plan(image.read, layout, wanted(image, chosen), sector, left) if other else {}
    if seed and chosen:
        raise UsageError(
            "--new-identity is for what comes beside the original, and a partition at its own "
            "place takes the place of it",
            hint="say --into N or --into free too, or leave --partition away",
        )
    restored = [v for v in image.manifest.volumes if v.partition not in left]
    identity = new_identity(layout, restored, seed) if seed else None
    same = (size, fit.mode, other, identity) == (image.size, "none", False, None)
    if chosen or not layout.partitions or same:
        sectors.check_in_place(layout, means, sector, new=target_size is None)
        return plan_in_place(image, layout, target_size, chosen, target_layout, fit, left)
    bounds = bounds_for(image, layout, sector, means, left)
    arrangement = arrange(layout, bounds, size // sector * sector, sector, fit)
    resizes = _resizes(image, arrangement, bounds, means, sector)
    # Nothing of the head may lie in a partition, which would be written over it before the end.
    first = min(place.new.start for place in arrangement.places)
    head = min(max(HEAD, 2 * sector), first)
    plan = RestorePlan(
        layout=layout,
        volumes=image.manifest.volumes,
        needed=size,
        written=ExtentMap(),
        last=frozenset(),
        chosen=(),
        unreadable=(),
        lost=tuple(describe_lost(target_layout, ())) if target_layout else (),
        notes=(
            *_size_notes(layout, arrangement, size, image.size, fit),
            *(sectors.notes(layout, sector, means) if other else ()),
            *left_notes(left, image.manifest.volumes),
        ),
        arrangement=arrangement,
        resizes=resizes,
        left_out=left,
        head=head,
        same_layout=same_layout(target_layout, arrangement.layout),
        target_size=size,
        bounds=bounds,
    )
    plan = plan.renamed(identity) if identity else plan
    # Of a FAT that is rebuilt all is counted here; its tables and clusters move one by one.
    taken = plan.moves.sources.union(
        ExtentMap.of((r.old.start, r.old.end) for r in resizes if r.means == "rebuild")
    )
    return with_failures(replace(plan, written=image.captured.intersection(taken)), image)


def bounds_for(
    image: Image,
    layout: Layout,
    sector: int = 0,
    means: Mapping[int, Means] | None = None,
    left: Sequence[int] = (),
) -> dict[int, Bounds]:
    """How short and how long each volume of the image may become.

    Args:
        means: of volumes that have to change for the target's sectors.
        left: partitions that are left empty.
    """
    found = {}
    for volume in image.manifest.volumes:
        number, length = volume.partition, volume.extent.length
        if layout.partition(number) is None:
            continue
        known = bounds_of(volume, _fat_limits(image, volume))
        if number in left:
            known = Bounds(length, length, why="it is left out")
        elif means and number in means:
            known = sectors.bounds(known, means[number], image.read, volume, sector)
        found[number] = known
    return found


def _fat_limits(image: Image, volume: Volume) -> tuple[int, int] | None:
    if volume.fs != "vfat":
        return None
    start = volume.extent.start
    try:
        return fatfit.limits(lambda offset, length: image.read(start + offset, length))
    except fatfit.NoFat:
        return None


def fits_from(image: Image) -> int:
    """Bytes of the smallest disk that the image can be restored to.

    Raises:
        ImageDamaged: what must be read for it is damaged.
    """
    layout = layout_of(image)
    return smallest(layout, bounds_for(image, layout), layout.sector_size)


def _resizes(
    image: Image,
    arrangement: Arrangement,
    bounds: dict[int, Bounds],
    forced: Mapping[int, Means],
    sector: int,
) -> tuple[Resize, ...]:
    """Volumes that get another length, or have to change for the target's sectors."""
    found = []
    for volume in image.manifest.volumes:
        place = arrangement.place(volume.partition)
        if place is None:
            continue
        known = bounds[volume.partition]
        if volume.partition in forced:
            found.append(Resize(volume, place.old, place.new, forced[volume.partition]))
        # A partition that became whole sectors long holds the same filesystem still.
        elif place.new.length != place.old.length // sector * sector and (
            place.new.length != -(-place.old.length // sector) * sector
        ):
            means = known.grow if place.change == "grown" else known.shrink
            found.append(Resize(volume, place.old, place.new, means))
    return tuple(found)


def _size_notes(
    layout: Layout, arrangement: Arrangement, size: int, image_size: int, fit: Fit
) -> list[str]:
    notes = []
    reached = max((p.extent.end for p in arrangement.layout.partitions), default=0)
    if size > image_size and arrangement.same:
        notes.append(
            f"the target is {format_size(size - image_size)} larger than the image; "
            "that room stays unused at its end"
            + ("; the table's second copy goes there" if layout.label == "gpt" else "")
            + ("; --fit uses it" if fit.mode == "none" else "")
        )
    elif size - reached > CHUNK_SIZE * 64 and fit.mode != "none":
        notes.append(f"{format_size(size - reached)} at the end stay unused")
    if not arrangement.same:
        notes.append("what lies between partitions is left away; boot code in front of them is not")
    return notes
