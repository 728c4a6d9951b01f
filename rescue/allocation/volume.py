"""Which bytes of a volume must be captured, and what is left out on purpose.

partclone's map is used only for a filesystem that was closed cleanly: the free-space structures
of one that was not lag behind its journal, and clusters that the journal would bring back would be
lost. Whatever is odd leads to the same safe answer, with a note: capture the whole region.
"""

from __future__ import annotations

from rescue.allocation import partclone, stack, state
from rescue.allocation.detect import Detected, detect
from rescue.allocation.model import VolumeMap, whole
from rescue.allocation.node import own_device
from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB
from rescue.devices.blockio import Source
from rescue.devices.model import Disk

_SWAP_PAGES = (4096, 8192, 16384, 32768, 65536)
_SWAP_SIGNATURES = (b"SWAPSPACE2", b"SWAP-SPACE")
# Boot code may lie in front of any filesystem's first structure; btrfs reserves the most.
_HEAD = 65536
# Behind a filesystem's last cluster: NTFS keeps a copy of its boot sector there.
_TAIL = MIB


def map_volume(
    source: Source, disk: Disk, region: Extent, ask: stack.Ask | None = None, depth: int = 0
) -> VolumeMap:
    """Find the bytes of ``region`` that hold data.

    Args:
        ask: for the passphrase of a container that nobody opened; None: it is left closed.
        depth: how many containers it lies in.

    Raises:
        UsageError: a passphrase that was given opens nothing.
        ProgramFailed: blkid is missing or cannot read the disk. A missing or refusing partclone
            is no error: everything is captured, and a note holds its words.
    """
    if region.length <= 0:
        return VolumeMap("", "", "", "none", ExtentMap())
    found = detect(disk.path, region)
    if found.conflict:
        return whole(found, region, "signatures of several filesystems, every sector captured")
    if depth and found.table and found.fs:
        # A logical volume given to a virtual machine: what was there before may still show.
        return whole(found, region, "a filesystem and a partition table, every sector captured")
    if found.fs in ("swap", "swsuspend"):
        return _swap(source, found, region)
    if found.fs in stack.CONTAINERS and depth < stack.DEEPEST:

        def inside(source: Source, disk: Disk, region: Extent) -> VolumeMap:
            return map_volume(source, disk, region, ask, depth + 1)

        return stack.map_container(source, disk, found, region, inside, ask)
    if found.fs not in partclone.PROGRAMS:
        what = found.fs or "no known filesystem"
        return whole(found, region, f"{what}, every sector captured")
    if found.version == "FAT12":
        # partclone 0.3.23 reads the 12-bit entries as 16-bit ones and loses used clusters. FAT12
        # has at most 4,084 clusters, so all of it is little.
        return whole(found, region, "FAT12, every sector captured")
    return _filesystem(source, disk, found, region)


def _swap(source: Source, found: Detected, region: Extent) -> VolumeMap:
    """Signature, label and UUID of swap space; its pages are worth nothing after a restart."""
    if found.fs == "swsuspend":
        note = "swap holds a hibernated system, every sector captured"
        return whole(found, region, note, "hibernated")
    try:
        head = source.pread(min(region.length, _SWAP_PAGES[-1]), region.start)
    except OSError:
        return whole(found, region, "swap header is unreadable, every sector captured")
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
    return whole(found, region, "swap of an unknown kind, every sector captured")


def _filesystem(source: Source, disk: Disk, found: Detected, region: Extent) -> VolumeMap:
    """A filesystem that partclone knows."""
    judged = state.judge(source, found.fs, region)
    if not judged.map_is_current:
        return whole(found, region, f"{judged.reason}, every sector captured", judged.state)
    try:
        with own_device(disk, region) as device:
            used = partclone.used_extents(device, found.fs, region.length)
    except ProgramFailed as error:
        return whole(found, region, f"{error.message}, every sector captured", judged.state)
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
