"""What becomes of each volume on a disk whose logical sectors have another size. Pure.

A filesystem that counts in blocks of its own goes as it is, as long as its smallest unit is whole
sectors of the target. One that writes down the sector is made for the other size (FAT), told of it
(NTFS, whose boot sector alone counts in sectors), copied file by file into a new one (XFS and ext
whose unit is too small), or refused (exFAT). Where nobody can look inside (LVM, LUKS, unknown
content), nobody knows, so that is refused too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rescue.core.errors import TargetRefused
from rescue.devices.model import Layout, Partition, order
from rescue.image.manifest import Volume
from rescue.restore import fatfit, fatsector, ntfsboot
from rescue.restore.bounds import Bounds, Means
from rescue.restore.layout import SIZE_OF_ARRAY

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` of the image."""

# Partitions whose content is no filesystem, and of no use where nothing starts from it: GRUB's core
# (no BIOS starts from a disk with sectors of 4 KiB) and Windows' reserved room.
_NO_MATTER = {
    "21686148-6449-6e6f-744e-656564454649",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",
}
_BTRFS_SECTOR = 0x10000 + 0x90
_PAGES = ("f2fs", "swap")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one volume gets there: ``means`` None is "as it is"; ``why`` says why it cannot."""

    means: Means | None = None
    why: str = ""


def verdicts(
    read: Read, layout: Layout, volumes: Sequence[Volume], sector: int
) -> dict[int, Verdict]:
    """What becomes of every volume, by the number of its partition (0: the whole disk)."""
    found = {}
    for volume in volumes:
        start = volume.extent.start

        def inside(offset: int, length: int, start: int = start) -> bytes:
            return read(start + offset, length)

        partition = layout.partition(volume.partition)
        found[volume.partition] = _verdict(inside, volume, partition, sector)
    return found


def _verdict(read: Read, volume: Volume, partition: Partition | None, sector: int) -> Verdict:
    fs = volume.fs
    if fs.startswith("ext") and len(fs) == 4:
        unit = 1024 << min(6, int.from_bytes(read(1024 + 24, 4), "little"))
    elif fs == "xfs":
        unit = int.from_bytes(read(102, 2), "big")
    elif fs == "btrfs":
        unit = int.from_bytes(read(_BTRFS_SECTOR, 4), "little")
    elif fs in _PAGES:
        unit = 4096
    elif fs == "vfat":
        return _fat(read, sector)
    elif fs == "ntfs":
        return _ntfs(read, sector)
    elif fs == "exfat":
        return _exfat(read, sector)
    elif fs == "" and partition is not None and partition.type_id in _NO_MATTER:
        return Verdict()
    else:
        name = fs if fs not in ("", "unknown") else "what is in it is not known, and it"
        return Verdict(why=f"{name} cannot be looked into for what it takes a sector to be")
    if unit and unit % sector == 0:
        return Verdict()
    if fs == "btrfs":
        return Verdict(why=f"its btrfs has sectors of {unit} bytes")
    return Verdict("files")


def _fat(read: Read, sector: int) -> Verdict:
    try:
        if fatfit.shape_of(read(0, 512)).sector == sector:
            return Verdict()
        fatsector.limits(read, sector)
    except fatfit.NoFat as error:
        return Verdict(why=f"its FAT cannot be made for other sectors: {error}")
    return Verdict("rebuild")


def _ntfs(read: Read, sector: int) -> Verdict:
    boot = read(0, 512)
    if int.from_bytes(boot[11:13], "little") == sector:
        return Verdict()
    try:
        ntfsboot.told(boot, sector, None)
    except ntfsboot.NotSo as error:
        return Verdict(why=f"its NTFS cannot be told of other sectors: {error}")
    return Verdict("boot")


def _exfat(read: Read, sector: int) -> Verdict:
    noted = 1 << min(12, read(108, 1)[0])
    if noted == sector:
        return Verdict()
    return Verdict(why=f"its exFAT is made for sectors of {noted} bytes, and is not made anew")


def check_volumes(
    layout: Layout, found: Mapping[int, Verdict], sector: int, left: Sequence[int]
) -> None:
    """Make sure that every volume can be on a disk with such sectors.

    Raises:
        TargetRefused: one cannot; all reasons are named, and what would work.
    """
    refused = {n: v.why for n, v in found.items() if v.why and n not in left}
    if refused:
        reasons = "; ".join(
            f"partition {n}: {why}" if n else f"the disk: {why}" for n, why in refused.items()
        )
        hint = f"choose a disk with sectors of {layout.sector_size} bytes"
        if 0 not in refused:
            numbers = ",".join(map(str, sorted(refused)))
            hint += f", or restore all but that: --leave-out {numbers}"
        raise _refusal(layout, sector, reasons, hint)


def check_table(layout: Layout, found: Mapping[int, Verdict], sector: int) -> None:
    """Make sure that the table of the image can be made for such sectors.

    Raises:
        TargetRefused: it cannot; says why.
    """
    remade = found.get(0)
    if remade is not None and remade.means is not None:
        raise _refusal(
            layout, sector, "its filesystem lies in no partition and would have to change"
        )
    ebrs = layout.table_extents.starts if layout.label == "msdos" else ()
    for one in sorted(layout.partitions, key=order):
        if one.start % sector:
            why = f"partition {one.number} begins at byte {one.start}, in the middle of a sector"
            raise _refusal(layout, sector, why)
        if one.kind == "logical" and any(0 < one.start - e < sector or e % sector for e in ebrs):
            raise _refusal(layout, sector, "the records of its logical partitions have no room")
    first = min((p.start for p in layout.partitions), default=0)
    if layout.label == "gpt" and layout.partitions and first < 2 * sector + SIZE_OF_ARRAY:
        raise _refusal(layout, sector, "its table has no room in front of the first partition")


def plan(
    read: Read, layout: Layout, volumes: Sequence[Volume], sector: int, left: Sequence[int]
) -> dict[int, Means]:
    """By which means each volume that has to change becomes one for such sectors.

    Raises:
        TargetRefused: one cannot.
    """
    if sector == layout.sector_size:
        return {}
    found = verdicts(read, layout, volumes, sector)
    check_volumes(layout, found, sector, left)
    check_table(layout, found, sector)
    return {n: v.means for n, v in found.items() if v.means is not None and n not in left}


def plan_volumes(
    read: Read, layout: Layout, volumes: Sequence[Volume], sector: int
) -> dict[int, Means]:
    """The same for volumes that go to a disk with a table of its own.

    Raises:
        TargetRefused: one cannot.
    """
    if sector == layout.sector_size:
        return {}
    found = verdicts(read, layout, volumes, sector)
    check_volumes(layout, found, sector, ())
    return {n: v.means for n, v in found.items() if v.means is not None}


def check_in_place(layout: Layout, means: Mapping[int, Means], sector: int, *, new: bool) -> None:
    """Make sure that what goes to the very place it came from can do so with such sectors.

    Args:
        new: the target is a file that does not exist, so it gets the image's table.

    Raises:
        TargetRefused: it cannot.
    """
    if sector == layout.sector_size:
        return
    for number in means:
        hint = f"say --into {number}, which changes it on the way" if number else ""
        why = f"the filesystem of partition {number} has to be changed for them"
        raise _refusal(layout, sector, why, hint)
    if layout.label != "none" and (new or not layout.partitions):
        why = "a table of its own is needed, with every partition"
        raise _refusal(layout, sector, why, "restore the whole disk; --leave-out spares some")


def _refusal(layout: Layout, sector: int, why: str, hint: str = "") -> TargetRefused:
    return TargetRefused(
        f"the target has sectors of {sector} bytes, the image is of a disk with "
        f"{layout.sector_size}: {why}",
        hint=hint or f"choose a disk with sectors of {layout.sector_size} bytes",
    )


def bounds(known: Bounds, means: Means, read: Read, volume: Volume, sector: int) -> Bounds:
    """What may be done to the length of a volume that has to change anyway."""
    if means == "files":
        return Bounds(known.low, known.high, "files", "files", known.why, known.quiet)
    start, length = volume.extent.start, volume.extent.length
    if means == "boot":
        return Bounds(length, length, why="its NTFS is told of other sectors, and keeps its size")
    low, high = fatsector.limits(lambda offset, size: read(start + offset, size), sector)
    return Bounds(min(length, low), max(length, high), "rebuild", "rebuild")


def notes(layout: Layout, sector: int, means: Mapping[int, Means]) -> list[str]:
    """What a person should know of such a restore."""
    words = [
        f"sectors of {layout.sector_size} bytes become sectors of {sector}; tables are made for it"
    ]
    if sector > 512:
        words.append("a BIOS does not start from such a disk; UEFI does")
    return words + warnings(means)


def warnings(means: Mapping[int, Means]) -> list[str]:
    """What is not known of the volumes that have to change."""
    return [
        f"the NTFS of partition {number} is read by Linux on such sectors; that Windows reads it "
        "has been reported, that Windows starts from it has not"
        for number, way in means.items()
        if way == "boot"
    ]
