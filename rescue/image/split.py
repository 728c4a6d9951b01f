"""How large the parts of an image are: by name ("dvd"), by size, or because the place is FAT."""

from __future__ import annotations

import os
from pathlib import Path

from rescue.core.units import MIB, named_size
from rescue.image.header import BODY_START, MIN_CAPACITY

# Bytes of a file that fits. Discs: the room a UDF or ISO filesystem leaves of ECMA-267 (DVD-R,
# 4,707,319,808), DVD-R DL (8,547,991,552) and BD-R (25,025,314,816) with 16 MiB for itself.
NAMED = {
    "fat32": (1 << 32) - 1,
    "dvd": 4_707_319_808 - 16 * MIB,
    "dvd-dl": 8_547_991_552 - 16 * MIB,
    "bd": 25_025_314_816 - 16 * MIB,
}
_FAT = {"vfat", "msdos"}


def parse_part_size(text: str) -> int:
    """Bytes of a part's file from ``--part-size``.

    Raises:
        UsageError: not a size, or too small for a part.
    """
    return named_size(text, NAMED, "a part", MIN_CAPACITY + BODY_START)


def capacity_for(image: Path, part_size: str | None) -> int:
    """Stream bytes in each part: as asked for, else 0, but never more than the place can hold."""
    sizes = [parse_part_size(part_size)] if part_size else []
    if filesystem_of(image.parent) in _FAT:
        sizes.append(NAMED["fat32"])
    return min(sizes) - BODY_START if sizes else 0


def filesystem_of(folder: Path) -> str:
    """The type of the filesystem that holds a folder, as the kernel calls it; empty: not known."""
    try:
        device = folder.stat().st_dev
        text = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ""
    return type_in(text, device)


def type_in(mountinfo: str, device: int) -> str:
    """The type of the filesystem with this device number (proc_pid_mountinfo(5))."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted]:
            return after.split(" ", 1)[0]
    return ""
