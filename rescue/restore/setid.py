"""A filesystem on the target given another identifier, by its own program.

As when it is resized the program sees exactly the partition, through a loop device on the open
target. FAT has no program that the media need for it: its serial number is four bytes in the boot
sector and in that one's copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ProgramFailed, TargetRefused, from_os_error
from rescue.core.extent import Extent
from rescue.core.progress import Reporter
from rescue.devices import loop
from rescue.devices.target import SafeTarget
from rescue.restore.growing import check_ext, private_mount
from rescue.restore.identity import Identity, NewId


def _ext(node: Path, new: str) -> None:
    check_ext(node)
    process.run(["tune2fs", "-U", new, node])


def _xfs(node: Path, new: str) -> None:
    # xfs_admin refuses a filesystem whose log was not played back; mounting does that.
    with private_mount(node, "xfs", "nouuid"):
        pass
    process.run(["xfs_admin", "-U", new, node])


def _btrfs(node: Path, new: str) -> None:
    # In the superblocks only ("metadata_uuid"): no tree is rewritten. Not mounted before: the
    # kernel may know the original, and take this for its other path.
    process.run(["btrfstune", "-f", "-M", new, node])


def _ntfs(node: Path, new: str) -> None:
    process.run(["ntfslabel", "--force", f"--new-serial={new}", node])


def _swap(node: Path, new: str) -> None:
    process.run(["swaplabel", "--uuid", new, node])


def _exfat(node: Path, new: str) -> None:
    process.run(["tune.exfat", "-I", "0x" + new.replace("-", ""), node])


_SETTERS: dict[str, tuple[Callable[[Path, str], None], tuple[str, ...]]] = {
    "ext2": (_ext, ("tune2fs", "e2fsck")),
    "ext3": (_ext, ("tune2fs", "e2fsck")),
    "ext4": (_ext, ("tune2fs", "e2fsck")),
    "xfs": (_xfs, ("xfs_admin",)),
    "btrfs": (_btrfs, ("btrfstune",)),
    "ntfs": (_ntfs, ("ntfslabel",)),
    "swap": (_swap, ("swaplabel",)),
    "exfat": (_exfat, ("tune.exfat",)),
}


def require(identity: Identity | None) -> None:
    """Make sure of every program before anything is written.

    Raises:
        ProgramFailed: one is not installed.
        TargetRefused: this is not root.
    """
    if identity is None:
        return
    if os.geteuid() != 0:
        raise TargetRefused(
            "new identifiers need root, to open filesystems; nothing was written",
            hint="run this as root, or restore without --new-identity",
        )
    kinds = {one.kind for one in identity.ids if one.what == "filesystem" and one.new}
    for kind in sorted(kinds & set(_SETTERS)):
        for program in _SETTERS[kind][1]:
            if process.find(program) is None:
                raise ProgramFailed(
                    f"the program {program} is not installed",
                    hint="install it, or restore without --new-identity",
                )


def change(target: SafeTarget, place: Extent, one: NewId, sector: int, reporter: Reporter) -> None:
    """Give the filesystem in ``place`` its new identifier.

    Raises:
        ProgramFailed: its program failed, or the filesystem is not what it was captured as.
        DiskTrouble: no loop device can be had, or the target failed.
    """
    reporter.start(f"new identifier for the {one.kind} of partition {one.partition}", None)
    if one.kind == "vfat":
        _fat(target, place, one)
    else:
        with loop.writable_part(target, place, sector) as node:
            _SETTERS[one.kind][0](node, one.new)
    reporter.finish()


def _fat(target: SafeTarget, place: Extent, one: NewId) -> None:
    old, new = (bytes.fromhex(text.replace("-", ""))[::-1] for text in (one.old, one.new))
    try:
        boot = os.pread(target.fd, 512, place.start)
        at = 0x43 if boot[82:87] == b"FAT32" else 0x27
        backup = int.from_bytes(boot[50:52], "little") if at == 0x43 else 0
        sectors = [0, backup * int.from_bytes(boot[11:13], "little")] if backup else [0]
        if boot[at : at + 4] != old:
            raise ProgramFailed(f"the FAT of partition {one.partition} has another serial number")
        for sector in sectors:
            if os.pread(target.fd, 4, place.start + sector + at) == old:
                os.pwrite(target.fd, new, place.start + sector + at)
    except OSError as error:
        raise from_os_error(error, f"write {target.path}") from error
    target.flush()
