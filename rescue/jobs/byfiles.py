"""A volume restored file by file, into a new filesystem of the same UUID and label.

For what no program changes in place: an XFS that becomes smaller, an XFS or ext whose blocks or
sectors are shorter than a sector of the target. Everything that can be known beforehand is looked
at while the target is still as it was; every file is read back and compared at the end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rescue.core import process
from rescue.core.errors import ProgramFailed, TargetRefused
from rescue.core.progress import Reporter
from rescue.core.units import format_size
from rescue.devices import loop
from rescue.restore import growing
from rescue.restore.plan import Resize
from rescue.restore.work import After, told
from rescue.view import copying
from rescue.view.entries import Entry, look, walk
from rescue.view.mounting import mount_volumes
from rescue.view.names import SCRATCH, Seen
from rescue.view.opened import OpenView

if TYPE_CHECKING:
    from rescue.devices.target import SafeTarget

_BLOCK = 4096
# Names of the features of an ext superblock (mke2fs.conf(5)): compatible, incompatible, read-only.
# One that is not here changes what files are, and a copy of files would not keep it.
_FEATURES = (
    (92, {2: "has_journal", 3: "ext_attr", 4: "resize_inode", 5: "dir_index", 12: "orphan_file"}),
    (96, {1: "filetype", 2: "", 6: "extent", 7: "64bit", 9: "flex_bg", 13: "metadata_csum_seed",
          14: "large_dir"}),
    (100, {0: "sparse_super", 1: "large_file", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink",
           6: "extra_isize", 10: "metadata_csum", 16: ""}),
)  # fmt: skip


def step(view: OpenView, volume: Seen, resize: Resize, sector: int) -> After:
    """What makes and fills the new filesystem; the files are seen and counted before that.

    Args:
        sector: of the target, in bytes.

    Raises:
        TargetRefused: the files cannot be seen, or would not fit.
        ProgramFailed: a program is missing.
    """
    fs = resize.volume.fs
    (mounted,) = mount_volumes(view.folder, [volume], view.opened.sector_size)
    if mounted.root is None:
        raise TargetRefused(
            f"the files of partition {volume.number} cannot be read: {mounted.why}",
            hint="restore it to a disk on which it need not change",
        )
    root = mounted.root
    program = "mkfs.xfs" if fs == "xfs" else "mke2fs"
    if process.find(program) is None:
        raise ProgramFailed(f"the program {program} is not installed", hint="install it")
    words = _xfs_words(resize) if fs == "xfs" else _ext_words(view, volume, resize)
    if fs != "xfs":
        _check_room(root, volume, resize)
    options = "nouuid" if fs == "xfs" else ""

    def run(target: SafeTarget, reporter: Reporter) -> bool:
        with loop.writable_part(target, resize.new, sector) as node:
            process.run([*words, node])
            with growing.private_mount(node, fs, options) as folder:
                if fs != "xfs":
                    (folder / "lost+found").rmdir()
                reporter.start(f"copy the files of partition {volume.number}", None)
                _copy_all(root, folder, reporter)
                reporter.finish()
            with growing.private_mount(node, fs, ",".join(filter(None, (options, "ro")))) as folder:
                _compare(root, folder, reporter)
        return True

    return told(resize.line(), run)


def _xfs_words(resize: Resize) -> list[str | Path]:
    words: list[str | Path] = ["mkfs.xfs", "-f", "-q"]
    if resize.volume.uuid:
        words += ["-m", f"uuid={resize.volume.uuid}"]
    if resize.volume.label:
        words += ["-L", resize.volume.label]
    return words


def _ext_words(view: OpenView, volume: Seen, resize: Resize) -> list[str | Path]:
    """mke2fs with just the features, inodes and names that the old filesystem has.

    Raises:
        TargetRefused: it has one that is not known here.
    """
    with (view.folder / SCRATCH / volume.file).open("rb") as file:
        file.seek(1024)
        head = file.read(1024)
    features = []
    for at, names in _FEATURES:
        mask = int.from_bytes(head[at : at + 4], "little")
        for bit in (bit for bit in range(32) if mask >> bit & 1):
            if bit not in names:
                raise TargetRefused(
                    f"partition {volume.number} cannot be copied file by file: its {volume.fs} "
                    "has a feature that a copy would lose (encryption, verity, folded case …)",
                    hint=f"leave it out: --leave-out {volume.number}",
                )
            features.append(names[bit])
    inodes = int.from_bytes(head[0:4], "little")
    size = int.from_bytes(head[88:90], "little") or 128
    words: list[str | Path] = ["mke2fs", "-q", "-F", "-b", str(_BLOCK), "-I", str(size)]
    words += ["-N", str(inodes), "-O", ",".join(["none", *filter(None, features)])]
    if resize.volume.uuid:
        words += ["-U", resize.volume.uuid]
    if resize.volume.label:
        words += ["-L", resize.volume.label]
    return words


def _check_room(root: Path, volume: Seen, resize: Resize) -> None:
    """Small files take a whole block each, and blocks are larger now.

    Raises:
        TargetRefused: they would not fit.
    """

    def failed(where: str, error: OSError) -> None:
        raise TargetRefused(
            f"the files of partition {volume.number} cannot be read: {where}: "
            f"{(error.strerror or '').lower()}",
            hint=f"leave it out: --leave-out {volume.number}",
        )

    needed = sum(_room(root, entry) for entry in walk(root, failed=failed))
    status = os.statvfs(root)
    # What the old one used for itself it uses again: inodes, groups, journal.
    beside = resize.old.length - status.f_blocks * status.f_frsize
    if needed + beside + resize.new.length // 50 > resize.new.length:
        raise TargetRefused(
            f"the files of partition {volume.number} need {format_size(needed)} in blocks of "
            f"{_BLOCK} bytes, which {format_size(resize.new.length)} do not hold",
            hint=f"choose a larger disk and say --fit {volume.number}; nothing was written",
        )


def _room(root: Path, entry: Entry) -> int:
    """Bytes that one entry takes, with a block for its attributes."""
    if entry.type == "folder":
        return -(-entry.size // _BLOCK) * _BLOCK + _BLOCK
    if entry.type != "file":
        return _BLOCK
    used = (root / entry.path).lstat().st_blocks * 512
    return -(-min(entry.size, used + _BLOCK) // _BLOCK) * _BLOCK


def _copy_all(root: Path, folder: Path, reporter: Reporter) -> None:
    """Every file with everything that it has.

    Raises:
        ProgramFailed: one could not be copied: a filesystem without it is not the one captured.
    """
    result = copying.Copied()
    copying.copy_volume(root, folder, reporter, result)
    lost = [what for what in result.unkept if what != "sockets"]
    if result.failures or lost:
        why = result.failed[0] if result.failed else f"{lost[0]} could not be kept"
        raise ProgramFailed(f"not every file could be copied: {why}")


def _compare(root: Path, folder: Path, reporter: Reporter) -> None:
    """Every file read from both sides, after the new filesystem was mounted afresh.

    Raises:
        ProgramFailed: one differs.
    """
    from rescue.view.compare import digest, judge, merge

    def failed(where: str, error: OSError) -> None:
        raise ProgramFailed(f"cannot compare {where}: {(error.strerror or '').lower()}")

    def entries(top: Path) -> Iterator[Entry]:
        return walk(top, failed=failed)

    reporter.start("compare the files", None)
    for one, other in merge(entries(root), entries(folder)):
        if one is not None and stat.S_ISSOCK(one.mode):
            continue
        if one is None or other is None or judge(one, other) is not None:
            place = one or other
            assert place is not None
            raise ProgramFailed(f"the copy of {place.path} is not like the original")
        if one.type == "file" and one.size:
            if digest(root / one.path) != digest(folder / one.path):
                raise ProgramFailed(f"the copy of {one.path} does not read back as it was")
            reporter.advance(one.size)
    if judge(look(root, ""), look(folder, "")) is not None:
        raise ProgramFailed("the copy of the top folder is not like the original")
    reporter.finish()
