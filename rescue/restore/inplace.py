"""Planning a restore in which everything goes to the very place it came from. Pure."""

from __future__ import annotations

from rescue.core.errors import TargetRefused, UsageError
from rescue.core.extent import ExtentMap
from rescue.core.units import format_size
from rescue.devices.model import Layout
from rescue.image.header import CHUNK_SIZE
from rescue.image.reader import Image
from rescue.restore.asked import describe_lost, left_notes, same_layout, with_failures
from rescue.restore.layout import Fit
from rescue.restore.plan import RestorePlan
from rescue.restore.tables import HEAD


def plan_in_place(
    image: Image,
    layout: Layout,
    target_size: int | None,
    chosen: tuple[int, ...],
    target_layout: Layout | None,
    fit: Fit,
    left: tuple[int, ...],
) -> RestorePlan:
    """Everything goes to the very place it came from."""
    if target_size is not None and target_size < image.size:
        raise TargetRefused(
            f"the target is too small: it has {target_size} bytes, the image needs {image.size}",
            hint="choose a disk at least as large as the one the image was made of",
        )
    if fit.mode != "none":
        what = "chosen partitions go" if chosen else "a disk without a partition table goes"
        raise UsageError(f"--fit makes no sense here: {what} back unchanged")
    written, last = image.captured, _last_chunks(image.size)
    notes: list[str] = []
    head = max(HEAD, 2 * layout.sector_size)
    head = head if image.size > head else 0  # too little of a disk for a mark
    if chosen:
        places = [v.extent for v in image.manifest.volumes if v.partition in chosen]
        inside = ExtentMap.of((e.start, e.end) for e in places)
        if target_size is None:
            # A new file gets the tables too, or nothing would say where the partition lies.
            edges = inside.union(_outside(image, layout))
            written = written.intersection(edges)
        else:
            _check_same_place(image, chosen, target_layout)
            written, last, head = written.intersection(inside), frozenset[int](), 0
    if target_size is not None and target_size > image.size and not chosen:
        notes.append(
            f"the target is {format_size(target_size - image.size)} larger than the image; "
            "that room stays unused at its end"
        )
    spared = ExtentMap.of(
        (v.extent.start, v.extent.end) for v in image.manifest.volumes if v.partition in left
    )
    notes += left_notes(left, image.manifest.volumes)
    written = written.intersection(spared.complement(0, image.size))
    plan = RestorePlan(
        layout=layout,
        volumes=image.manifest.volumes,
        needed=image.size,
        written=written,
        last=last,
        chosen=chosen,
        unreadable=(),
        lost=tuple(describe_lost(target_layout, chosen)) if target_layout else (),
        notes=tuple(notes),
        head=head,
        same_layout=same_layout(target_layout, layout),
        target_size=image.size if target_size is None else target_size,
        left_out=left,
    )
    return with_failures(plan, image)


def _last_chunks(size: int) -> frozenset[int]:
    """The chunks with the partition tables: the first and the last two of the disk."""
    grid = -(-size // CHUNK_SIZE)
    return frozenset({0, grid - 1, max(0, grid - 2)})


def _outside(image: Image, layout: Layout) -> ExtentMap:
    """Everything outside the partitions."""
    inside = ExtentMap.of(
        (p.start, p.extent.end) for p in layout.partitions if p.kind != "extended"
    )
    return inside.complement(0, image.size)


def _check_same_place(image: Image, chosen: tuple[int, ...], target_layout: Layout | None) -> None:
    """A partition goes back only to the very place it came from."""
    for volume in image.manifest.volumes:
        if volume.partition not in chosen:
            continue
        there = target_layout.partition(volume.partition) if target_layout else None
        if there is None or there.extent != volume.extent:
            raise TargetRefused(
                f"the target has no partition {volume.partition} at the place it has in the image",
                hint="restore the whole disk, or make the same partition table first",
            )
