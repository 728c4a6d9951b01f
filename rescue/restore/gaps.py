"""Free room on a disk that is divided already, and where in it new partitions go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rescue.core.errors import TargetRefused, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB, format_size, parse_size
from rescue.devices.model import Layout, PartitionKind

GRAIN = MIB


@dataclass(frozen=True, slots=True)
class Gap:
    """Room for a partition, aligned inwards; ``kind`` is what a partition in it becomes."""

    extent: Extent
    kind: PartitionKind


def parse_into(text: str | None) -> int | Extent | None:
    """``3``: partition 3; ``free``: the largest gap, an empty extent; ``free@10G``: from there on.

    Raises:
        UsageError: it is none of these.
    """
    if text is None:
        return None
    word, _, place = text.strip().casefold().partition("@")
    if word.isdecimal() and not place and 0 < int(word) < 10_000:
        return int(word)
    if word == "free":
        try:
            return Extent(parse_size(place.strip()) if place else 0, 0)
        except ValueError:
            pass
    raise UsageError(
        f"--into {text} makes no sense",
        hint="say the number of a partition, free (the largest gap), or free@START as in free@10G",
    )


def gaps(layout: Layout, usable: Extent) -> list[Gap]:
    """Every gap of at least one grain, in the order of the disk.

    Args:
        usable: where the table lets partitions be.
    """
    inner = [p for p in layout.partitions if p.kind == "logical"]
    outer = [p for p in layout.partitions if p.kind != "logical"]
    found = [
        Gap(place, "gpt" if layout.label == "gpt" else "primary")
        for place in _between([p.extent for p in outer], usable)
    ]
    for frame in (p for p in outer if p.kind == "extended"):
        # A record stands in front of each logical partition, and the first where all begins.
        records = [Extent(start, layout.sector_size) for start in layout.table_extents.starts]
        inside = [e for e in records if frame.extent.contains(e.start)]
        taken = [*(p.extent for p in inner), *inside]
        found += [Gap(place, "logical") for place in _between(taken, frame.extent)]
    return sorted(found, key=lambda gap: gap.extent.start)


def _between(taken: Sequence[Extent], frame: Extent) -> list[Extent]:
    covered = ExtentMap.of((e.start, e.end) for e in taken if e.length)
    result = []
    for free in covered.complement(frame.start, frame.end):
        start, end = -(-free.start // GRAIN) * GRAIN, free.end // GRAIN * GRAIN
        if end - start >= GRAIN:
            result.append(Extent(start, end - start))
    return result


def choose(found: Sequence[Gap], start: int) -> Gap:
    """The largest gap, or what is left of the one that holds byte ``start``.

    Raises:
        TargetRefused: there is none.
    """
    if not found:
        raise TargetRefused(
            "the target has no free room between its partitions",
            hint="choose a partition with --into N, or another disk",
        )
    if not start:
        return max(found, key=lambda gap: gap.extent.length)
    start = -(-start // GRAIN) * GRAIN
    for gap in found:
        if gap.extent.contains(start):
            return Gap(Extent(start, gap.extent.end - start), gap.kind)
    listed = ", ".join(
        f"{format_size(g.extent.length)} from byte {g.extent.start}" for g in found[:8]
    )
    raise TargetRefused(f"byte {start} of the target is not free", hint=f"free are: {listed}")


def left_of(found: Sequence[Gap], used: Extent) -> list[Gap]:
    """The gaps without what a new partition takes of one."""
    result = []
    for gap in found:
        if not gap.extent.contains(used.start):
            result.append(gap)
            continue
        for place in _between([used], gap.extent):
            result.append(Gap(place, gap.kind))
    return result
