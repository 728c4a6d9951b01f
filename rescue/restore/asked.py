"""What is asked of an image: which of its partitions, and what a plan says of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rescue.core.errors import ImageDamaged, UsageError
from rescue.core.extent import ExtentMap
from rescue.core.units import format_size
from rescue.devices.model import Layout, Partition
from rescue.image.manifest import Volume
from rescue.image.reader import Image
from rescue.restore.plan import RestorePlan


def layout_of(image: Image) -> Layout:
    """The layout that an image's manifest describes.

    Raises:
        ImageDamaged: it is not a layout.
    """
    try:
        layout = Layout.from_json(image.manifest.layout)
    except ValueError as error:
        raise ImageDamaged(f"the manifest's layout is damaged: {error}") from error
    if layout.size != image.size:
        raise ImageDamaged("the manifest's layout is of another disk")
    return layout


def check_chosen(image: Image, partitions: Sequence[int]) -> tuple[int, ...]:
    """The numbers sorted, once each.

    Raises:
        UsageError: the image does not hold one.
    """
    held = sorted(volume.partition for volume in image.manifest.volumes if volume.partition)
    for number in partitions:
        if number not in held:
            raise UsageError(
                f"the image does not hold partition {number}",
                hint="it holds: " + (", ".join(map(str, held)) or "no partitions, only a disk"),
            )
    return tuple(sorted(set(partitions)))


def check_left(image: Image, chosen: Sequence[int], left: Sequence[int]) -> tuple[int, ...]:
    """The numbers sorted, once each.

    Raises:
        UsageError: the image does not hold one, or only chosen partitions are restored.
    """
    if left and chosen:
        raise UsageError("--leave-out and --partition exclude each other", hint="say one of them")
    return check_chosen(image, left)


def wanted(image: Image, chosen: Sequence[int]) -> list[Volume]:
    """The volumes that are restored."""
    return [v for v in image.manifest.volumes if not chosen or v.partition in chosen]


def with_failures(plan: RestorePlan, image: Image) -> RestorePlan:
    """The plan with a word on what the capture could not read."""
    failed = ExtentMap.of((e.start, e.end) for e in image.manifest.ledger.failed)
    unreadable = tuple(failed.intersection(plan.written))
    if not unreadable:
        return plan
    total = sum(extent.length for extent in unreadable)
    note = f"{total} bytes could not be read when the image was made: they become zeros"
    return replace(plan, unreadable=unreadable, notes=(*plan.notes, note))


def left_notes(left: Sequence[int], volumes: Sequence[Volume]) -> list[str]:
    """A word on each partition that stays empty."""
    notes = [
        f"partition {number} is left out: only its entry is made, it is empty" for number in left
    ]
    swaps = (v for v in volumes if v.partition in left and v.fs == "swap" and v.uuid)
    return notes + [
        f"partition {v.partition} was swap: a system that names it (fstab, resume=) waits for it "
        f"at each start, until mkswap --uuid {v.uuid} has made it again"
        for v in swaps
    ]


def same_layout(there: Layout | None, planned: Layout) -> bool:
    """Whether a target is divided as planned already."""
    if there is None or there.label != planned.label or there.disk_id != planned.disk_id:
        return False
    return [(p.number, p.start, p.length) for p in there.partitions] == [
        (p.number, p.start, p.length) for p in planned.partitions
    ]


def describe_lost(layout: Layout, chosen: Sequence[int]) -> list[str]:
    """What stands on the target now, a line for each partition that will be overwritten."""

    def line(partition: Partition) -> str:
        name = f" {partition.name!r}" if partition.name else ""
        return f"partition {partition.number}{name}, {format_size(partition.length)}"

    return [
        line(partition)
        for partition in layout.partitions
        if partition.kind != "extended" and (not chosen or partition.number in chosen)
    ]
