"""Onto a disk of another size: which ways there are, in words.

Pure: the places are worked out by the very code that plans the restore. How short a filesystem can
become is an estimate there as here; its own program has the last word, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescue.core.errors import RescueError
from rescue.core.units import MIB, format_size
from rescue.devices.model import Layout
from rescue.image.manifest import Volume
from rescue.restore.arrange import arrange, smallest, stays_unnamed
from rescue.restore.bounds import Bounds
from rescue.restore.layout import Arrangement, parse_fit
from rescue.shell.facts import Found

NONE = "none"
BY_PROGRAM = (
    "Filesystems are made smaller in a copy, by their own programs, before anything is written. If "
    "that does not work the disk stays as it is now."
)
_SINGLE = 6  # more ways than these help nobody to choose


@dataclass(frozen=True, slots=True)
class Way:
    """One way to bring an image onto a disk of another size.

    Attributes:
        fit: as ``--fit`` takes it, or "none".
        title: a line.
        changes: each partition that becomes longer or shorter, a line for each.
        layout: how the disk will be divided; None where the image has no partitions.
    """

    fit: str
    title: str = ""
    changes: tuple[str, ...] = ()
    layout: Layout | None = None


def ways(image: Found, bounds: Mapping[int, Bounds], size: int, sector: int = 0) -> tuple[Way, ...]:
    """Every way onto a disk of this size, the plainest first; none where there is no way.

    A disk of the image's own size has exactly one, and so has a smaller one that is large enough.

    Args:
        sector: of the disk, where it is another than the image's: its table takes other room.
    """
    layout = _divided(image)
    if layout is None or (size == image.disk_size and not sector):
        return (Way(NONE, layout=image.layout),) if size >= image.disk_size else ()
    plain = _way(image, layout, bounds, (size, sector), NONE)
    if plain is not None and size <= image.disk_size:
        return (plain,)
    wanted = [
        p
        for p in layout.partitions
        if p.number in bounds and not stays_unnamed(p, bounds[p.number])
    ]
    # The longest first: that is the one with the files, on nearly every disk.
    wanted.sort(key=lambda p: p.length, reverse=True)
    fits = [*(str(p.number) for p in wanted[:_SINGLE]), "all"]
    kept = [plain] if plain is not None else []
    for fit in fits:
        way = _way(image, layout, bounds, (size, sector), fit)
        if way is not None and way.changes and way.changes not in [w.changes for w in kept]:
            kept.append(way)
    return tuple(kept)


def refusal(image: Found, bounds: Mapping[int, Bounds], size: int, sector: int = 0) -> str:
    """Why a disk is too small when there is no way."""
    said = f"too small: {format_size(size)}, the image is of a disk of "
    said += format_size(image.disk_size)
    layout = _divided(image)
    if layout is None:
        return said
    least = smallest(layout, bounds, sector or layout.sector_size)
    if least >= image.disk_size:
        return f"{said}, and its partitions cannot be made smaller{_stuck(layout, bounds)}"
    said += f" and needs {format_size(least)} at the least, with its partitions made smaller"
    return said + _stuck(layout, bounds)


def _stuck(layout: Layout, bounds: Mapping[int, Bounds]) -> str:
    why = [
        f"partition {p.number}: {bounds[p.number].why}"
        for p in layout.partitions
        if p.number in bounds and bounds[p.number].why and p.length >= 64 * MIB
    ]
    return f" ({'; '.join(why[:4])})" if why else ""


def summary(image: Found, found: Sequence[Way], size: int) -> str:
    """What a disk of another size means, in a line; empty for one of the same size."""
    if size == image.disk_size or not found:
        return ""
    if size > image.disk_size:
        return f"larger by {format_size(size - image.disk_size)}: the rest stays free, or is used"
    if found[0].fit == NONE:
        return "smaller, but large enough: the end of the image's disk was empty"
    return "smaller: partitions will be made smaller, files stay"


def volume_name(volume: Volume) -> str:
    """``partition 3 (ext4 "data")``."""
    label = f' "{volume.label}"' if volume.label else ""
    return f"partition {volume.partition} ({volume.fs or 'unknown'}{label})"


def _divided(image: Found) -> Layout | None:
    """The layout of an image whose partitions can be laid out anew; None where there are none."""
    layout = image.layout
    return layout if layout and layout.label != "none" and layout.partitions else None


def _way(
    image: Found, layout: Layout, bounds: Mapping[int, Bounds], target: tuple[int, int], fit: str
) -> Way | None:
    size, sector = target[0], target[1] or layout.sector_size
    try:
        arranged = arrange(layout, bounds, size // sector * sector, sector, parse_fit(fit))
    except RescueError:
        return None
    changes = _changes(image, arranged)
    return Way(fit, _title(image, fit, size), changes, arranged.layout)


def _changes(image: Found, arranged: Arrangement) -> tuple[str, ...]:
    lines = []
    for volume in image.volumes:
        place = arranged.place(volume.partition)
        if place is not None and place.new.length != place.old.length:
            old, new = format_size(place.old.length), format_size(place.new.length)
            lines.append(f"{volume_name(volume)}: {old} -> {new}")
    return tuple(lines)


def _title(image: Found, fit: str, size: int) -> str:
    larger = size > image.disk_size
    what = "larger" if larger else "smaller"
    if fit == NONE:
        rest = format_size(abs(size - image.disk_size))
        return f"As it was; the other {rest} stay free" if larger else "As it was"
    if fit == "all":
        return f"Make every partition {what} that can be, in proportion"
    volume = next((v for v in image.volumes if str(v.partition) == fit), None)
    return f"Make {volume_name(volume) if volume else fit} {what}"
