"""Which bytes of a volume must be captured, and what is left out on purpose.

partclone's map is used only for a filesystem that was closed cleanly: the free-space structures
of one that was not lag behind its journal, and clusters that the journal would bring back would be
lost. Whatever is odd leads to the same safe answer, with a note: capture the whole region.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rescue.allocation import partclone, state
from rescue.allocation.detect import Detected, detect
from rescue.core.errors import DiskTrouble, ProgramFailed
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB
from rescue.devices import loop
from rescue.devices.blockio import Source
from rescue.devices.model import Disk

Method = Literal["partclone", "whole", "swap", "none"]

_SWAP_PAGES = (4096, 8192, 16384, 32768, 65536)
_SWAP_SIGNATURES = (b"SWAPSPACE2", b"SWAP-SPACE")
# Boot code may lie in front of any filesystem's first structure; btrfs reserves the most.
_HEAD = 65536
# Behind a filesystem's last cluster: NTFS keeps a copy of its boot sector there.
_TAIL = MIB


@dataclass(frozen=True, slots=True)
class VolumeMap:
    """What of one region is captured. All extents are places on the disk, in bytes.

    Attributes:
        fs: blkid's word, or empty when nothing is known.
        method: how ``allocated`` was found; "none" for an empty region.
        skipped: what is left out though it may hold data, and why. Free clusters are not listed.
        state: whether the filesystem was closed cleanly.
        notes: what a person should know, one line each.
    """

    fs: str
    label: str
    uuid: str
    method: Method
    allocated: ExtentMap
    skipped: tuple[tuple[Extent, str], ...] = ()
    state: state.State = "unknown"
    notes: tuple[str, ...] = ()


def map_volume(source: Source, disk: Disk, region: Extent) -> VolumeMap:
    """Find the bytes of ``region`` that hold data.

    Raises:
        ProgramFailed: blkid is missing or cannot read the disk. A missing or refusing partclone
            is no error: everything is captured, and a note holds its words.
    """
    if region.length <= 0:
        return VolumeMap("", "", "", "none", ExtentMap())
    found = detect(disk.path, region)
    if found.conflict:
        return _whole(found, region, "signatures of several filesystems, every sector captured")
    if found.fs in ("swap", "swsuspend"):
        return _swap(source, found, region)
    if found.fs not in partclone.PROGRAMS:
        what = found.fs or "no known filesystem"
        return _whole(found, region, f"{what}, every sector captured")
    if found.version == "FAT12":
        # partclone 0.3.23 reads the 12-bit entries as 16-bit ones and loses used clusters. FAT12
        # has at most 4,084 clusters, so all of it is little.
        return _whole(found, region, "FAT12, every sector captured")
    return _filesystem(source, disk, found, region)


def _whole(found: Detected, region: Extent, note: str, known: state.State = "unknown") -> VolumeMap:
    """Every byte of the region."""
    everything = ExtentMap.single(region.start, region.length)
    return VolumeMap(
        found.fs, found.label, found.uuid, "whole", everything, state=known, notes=(note,)
    )


def _swap(source: Source, found: Detected, region: Extent) -> VolumeMap:
    """Signature, label and UUID of swap space; its pages are worth nothing after a restart."""
    if found.fs == "swsuspend":
        note = "swap holds a hibernated system, every sector captured"
        return _whole(found, region, note, "hibernated")
    try:
        head = source.pread(min(region.length, _SWAP_PAGES[-1]), region.start)
    except OSError:
        return _whole(found, region, "swap header is unreadable, every sector captured")
    for page in _SWAP_PAGES:
        if head[page - 10 : page] in _SWAP_SIGNATURES:
            rest = Extent(region.start + page, region.length - page)
            return VolumeMap(
                found.fs,
                found.label,
                found.uuid,
                "swap",
                ExtentMap.single(region.start, page),
                ((rest, "swap pages"),) if rest.length else (),
                "clean",
                ("swap, only signature, label and UUID captured",),
            )
    return _whole(found, region, "swap of an unknown kind, every sector captured")


def _filesystem(source: Source, disk: Disk, found: Detected, region: Extent) -> VolumeMap:
    """A filesystem that partclone knows."""
    judged = state.judge(source, found.fs, region)
    if not judged.map_is_current:
        return _whole(found, region, f"{judged.reason}, every sector captured", judged.state)
    try:
        with own_device(disk, region) as device:
            used = partclone.used_extents(device, found.fs, region.length)
    except ProgramFailed as error:
        return _whole(found, region, f"{error.message}, every sector captured", judged.state)
    end = judged.size or region.length
    always = [(0, min(_HEAD, region.length))]
    always += [(start, min(stop, region.length)) for start, stop in judged.also]
    skipped: tuple[tuple[Extent, str], ...] = ()
    if region.length - end <= _TAIL:
        always.append((end, region.length))
    else:
        rest = Extent(region.start + end, region.length - end)
        skipped = ((rest, f"behind the end of the {found.fs} filesystem"),)
    allocated = used.union(ExtentMap.of(always))
    return VolumeMap(
        found.fs,
        found.label,
        found.uuid,
        "partclone",
        allocated.shifted(region.start),
        skipped,
        judged.state,
        (judged.reason,) if judged.reason else (),
    )


@contextmanager
def own_device(disk: Disk, region: Extent) -> Iterator[Path]:
    """A path at which exactly ``region`` can be read: file, disk, partition node, or loop device.

    A loop device is read-only and is detached at the end, whatever happens.

    Raises:
        ProgramFailed: a loop device is needed and cannot be had (not root).
    """
    if region.start == 0 and region.length == disk.size:
        yield disk.path
        return
    node = partition_node(disk, region) if disk.kind == "block" else None
    if node is not None:
        yield node
        return
    if os.geteuid() != 0:
        raise ProgramFailed("reading a filesystem inside a disk needs root")
    try:
        with loop.read_only_part(disk.path, region) as device:
            yield device
    except DiskTrouble as error:
        raise ProgramFailed(error.message, hint=error.hint) from error


def partition_node(disk: Disk, region: Extent) -> Path | None:
    """The kernel's node of the partition that is exactly ``region``, or None."""
    system = Path("/sys/class/block") / disk.path.resolve().name
    try:
        children = sorted(child for child in system.iterdir() if (child / "partition").exists())
        for child in children:
            # sysfs counts in 512 bytes whatever the disk's sector is.
            start = int((child / "start").read_text()) * 512
            length = int((child / "size").read_text()) * 512
            node = Path("/dev") / child.name
            if (start, length) == (region.start, region.length) and node.exists():
                return node
    except (OSError, ValueError):
        return None
    return None
