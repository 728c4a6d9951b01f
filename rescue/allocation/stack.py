"""Volumes inside a volume: the used bytes of what lies in LVM, LUKS, BitLocker and mirrors.

Each volume inside is looked at as if it were a partition, and its used bytes are told as places on
the disk; what is captured there is what stands on the disk, encrypted if it is. What lies beside
the volumes inside (headers, key slots, metadata) is always captured, and what cannot be made out is
captured whole, with a note, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rescue.allocation import lvm, opened
from rescue.allocation.detect import Detected
from rescue.allocation.model import VolumeMap, whole
from rescue.allocation.node import existing_node, own_device
from rescue.allocation.pieces import Inside, Piece, complete, outward, shifted, told
from rescue.allocation.state import State
from rescue.core.errors import DiskTrouble, ProgramFailed
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import format_size
from rescue.devices import crypt, loop
from rescue.devices.blockio import Source
from rescue.devices.mapper import read_only_pieces
from rescue.devices.model import Disk

Look = Callable[[Source, Disk, Extent], VolumeMap]
"""How a volume inside is looked at: extents of the result are places on the disk given."""

Ask = Callable[[str, int], bytes]
"""The passphrase of a container of this kind (blkid's word); the number counts the wrong ones so
far. Empty: it stays closed, and all of it is captured."""

_LVM = "LVM2_member"
CONTAINERS = frozenset({_LVM, "linux_raid_member", *crypt.TYPES})
# RAID, encryption, LVM, encryption again: nothing real goes further down.
DEEPEST = 4
# From the best to the worst that can be said of several volumes together.
_WORSE: tuple[State, ...] = ("clean", "unknown", "dirty", "hibernated")


def map_container(
    source: Source, disk: Disk, found: Detected, region: Extent, look: Look, ask: Ask | None
) -> VolumeMap:
    """Find the bytes of a container that hold data; whatever is odd is captured whole.

    Raises:
        UsageError: from ``ask``: a passphrase that was given opens nothing.
    """
    try:
        if found.fs == _LVM:
            return _logical_volumes(source, disk, found, region, look)
        return _opened(disk, found, region, look, ask)
    except (ProgramFailed, DiskTrouble) as error:
        return whole(found, region, f"{found.fs}, every sector captured: {error.message}")


def _logical_volumes(
    source: Source, disk: Disk, found: Detected, region: Extent, look: Look
) -> VolumeMap:
    """Every logical volume by itself; extents that none of them has are free."""
    with own_device(disk, region) as node:
        physical = lvm.read(node, region.length)
    inside, hidden = [], list[Piece]()
    for volume in physical.volumes:
        pieces = shifted(volume.pieces, region.start)
        if volume.hidden:
            hidden += pieces
            continue
        if volume.odd:
            seen = _kept(pieces, f"{volume.odd}, every sector captured")
        elif not complete(pieces, volume.size):
            part = format_size(sum(p.length for p in pieces))
            seen = _kept(pieces, f"{part} of it are on this disk, every sector captured")
        else:
            seen = _plain(source, disk, volume.size, pieces, look)
        inside.append(Inside(f"{physical.group}/{volume.name}", volume.size, seen))
    if hidden:
        size = sum(p.length for p in hidden)
        note = f"{format_size(size)} of pools, mirrors and caches, every sector captured"
        inside.append(Inside(physical.group, size, _kept(hidden, note)))
    divided = ExtentMap.single(region.start + physical.extents.start, physical.extents.length)
    return _together(found, region, divided, inside)


def _plain(source: Source, disk: Disk, size: int, pieces: Sequence[Piece], look: Look) -> VolumeMap:
    """A logical volume that is all on this disk."""
    ordered = sorted(pieces, key=lambda p: p.inner)
    if len(ordered) == 1:
        return look(source, disk, ordered[0].extent)
    try:
        with (
            read_only_pieces(disk.path, [p.extent for p in ordered]) as node,
            Source(node) as joined,
        ):
            seen = look(joined, _disk_of(joined), Extent(0, size))
    except (ProgramFailed, DiskTrouble) as error:
        return _kept(pieces, f"in {len(ordered)} pieces, every sector captured: {error.message}")
    return _placed(seen, ordered)


def _opened(disk: Disk, found: Detected, region: Extent, look: Look, ask: Ask | None) -> VolumeMap:
    """A container that is open, or can be opened; of a closed one nobody can tell what is used."""
    with ExitStack() as held:
        node = existing_node(disk, region)
        seen = opened.find(node, region.length) if node is not None else None
        if seen is None and ask is not None and found.fs in crypt.TYPES:
            # Of a file cryptsetup would make a device itself, which nobody could find again.
            if node is None or not node.is_block_device():
                node = held.enter_context(loop.read_only_part(disk.path, region))
            if _unlocked(held, node, found.fs, ask):
                seen = opened.find(node, region.length)
        if seen is None:
            more = "; less with --unlock" if found.fs in crypt.TYPES else ""
            return whole(found, region, f"{found.fs}, every sector captured{more}")
        pieces = shifted(seen.pieces, region.start)
        with Source(seen.node) as content:
            used = look(content, _disk_of(content), Extent(0, seen.size))
    placed = _placed(used, pieces, seen.unit)
    covered = ExtentMap.of((p.outer, p.extent.end) for p in pieces)
    return _together(found, region, covered, [Inside("", seen.size, placed)])


def _unlocked(held: ExitStack, node: Path, fs: str, ask: Ask) -> bool:
    """Open an encrypted container for as long as ``held`` lasts; False: nobody wants that."""
    wrong = 0
    while passphrase := ask(fs, wrong):
        try:
            held.enter_context(crypt.opened(node, fs, passphrase))
            return True
        except crypt.WrongPassphrase:
            wrong += 1
    return False


def _disk_of(source: Source) -> Disk:
    """A device that is there for a moment, as a disk; nobody else is asked about it."""
    return Disk(source.path, "block", source.size, source.sector_size, source.physical_sector_size)


def _placed(seen: VolumeMap, pieces: Sequence[Piece], unit: int = 1) -> VolumeMap:
    """The same map with places on the outer volume."""
    skipped = [
        (extent, why)
        for inner, why in seen.skipped
        for extent in outward(ExtentMap.single(inner.start, inner.length), pieces)
    ]
    allocated = outward(seen.allocated, pieces, unit)
    return VolumeMap(
        seen.fs, seen.label, seen.uuid, seen.method, allocated, tuple(skipped), seen.state,
        seen.notes,
    )  # fmt: skip


def _kept(pieces: Sequence[Piece], note: str) -> VolumeMap:
    """Every byte of these pieces."""
    everything = ExtentMap.of((p.outer, p.extent.end) for p in pieces)
    return VolumeMap("", "", "", "whole", everything, notes=(note,))


def _together(
    found: Detected, region: Extent, divided: ExtentMap, inside: Sequence[Inside]
) -> VolumeMap:
    """The map of a container: what is used inside, and all that does not belong to an inside."""
    allocated = divided.complement(region.start, region.end)
    for one in inside:
        allocated = allocated.union(one.found.allocated)
    states = [one.found.state for one in inside]
    return VolumeMap(
        found.fs,
        found.label,
        found.uuid,
        "stack",
        allocated,
        tuple(skip for one in inside for skip in one.found.skipped),
        max(states, key=_WORSE.index) if states else "unknown",
        tuple(line for one in inside for line in told(one)),
    )
