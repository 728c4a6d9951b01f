"""A layout before and after, as a table and as bars of letters. Pure.

Every partition is wide enough for its number, however small it is: a bar is a picture and not a
ruler. The command line paints the cells; here they are plain text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rescue.core.extent import Extent
from rescue.core.units import format_size
from rescue.devices.model import Layout
from rescue.image.manifest import Volume
from rescue.restore.layout import Arrangement, Place

WIDTH = 64
FREE = "."


def table(places: Sequence[Place], volumes: Sequence[Volume]) -> list[str]:
    """Old and new start and size of each partition, aligned."""
    known = {volume.partition: volume for volume in volumes}
    rows = [("", "HOLDS", "USED", "SIZE BEFORE", "AFTER", "START BEFORE", "AFTER", "CHANGE")]
    for place in places:
        volume = known.get(place.number)
        about = " ".join(filter(None, (volume.fs, volume.label))) if volume else place.kind
        rows.append(
            (
                f"partition {place.number}",
                about,
                format_size(volume.captured) if volume else "-",
                format_size(place.old.length),
                format_size(place.new.length),
                format_size(place.old.start),
                format_size(place.new.start),
                place.change,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i in (0, 1, 7) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def bars(old: Layout, arrangement: Arrangement, volumes: Sequence[Volume]) -> list[str]:
    """Two bars on one scale: the disk of the image and the target."""
    names = {volume.partition: volume.label or volume.fs for volume in volumes}
    scale = max(old.size, arrangement.layout.size)
    shown = [place for place in arrangement.places if place.kind != "extended"]
    before = bar({p.number: p.old for p in shown}, names, old.size, scale)
    after = bar({p.number: p.new for p in shown}, names, arrangement.layout.size, scale)
    return [
        f"  before |{before}| {format_size(old.size)}",
        f"  after  |{after}| {format_size(arrangement.layout.size)}",
    ]


def bar(extents: Mapping[int, Extent], names: Mapping[int, str], size: int, scale: int) -> str:
    """One disk: ``[1 EFI][2 root=======]....``, ``scale`` bytes for the whole width."""
    cells: list[str] = []
    reached = 0
    for number, extent in sorted(extents.items(), key=lambda item: item[1].start):
        cells.append(FREE * round(WIDTH * (extent.start - reached) / scale))
        inner = max(len(str(number)), round(WIDTH * extent.length / scale) - 2)
        words = f"{number} {names.get(number, '')}".strip()
        # A bracket in a label would end its cell.
        words = words.replace("[", "(").replace("]", ")").replace("|", "/")
        cells.append("[" + words[:inner].rstrip().ljust(inner, "=") + "]")
        reached = extent.end
    cells.append(FREE * round(WIDTH * (size - reached) / scale))
    return "".join(cells)
