"""What a capture is going to do: which bytes are read, which are left out, and why.

Facts are gathered first (``gather``); ``plan`` is pure and is what the tests look at.

Besides the used clusters of each volume an image holds, exactly: both copies of the tables, every
EBR, the gap before the first partition (boot code lives there) and small gaps between partitions.
Of a large gap the first and last MiB are kept, because RAID and dynamic-disk metadata sit at the
edges of disks, and the rest counts as free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rescue.allocation.model import VolumeMap
from rescue.allocation.volume import map_volume
from rescue.core.errors import UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.progress import Reporter, Silent
from rescue.core.units import MIB, format_size
from rescue.devices.blockio import Source
from rescue.devices.discover import inspect
from rescue.devices.model import Disk, Layout, Partition
from rescue.devices.table import read_layout
from rescue.image.ledger import Ledger, Skipped
from rescue.image.manifest import Volume

Unlock = Callable[[str, str, int], bytes]
"""As ``stack.Ask``, with the name of the partition before."""

SMALL_GAP = 16 * MIB
FIRST_GAP = 64 * MIB
GAP_EDGE = 1 * MIB


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What will be read and why the rest is not.

    Attributes:
        captured: the bytes of the disk that will be in the image.
        ledger: every byte of the disk, before a single one was read.
        chosen: partition numbers asked for; empty means all.
    """

    disk: Disk
    layout: Layout
    volumes: tuple[Volume, ...]
    captured: ExtentMap
    ledger: Ledger
    chosen: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def allocated(self) -> int:
        """Bytes that will be read."""
        return self.ledger.captured

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What is left out on purpose."""
        return self.ledger.skipped


def plan_capture(
    source: Path,
    *,
    partitions: Sequence[int] = (),
    all_sectors: bool = False,
    reporter: Reporter | None = None,
    unlock: Unlock | None = None,
) -> CapturePlan:
    """Look at a disk and plan its capture; nothing is written.

    Args:
        unlock: asked for the passphrases of encrypted partitions that are closed; each is opened
            for the look alone. None: they are captured whole.

    Raises:
        DiskTrouble: the disk or its table cannot be read.
        UsageError: a partition was named that is not there, or a passphrase opens nothing.
    """
    report = reporter or Silent()
    with Source(source) as opened:
        disk = inspect(source)
        if all_sectors:
            return plan_all_sectors(disk, _any_layout(disk, opened))
        layout = read_layout(disk)
        volumes = volumes_of(layout)
        check_chosen(layout, partitions)
        wanted = [p for p in volumes if not partitions or p.number in partitions]
        maps: dict[int, VolumeMap] = {}
        for partition in wanted:
            ask = partial(unlock, name_of(partition)) if unlock is not None else None
            maps[partition.number] = map_volume(opened, disk, partition.extent, ask)
            for note in maps[partition.number].notes:
                report.note(f"{name_of(partition)}: {note}")
    return plan(disk, layout, maps, tuple(partitions))


def name_of(partition: Partition) -> str:
    """ "partition 3", or "the disk" where there is no table."""
    return f"partition {partition.number}" if partition.number else "the disk"


def _any_layout(disk: Disk, source: Source) -> Layout:
    """The layout, or one without partitions where the table cannot be made out."""
    from rescue.core.errors import DiskTrouble

    try:
        return read_layout(disk)
    except DiskTrouble:
        return Layout("none", disk.sector_size, disk.size, "", (), ExtentMap())


def volumes_of(layout: Layout) -> tuple[Partition, ...]:
    """The partitions that hold a volume; a disk without a table is one volume, number 0."""
    if layout.label == "none":
        return (Partition(0, 0, layout.size, "primary", ""),)
    return tuple(p for p in layout.partitions if p.kind != "extended")


def check_chosen(layout: Layout, chosen: Sequence[int]) -> None:
    """Refuse partition numbers that the disk does not have."""
    known = [p.number for p in volumes_of(layout) if p.number]
    for number in chosen:
        if number not in known:
            there = ", ".join(map(str, sorted(known))) or "none"
            raise UsageError(f"the disk has no partition {number}", hint=f"its partitions: {there}")


def plan_all_sectors(disk: Disk, layout: Layout) -> CapturePlan:
    """Every sector, whatever the filesystems say."""
    volumes = tuple(
        Volume(p.number, p.extent, "unknown", "", "", "whole", p.length) for p in volumes_of(layout)
    )
    whole = ExtentMap.single(0, disk.size)
    return CapturePlan(
        disk, layout, volumes, whole, Ledger(disk.size, disk.size, 0), (), _use_notes(disk)
    )


def plan(
    disk: Disk, layout: Layout, maps: dict[int, VolumeMap], chosen: tuple[int, ...]
) -> CapturePlan:
    """The plan from facts already gathered; pure.

    Args:
        maps: the allocation map of each volume that will be captured, by partition number.
    """
    partitions = volumes_of(layout)
    pairs: list[tuple[int, int]] = list(layout.table_extents.pairs())
    covered = ExtentMap.of((p.start, p.extent.end) for p in partitions)
    for gap in covered.complement(0, disk.size):
        pairs += _gap_pairs(gap, disk.size)
    skipped: list[Skipped] = []
    volumes: list[Volume] = []
    for partition in partitions:
        found = maps.get(partition.number)
        if found is None:
            skipped.append(
                Skipped(partition.extent, f"partition {partition.number} was not chosen")
            )
            continue
        pairs += found.allocated.pairs()
        skipped += [Skipped(extent, reason) for extent, reason in found.skipped]
        volumes.append(
            Volume(
                partition.number,
                partition.extent,
                found.fs,
                found.label,
                found.uuid,
                found.method,
                found.allocated.total,
                found.state,
                tuple(found.notes),
            )
        )
    captured = ExtentMap.of((max(0, s), min(e, disk.size)) for s, e in pairs)
    left_out = _without(skipped, captured)
    taken = captured.total
    free = disk.size - taken - sum(item.extent.length for item in left_out)
    ledger = Ledger(disk.size, taken, free, left_out)
    notes = (*layout.warnings, *_use_notes(disk))
    return CapturePlan(disk, layout, tuple(volumes), captured, ledger, chosen, notes)


def _gap_pairs(gap: Extent, size: int) -> list[tuple[int, int]]:
    """The parts of a gap between partitions that are captured."""
    limit = FIRST_GAP if gap.start == 0 else SMALL_GAP
    if gap.length <= limit:
        return [(gap.start, gap.end)]
    head = FIRST_GAP if gap.start == 0 else GAP_EDGE
    return [(gap.start, gap.start + head), (gap.end - GAP_EDGE, gap.end)]


def _without(skipped: Sequence[Skipped], captured: ExtentMap) -> tuple[Skipped, ...]:
    """What is skipped and neither captured nor skipped already by an earlier line."""
    result: list[Skipped] = []
    taken = captured
    for item in skipped:
        for extent in taken.complement(item.extent.start, item.extent.end):
            result.append(Skipped(extent, item.reason))
        taken = taken.union(ExtentMap.single(item.extent.start, item.extent.length))
    return tuple(result)


def _use_notes(disk: Disk) -> tuple[str, ...]:
    """A disk in use changes while it is read; the person is told, and the image remembers."""
    return tuple(
        f"{use}: what is written to it during the capture may be missing or half there"
        for use in disk.uses
        if use.what in ("mounted", "swap", "holder")
    )


def summary(plan: CapturePlan) -> str:
    """ "12.3 GiB of 931.5 GiB": what will be read of how much."""
    return f"{format_size(plan.allocated)} of {format_size(plan.disk.size)}"
