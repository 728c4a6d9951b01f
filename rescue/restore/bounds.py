"""How short and how long the volume of an image may become, and by which means. Pure.

The lower bounds are estimates from what was captured, with room for what a filesystem needs beside
its files. They may be too low: the tools have the last word, and they speak before the target is
touched, because a filesystem is shrunk in a throw-away overlay of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rescue.core.units import MIB
from rescue.image.manifest import Volume

Means = Literal["tool", "overlay", "files", "rebuild", "remake", "boot", "none"]
_ANY = 1 << 62


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be done to the length of one volume; bytes.

    Attributes:
        grow, shrink: by which means: "tool" its own program on the target, "overlay" its own
            program on a throw-away overlay of the image, "files" a new filesystem and a copy of
            all files, "rebuild" structures written anew by ``fatfit``, "remake" an empty one of
            the same name (swap), "boot" only its boot sector (NTFS on other sectors).
        why: why it cannot be resized, in words.
        quiet: it is resized only when it is named, or to make room.
    """

    low: int
    high: int
    grow: Means = "none"
    shrink: Means = "none"
    why: str = ""
    quiet: bool = False

    @property
    def fixed(self) -> bool:
        """Whether its length cannot change at all."""
        return self.low >= self.high


@dataclass(frozen=True, slots=True)
class _Ability:
    """What is known of one filesystem: means, and what it needs beside its files."""

    grow: Means
    shrink: Means
    percent: int = 0
    beside: int = 0
    least: int = 0
    group: int = 0


# resize2fs wants about one block group of 128 MiB to spare (its own estimate, resize2fs -P) as soon
# as there is more than one.
_EXT = _Ability("tool", "overlay", 8, 8 * MIB, group=128 * MIB)
_ABILITIES = {
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "ntfs": _Ability("tool", "overlay", 10, 16 * MIB),
    # It allocates in chunks of up to 1 GiB, its metadata is there twice, and the kernel refuses to
    # make a device shorter than 256 MiB.
    "btrfs": _Ability("tool", "overlay", 25, 64 * MIB, 256 * MIB),
    # mkfs.xfs refuses less than 300 MiB; the log takes 64 MiB of it.
    "xfs": _Ability("tool", "files", 15, 96 * MIB, 320 * MIB),
    "f2fs": _Ability("tool", "none"),
    "swap": _Ability("remake", "remake", 0, 0, 64 * MIB),
}


def bounds_of(volume: Volume, fat: tuple[int, int] | None = None) -> Bounds:
    """What may be done to a volume.

    Args:
        fat: lowest and highest length that ``fatfit`` found for a FAT volume; None: it is no FAT,
            or one that is not understood.
    """
    length = volume.extent.length

    def fixed(why: str) -> Bounds:
        return Bounds(length, length, why=why)

    if volume.fs == "vfat":
        if fat is None:
            return fixed("its FAT is not one that can be rebuilt")
        return Bounds(min(length, fat[0]), max(length, fat[1]), "rebuild", "rebuild")
    able = _ABILITIES.get(volume.fs)
    if able is None:
        name = volume.fs if volume.fs not in ("", "unknown") else "an unknown filesystem"
        return fixed(f"{name} is not resized")
    if volume.state == "hibernated":
        return fixed("it holds a hibernated system")
    if volume.fs == "swap":
        return Bounds(min(length, able.least), _ANY, able.grow, able.shrink, quiet=True)
    if volume.method == "whole":
        # Without a map nobody knows how much is used; it still may grow.
        why = f"it was captured whole, so that nobody knows how much of the {volume.fs} is used"
        return Bounds(length, _ANY, able.grow, "none", why)
    if able.shrink == "none":
        return Bounds(length, _ANY, able.grow, "none", f"{volume.fs} cannot be shrunk")
    low = volume.captured + volume.captured * able.percent // 100 + able.beside
    low += able.group if low > able.group else 0
    return Bounds(min(length, max(low, able.least)), _ANY, able.grow, able.shrink)
