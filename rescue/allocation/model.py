"""What of a region is captured, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rescue.allocation.detect import Detected
from rescue.allocation.state import State
from rescue.core.extent import Extent, ExtentMap

Method = Literal["partclone", "stack", "whole", "swap", "none"]


@dataclass(frozen=True, slots=True)
class VolumeMap:
    """What of one region is captured. All extents are places on the disk, in bytes.

    Attributes:
        fs: blkid's word, or empty when nothing is known.
        method: how ``allocated`` was found: "stack" for the maps of what lies inside a container,
            "none" for an empty region.
        skipped: what is left out though it may hold data, and why. Free clusters are not listed.
        state: whether the filesystem was closed cleanly; of a stack, the worst inside it.
        notes: what a person should know, one line each.
    """

    fs: str
    label: str
    uuid: str
    method: Method
    allocated: ExtentMap
    skipped: tuple[tuple[Extent, str], ...] = ()
    state: State = "unknown"
    notes: tuple[str, ...] = ()


def whole(found: Detected, region: Extent, note: str, known: State = "unknown") -> VolumeMap:
    """Every byte of the region."""
    everything = ExtentMap.single(region.start, region.length)
    return VolumeMap(
        found.fs, found.label, found.uuid, "whole", everything, state=known, notes=(note,)
    )
