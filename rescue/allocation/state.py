"""Whether a filesystem was closed cleanly, so that its free-space structures can be believed.

Each check reads a few documented fields of the disk structures, cited beside them. A journal that
must be replayed (ext4, XFS, NTFS), a log tree (btrfs) or a missing unmount mark (F2FS, exFAT) means
that clusters are in use which no bitmap shows yet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rescue.allocation import ntfs, xfslog
from rescue.core.extent import Extent
from rescue.devices.blockio import Source

State = Literal["clean", "dirty", "hibernated", "unknown"]
Read = Callable[[int, int], bytes]
"""``read(length, offset)`` with offsets from the start of the volume; exact, or OSError."""

_LATER = "its latest changes are still in its journal"


@dataclass(frozen=True, slots=True)
class Judged:
    """What the structures of a filesystem say.

    Attributes:
        map_is_current: whether partclone's map may be used.
        reason: one clause for a note when there is something to tell.
        size: bytes that the filesystem takes, or 0 when not known.
        also: (start, end) within the volume that must be captured whatever the map says.
    """

    state: State
    map_is_current: bool
    reason: str = ""
    size: int = 0
    also: tuple[tuple[int, int], ...] = ()


def judge(source: Source, fs: str, region: Extent) -> Judged:
    """Judge the filesystem ``fs`` (blkid's word) in ``region``; never raises for bad contents."""

    def read(length: int, offset: int) -> bytes:
        if offset < 0 or offset + length > region.length:
            raise OSError(f"offset {offset} is outside the volume")
        data = source.pread(length, region.start + offset)
        if len(data) < length:
            raise OSError("the disk ends early")
        return data

    try:
        if fs in ("ext2", "ext3", "ext4"):
            return _ext(read)
        if fs == "xfs":
            return _xfs(read)
        if fs == "btrfs":
            return _btrfs(read)
        if fs == "f2fs":
            return _f2fs(read)
        if fs == "exfat":
            return _exfat(read)
        if fs == "vfat":
            return _fat(read)
        if fs == "ntfs":
            return _ntfs(read)
    except (OSError, struct.error, ValueError, ArithmeticError, LookupError) as error:
        return Judged("unknown", False, f"the structures of this {fs} cannot be read ({error})")
    return Judged("unknown", False, f"nothing is known about the state of {fs}")


def _ext(read: Read) -> Judged:
    """Kernel Documentation/filesystems/ext4/super.rst: s_state 0x3A, s_feature_incompat 0x60."""
    block = read(1024, 1024)
    (low,) = struct.unpack_from("<I", block, 0x04)
    (log_size,) = struct.unpack_from("<I", block, 0x18)
    (status,) = struct.unpack_from("<H", block, 0x3A)
    (incompatible,) = struct.unpack_from("<I", block, 0x60)
    (high,) = struct.unpack_from("<I", block, 0x150)
    count = low | (high << 32 if incompatible & 0x80 else 0)  # INCOMPAT_64BIT
    size = count << (10 + min(log_size, 6))
    if incompatible & 0x04:  # INCOMPAT_RECOVER
        return Judged("dirty", False, f"this ext filesystem was not unmounted, {_LATER}", size)
    if not status & 1 or status & 2:  # cleanly unmounted; errors detected
        return Judged("dirty", False, "this ext filesystem has errors or was not unmounted", size)
    return Judged("clean", True, size=size)


def _xfs(read: Read) -> Judged:
    """XFS Algorithms & Data Structures, "Superblocks": all fields big-endian."""
    block = read(512, 0)
    (block_size,) = struct.unpack_from(">I", block, 4)
    (count,) = struct.unpack_from(">Q", block, 8)
    size = block_size * count
    if xfslog.is_clean(read, block):
        return Judged("clean", True, size=size)
    return Judged("dirty", False, f"this XFS was not unmounted, {_LATER}", size)


def _btrfs(read: Read) -> Judged:
    """btrfs on-disk format, struct btrfs_super_block at 64 KiB."""
    block = read(4096, 65536)
    (log_root,) = struct.unpack_from("<Q", block, 0x60)
    (devices,) = struct.unpack_from("<Q", block, 0x88)
    (size,) = struct.unpack_from("<Q", block, 0xC9 + 8)  # dev_item: devid, total_bytes
    # Copies of the superblock: 64 KiB, 64 MiB, 256 GiB.
    mirrors = tuple((at, at + 4096) for at in (1 << 16, 1 << 26, 1 << 38) if at + 4096 <= size)
    if devices != 1:
        return Judged("unknown", False, f"this btrfs spans {devices} disks", size)
    if log_root:
        return Judged("dirty", False, "this btrfs was not unmounted, its log tree is in use", size)
    return Judged("clean", True, size=size, also=mirrors)


def _f2fs(read: Read) -> Judged:
    """linux/f2fs_fs.h: struct f2fs_super_block at 1 KiB, struct f2fs_checkpoint in two packs."""
    block = read(1024, 1024)
    log_block, log_segment = struct.unpack_from("<II", block, 16)
    (count,) = struct.unpack_from("<Q", block, 36)
    (first,) = struct.unpack_from("<I", block, 76)
    if not 12 <= log_block <= 16 or not 0 < log_segment < 16:
        raise ValueError("block or segment size out of bounds")
    size = count << log_block
    packs = []
    for place in (first, first + (1 << log_segment)):
        pack = read(136, place << log_block)
        (version,) = struct.unpack_from("<Q", pack, 0)
        (flags,) = struct.unpack_from("<I", pack, 132)
        packs.append((version, flags))
    flags = max(packs)[1]
    if not flags & 0x01:  # CP_UMOUNT_FLAG
        return Judged("dirty", False, "this F2FS was not unmounted", size)
    if flags & 0x30:  # CP_FSCK_FLAG, CP_ERROR_FLAG
        return Judged("dirty", False, "this F2FS is marked for a check", size)
    return Judged("clean", True, size=size)


def _exfat(read: Read) -> Judged:
    """exFAT specification, 3.1: VolumeLength at 72, VolumeFlags at 106 (2: dirty, 4: failing)."""
    block = read(512, 0)
    (sectors,) = struct.unpack_from("<Q", block, 72)
    (flags,) = struct.unpack_from("<H", block, 106)
    shift = block[108]
    size = sectors << shift if 9 <= shift <= 12 else 0
    if flags & 0x6:
        return Judged("dirty", False, "this exFAT was not unmounted", size)
    return Judged("clean", True, size=size)


def _fat(read: Read) -> Judged:
    """Microsoft FAT specification: the FAT is the map, and there is no journal it could lag behind.

    FAT[1] of FAT16 and FAT32 holds the "closed cleanly" bit; Linux uses a bit of BS_Reserved1.
    """
    block = read(512, 0)
    (sector,) = struct.unpack_from("<H", block, 11)
    reserved = struct.unpack_from("<H", block, 14)[0]
    small, (large,) = struct.unpack_from("<H", block, 19)[0], struct.unpack_from("<I", block, 32)
    per_fat16 = struct.unpack_from("<H", block, 22)[0]
    if sector not in (512, 1024, 2048, 4096):
        raise ValueError("sector size out of bounds")
    size = (small or large) * sector
    dirty = bool(block[37 if per_fat16 else 65] & 1)
    if not per_fat16:
        entry = struct.unpack("<I", read(4, reserved * sector + 4))[0]
        dirty = dirty or not entry & 0x08000000
    if dirty:
        return Judged("dirty", True, "this FAT filesystem was not unmounted", size)
    return Judged("clean", True, size=size)


def _ntfs(read: Read) -> Judged:
    """See ``ntfs``; the copy of the boot sector lies behind the last cluster."""
    volume = ntfs.parse(read)
    size = volume.size
    also = ((size, size + volume.sector_size),)
    if volume.hibernated:
        reason = "Windows is hibernated or in fast start-up, shut it down fully to save space"
        return Judged("hibernated", False, reason, size, also)
    if volume.dirty:
        return Judged("dirty", False, f"this NTFS was not unmounted, {_LATER}", size, also)
    return Judged("clean", True, size=size, also=also)
