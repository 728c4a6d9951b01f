"""A filesystem on the target made as long as its partition, by its own program.

The program sees exactly the partition, through a loop device on the open target: the disk's table
is not there yet, and nobody else may open the disk. Each filesystem is checked first where its
program asks for it; a program that fails makes the restore incomplete, because a filesystem that
was left in the middle of growing is not fit for use.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ProgramFailed, RescueError, TargetRefused
from rescue.core.extent import Extent
from rescue.core.namespace import own_mounts
from rescue.core.progress import Reporter
from rescue.devices import loop
from rescue.devices.target import SafeTarget
from rescue.image.manifest import Volume

# Nothing on a restored filesystem is trusted while it is mounted here.
_SAFE = "nosuid,nodev,noexec"


def grow(
    target: SafeTarget, place: Extent, volume: Volume, sector: int, reporter: Reporter
) -> None:
    """Make the filesystem in ``place`` fill it.

    Raises:
        ProgramFailed: its program is not there or failed.
        DiskTrouble: no loop device can be had.
    """
    name = f"{volume.fs} of partition {volume.partition}"
    reporter.start(f"resize the {name}", None)
    with loop.writable_part(target, place, sector) as node:
        _GROWERS[volume.fs](node, volume, place)
    reporter.finish()


def check_ext(node: Path) -> None:
    """e2fsck as resize2fs demands it; status 1 means that it mended something."""
    done = process.run(["e2fsck", "-f", "-p", node], check=False)
    if done.status > 1:
        raise process.failure(done)


def _ext(node: Path, _volume: Volume, _place: Extent) -> None:
    check_ext(node)
    process.run(["resize2fs", node])


def _ntfs(node: Path, _volume: Volume, place: Extent) -> None:
    ntfs(node, place.length)


def ntfs(node: Path, length: int) -> None:
    """Resize an NTFS in either direction. ntfsresize asks Windows to check the volume at its next
    start, and refuses to touch one that is so marked: twice forced is its own way past that, and
    it checks the volume by itself first.
    """
    process.run(
        ["ntfsresize", "--force", "--force", "--no-progress-bar", "--size", str(length), node],
        input=b"y\n",
    )


def _btrfs(node: Path, _volume: Volume, _place: Extent) -> None:
    with private_mount(node, "btrfs") as folder:
        process.run(["btrfs", "filesystem", "resize", "max", folder])


def _xfs(node: Path, _volume: Volume, _place: Extent) -> None:
    with private_mount(node, "xfs", "nouuid") as folder:
        process.run(["xfs_growfs", folder])


def _f2fs(node: Path, _volume: Volume, _place: Extent) -> None:
    process.run(["resize.f2fs", node])


def _swap(node: Path, volume: Volume, _place: Extent) -> None:
    words: list[str | Path] = ["mkswap"]
    if volume.uuid:
        words += ["--uuid", volume.uuid]
    if volume.label:
        words += ["--label", volume.label]
    process.run([*words, node])


_GROWERS: dict[str, Callable[[Path, Volume, Extent], None]] = {
    "ext2": _ext,
    "ext3": _ext,
    "ext4": _ext,
    "ntfs": _ntfs,
    "btrfs": _btrfs,
    "xfs": _xfs,
    "f2fs": _f2fs,
    "swap": _swap,
}


@contextmanager
def private_mount(node: Path, kind: str, options: str = "") -> Iterator[Path]:
    """A filesystem mounted for writing in a folder of its own, until the block ends.

    No other process sees it, and a kill of this one ends it: the target is not in use afterwards.

    Raises:
        ProgramFailed: it cannot be mounted, or not unmounted.
    """
    folder = Path(tempfile.mkdtemp(prefix="rescue-resize-"))
    words = ",".join(filter(None, (_SAFE, options)))
    try:
        with own_mounts(), _mounted(node, kind, words, folder):
            yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _mounted(node: Path, kind: str, options: str, folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        if kind == "ntfs-3g":
            # As a process that goes into the background it would live on, and the mount with it.
            outside = folder.stat().st_dev
            words: list[str | Path] = ["ntfs-3g", "-o", f"no_detach,{options}", node, folder]
            stack.enter_context(process.beside(words, lambda: folder.stat().st_dev != outside))
        else:
            process.run(["mount", "-t", kind, "-o", options, node, folder])
        try:
            yield
        except BaseException:
            with suppress(RescueError):
                process.run(["umount", folder])
            raise
        process.run(["umount", folder])


PROGRAMS = {
    "ext2": ("resize2fs", "e2fsck"),
    "ext3": ("resize2fs", "e2fsck"),
    "ext4": ("resize2fs", "e2fsck"),
    "ntfs": ("ntfsresize",),
    "btrfs": ("btrfs",),
    "xfs": ("xfs_growfs",),
    "f2fs": ("resize.f2fs",),
    "swap": ("mkswap",),
}
"""What must be installed to resize each filesystem."""


def require(kinds: set[str]) -> None:
    """Make sure of every program, and of loop devices, before anything is written.

    Raises:
        ProgramFailed: one is not installed.
        TargetRefused: this is not root.
    """
    if kinds & set(PROGRAMS) and os.geteuid() != 0:
        raise TargetRefused(
            "changing filesystems needs root; nothing was written",
            hint="run this as root, or restore to a disk where they stay as they are",
        )
    missing = [
        program
        for kind in sorted(kinds)
        for program in PROGRAMS.get(kind, ())
        if process.find(program) is None
    ]
    if missing:
        raise ProgramFailed(
            f"the program {missing[0]} is not installed",
            hint="install it, or restore without --fit",
        )
