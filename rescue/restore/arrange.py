"""How long each partition becomes on a target of another size (``--fit``). Pure.

A partition becomes longer only where that was asked for, and shorter only as far as ``bounds`` lets
it. What does not fit is refused with the reason and with what would fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rescue.core.errors import TargetRefused, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB, format_size
from rescue.devices.model import Layout, Partition, order
from rescue.restore.bounds import Bounds
from rescue.restore.layout import (
    SIZE_OF_ARRAY,
    Arrangement,
    Fit,
    Place,
    grain_of,
    hard_end,
    lay_out,
    up,
    usable_end,
    whole_sectors,
)

_ESP = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef")


def arrange(
    layout: Layout, bounds: Mapping[int, Bounds], size: int, sector: int, fit: Fit
) -> Arrangement:
    """Lay the partitions out on a target.

    Args:
        bounds: how short and how long each volume may become; partitions that are not named stay.
        size, sector: of the target, in bytes.

    Raises:
        TargetRefused: they do not fit; the message says why and what would.
        UsageError: ``fit`` names a partition that is not there or cannot be resized.
    """
    _check(layout, bounds, fit)
    lengths = {p.number: p.length for p in layout.partitions}
    last = max((p.extent.end for p in layout.partitions), default=0)
    end = usable_end(layout, size, sector)
    closed = False
    if last > hard_end(layout, size, sector):
        if fit.mode == "none":
            raise _too_small(layout, bounds, size, sector)
        lengths, closed = _shrink(layout, bounds, lengths, end, fit, (size, sector)), True
    elif fit.mode != "none" and end > last:
        lengths = _grow(layout, bounds, lengths, end - last, fit)
    extents = lay_out(layout, lengths, close=closed)
    if sector != layout.sector_size:
        extents = whole_sectors(layout, extents, sector, hard_end(layout, size, sector))
    places = tuple(Place(p.number, p.extent, extents[p.number], p.kind) for p in layout.partitions)
    return Arrangement(places, _layout_after(layout, extents, size, sector))


def smallest(layout: Layout, bounds: Mapping[int, Bounds], sector: int) -> int:
    """Bytes of the smallest disk that can be restored to, every volume as short as it may be."""
    lengths = {
        p.number: _down_to(bounds[p.number].low, p.length, grain_of(layout))
        if p.number in bounds
        else p.length
        for p in layout.partitions
    }
    extents = lay_out(layout, lengths, close=True)
    last = max((extent.end for extent in extents.values()), default=layout.size)
    if layout.label == "gpt":
        last += (1 + -(-SIZE_OF_ARRAY // sector)) * sector
    return min(layout.size, -(-last // MIB) * MIB) if layout.partitions else layout.size


def _layout_after(layout: Layout, extents: Mapping[int, Extent], size: int, sector: int) -> Layout:
    moved = (
        replace(p, start=extents[p.number].start, length=extents[p.number].length)
        for p in layout.partitions
    )
    return Layout(
        layout.label,
        sector,
        size,
        layout.disk_id,
        tuple(sorted(moved, key=order)),
        ExtentMap(),
    )


def _check(layout: Layout, bounds: Mapping[int, Bounds], fit: Fit) -> None:
    for number in fit.numbers:
        partition = layout.partition(number)
        if partition is None or partition.kind == "extended":
            there = [str(p.number) for p in layout.partitions if p.kind != "extended"]
            raise UsageError(
                f"--fit names partition {number}, which the image does not have",
                hint="it has: " + (", ".join(there) or "none"),
            )
        known = bounds.get(number)
        if known is None or known.fixed:
            why = known.why if known else "it was not captured"
            raise UsageError(
                f"partition {number} cannot be resized: {why}",
                hint="name another one, or say --fit all",
            )


def _grow(
    layout: Layout, bounds: Mapping[int, Bounds], lengths: dict[int, int], room: int, fit: Fit
) -> dict[int, int]:
    """Longer partitions: the named ones, the last that can, or all in proportion."""
    chosen = [p for p in _resizable(layout, bounds, fit) if bounds[p.number].high > p.length]
    if fit.mode == "last":
        chosen = chosen[-1:]
    grain = grain_of(layout)
    result = dict(lengths)
    left = room // grain * grain
    # Several rounds: what one partition may not take goes to the others.
    while left >= grain and chosen:
        total = sum(p.length for p in chosen)
        given = 0
        for one in chosen:
            share = left if len(chosen) == 1 else left * one.length // total
            most = bounds[one.number].high - result[one.number]
            more = min(share, most) // grain * grain
            result[one.number] += more
            given += more
        left -= given
        chosen = [p for p in chosen if bounds[p.number].high - result[p.number] >= grain]
        if given == 0:
            break
    return result


def _shrink(
    layout: Layout,
    bounds: Mapping[int, Bounds],
    lengths: dict[int, int],
    end: int,
    fit: Fit,
    target: tuple[int, int],
) -> dict[int, int]:
    """Shorter partitions, so that the last one ends at ``end``.

    Raises:
        TargetRefused: they do not fit.
    """
    grain = grain_of(layout)
    chosen = [p for p in _resizable(layout, bounds, fit) if bounds[p.number].low < p.length]
    lowest = {p.number: _down_to(bounds[p.number].low, p.length, grain) for p in chosen}

    def over(tried: Mapping[int, int]) -> int:
        return max(e.end for e in lay_out(layout, tried, close=True).values()) - end

    if over({**lengths, **lowest}) > 0:
        raise _too_small(layout, bounds, *target, chosen=fit.mode == "named")
    result = dict(lengths)
    order_of_giving = [[p] for p in reversed(chosen)] if fit.mode == "last" else [chosen]
    for group in order_of_giving:
        for _ in range(64):
            missing = over(result)
            slack = {p.number: result[p.number] - lowest[p.number] for p in group}
            total = sum(slack.values())
            if missing <= 0 or total <= 0:
                break
            for one in group:
                share = up(-(-missing * slack[one.number] // total), grain)
                result[one.number] = max(
                    lowest[one.number], (result[one.number] - share) // grain * grain
                )
    if over(result) > 0:
        raise _too_small(layout, bounds, *target)
    return result


def _resizable(layout: Layout, bounds: Mapping[int, Bounds], fit: Fit) -> list[Partition]:
    """Partitions that ``fit`` lets change their length, in the order of the disk."""
    result = []
    for one in sorted(layout.partitions, key=order):
        known = bounds.get(one.number)
        if one.kind == "extended" or known is None or known.fixed:
            continue
        if fit.mode == "named":
            if one.number in fit.numbers:
                result.append(one)
        elif not stays_unnamed(one, known):
            result.append(one)
    return result


def stays_unnamed(partition: Partition, bounds: Bounds) -> bool:
    """Whether nobody wants this one longer who did not say so: swap, the firmware's ESP."""
    return bounds.quiet or partition.type_id in _ESP


def _too_small(
    layout: Layout,
    bounds: Mapping[int, Bounds],
    size: int,
    sector: int,
    *,
    chosen: bool = False,
) -> TargetRefused:
    need = max((p.extent.end for p in layout.partitions), default=layout.size)
    need = max(need, layout.size) if layout.label == "none" else need
    least = smallest(layout, bounds, sector)
    stuck = [
        f"partition {p.number} ({bounds[p.number].why})"
        for p in layout.partitions
        if p.number in bounds and bounds[p.number].fixed and p.length >= 64 * MIB
    ]
    message = (
        f"the target is too small: it has {size} bytes, the partitions of the image reach to "
        f"byte {need}"
    )
    if size >= least:
        how = "--fit all" if not chosen else "--fit all, which shrinks the others too"
        return TargetRefused(message, hint=f"it fits with {how}")
    more = f"; not to be shrunk: {', '.join(stuck)}" if stuck else ""
    return TargetRefused(
        message, hint=f"the image fits on disks from {format_size(least)} ({least} bytes){more}"
    )


def _down_to(low: int, length: int, grain: int) -> int:
    """The shortest aligned length that is not below ``low``; never longer than it was."""
    return min(length, up(low, grain))
