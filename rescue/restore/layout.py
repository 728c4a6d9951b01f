"""Where each partition goes on a target of another size: before and after, as values. Pure.

How long each partition becomes is decided in ``arrange``; where it starts, here. The first
partition never moves, because boot code in front of it knows its own place. When room is added,
gaps stay as they are; when room is taken away, gaps between partitions are closed first, for what
is in a gap is nobody's file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rescue.core.errors import UsageError
from rescue.core.extent import Extent
from rescue.core.units import MIB
from rescue.devices.model import Layout, Partition, order

# An MBR entry counts sectors in 32 bits.
_MBR_SECTORS = 1 << 32
SIZE_OF_ARRAY = 128 * 128  # what every partitioning tool makes
Change = Literal["kept", "moved", "grown", "shrunk"]


@dataclass(frozen=True, slots=True)
class Fit:
    """What ``--fit`` asks for: "none", "last", "all", or the numbers of partitions."""

    mode: Literal["none", "last", "all", "named"] = "none"
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """One partition before and after; extents of the source and of the target, in bytes."""

    number: int
    old: Extent
    new: Extent
    kind: str

    @property
    def change(self) -> Change:
        """What happens to it; a partition that changes its length may be moved too."""
        if self.new.length != self.old.length:
            return "grown" if self.new.length > self.old.length else "shrunk"
        return "moved" if self.new.start != self.old.start else "kept"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "partition": self.number,
            "change": self.change,
            "old": {"start": self.old.start, "length": self.old.length},
            "new": {"start": self.new.start, "length": self.new.length},
        }


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Every partition's old and new place, and the layout that the target will have."""

    places: tuple[Place, ...]
    layout: Layout

    @property
    def same(self) -> bool:
        """Whether every partition stays exactly where it was."""
        return all(place.change == "kept" for place in self.places)

    def place(self, number: int) -> Place | None:
        """The place of this partition."""
        return next((one for one in self.places if one.number == number), None)


def parse_fit(text: str | None) -> Fit:
    """``last``, ``all``, ``none``, or partition numbers: ``3`` or ``2,3``.

    Raises:
        UsageError: it is none of these.
    """
    if text is None or text == "none":
        return Fit()
    if text in ("last", "all"):
        return Fit("last" if text == "last" else "all")
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text):
        raise UsageError(
            f"--fit {text} makes no sense",
            hint="say last, all, none, or the number of a partition",
        )
    return Fit("named", tuple(sorted({int(word) for word in text.split(",")})))


def parse_numbers(text: str | None, option: str) -> tuple[int, ...]:
    """Partition numbers with commas between them.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return ()
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text):
        raise UsageError(f"{option} {text} makes no sense", hint="say numbers of partitions: 3,4")
    return tuple(sorted({int(word) for word in text.split(",")}))


def parse_sector(size: int | None) -> int | None:
    """A size that logical sectors of disks have.

    Raises:
        UsageError: it is something else.
    """
    if size not in (None, 512, 4096):
        raise UsageError(f"no disk has sectors of {size} bytes", hint="say 512 or 4096")
    return size


def grain_of(layout: Layout) -> int:
    """What partitions are aligned to: 1 MiB, or less where the source did so."""
    bits = MIB
    for partition in layout.partitions:
        if partition.kind != "extended":
            bits |= partition.start
    return max(layout.sector_size, bits & -bits)


def usable_end(layout: Layout, size: int, sector: int) -> int:
    """First byte that no partition may reach on a target of this size, rounded down to the grain.

    A GPT keeps its second copy there. An MBR cannot name what lies behind 2^32 sectors.
    """
    end = size
    if layout.label == "gpt":
        end = size - (1 + -(-SIZE_OF_ARRAY // sector)) * sector
    elif layout.label == "msdos":
        end = min(size, _MBR_SECTORS * sector)
    last = max((p.extent.end for p in layout.partitions), default=0)
    # Where nothing changes an end that is not aligned stays good.
    return end if end == last else end // grain_of(layout) * grain_of(layout)


def lay_out(layout: Layout, lengths: Mapping[int, int], *, close: bool) -> dict[int, Extent]:
    """Places for partitions of these lengths, in their old order.

    Args:
        close: gaps between partitions are closed as far as alignment lets them.
    """
    grain = grain_of(layout)
    ebrs = layout.table_extents.starts if layout.label == "msdos" else []
    placed: dict[int, Extent] = {}
    old_end = new_end = -1
    inside: Partition | None = None
    for one in sorted(layout.partitions, key=order):
        if inside is not None and one.kind != "logical":
            old_end, new_end = _close_extended(inside, placed, old_end, new_end, close)
            inside = None
        lead = 0
        if one.kind == "logical" and ebrs:
            lead = one.start - ebrs[max(0, bisect_right(ebrs, one.start) - 1)]
        if new_end < 0:
            start = one.start
        else:
            gap = one.start - old_end
            start = new_end + gap
            if close:
                start = min(start, up(new_end + min(lead, gap), grain))
            elif new_end != old_end:
                start = up(start, grain)
        placed[one.number] = Extent(start, lengths[one.number])
        if one.kind == "extended":
            # Logical partitions are placed from the start of what holds them.
            inside, old_end, new_end = one, one.start, start
        else:
            old_end, new_end = one.extent.end, start + lengths[one.number]
    if inside is not None:
        _close_extended(inside, placed, old_end, new_end, close)
    return placed


def _close_extended(
    extended: Partition, placed: dict[int, Extent], old_end: int, new_end: int, close: bool
) -> tuple[int, int]:
    """Give an extended partition the end that what is in it needs; its old and new end."""
    tail = 0 if close else extended.extent.end - old_end
    start = placed[extended.number].start
    # An extended partition without logical ones keeps its length: it is only a frame.
    length = extended.length if old_end == extended.start else new_end + tail - start
    placed[extended.number] = Extent(start, length)
    return extended.extent.end, start + length


def up(value: int, grain: int) -> int:
    """The next multiple of ``grain``."""
    return -(-value // grain) * grain


def hard_end(layout: Layout, size: int, sector: int) -> int:
    """As ``usable_end``, to the byte."""
    if layout.label == "gpt":
        return size - (1 + -(-SIZE_OF_ARRAY // sector)) * sector
    return min(size, _MBR_SECTORS * sector) if layout.label == "msdos" else size


def whole_sectors(
    layout: Layout, extents: Mapping[int, Extent], sector: int, end: int
) -> dict[int, Extent]:
    """Partitions made whole sectors long: up where there is room behind one, else down.

    What is cut off is less than a block of every filesystem that goes as it is.
    """
    result = dict(extents)
    ordered = sorted(layout.partitions, key=order)
    for index, one in enumerate(ordered):
        place = extents[one.number]
        over = place.length % sector
        if not over:
            continue
        following = [extents[p.number].start for p in ordered[index + 1 :]]
        limit = min([end, *(start for start in following if start >= place.end)])
        longer = place.length - over + sector
        # What holds logical partitions and what is held end together.
        fits = one.kind in ("gpt", "primary") and place.start + longer <= limit
        result[one.number] = Extent(place.start, longer if fits else place.length - over)
    return result
