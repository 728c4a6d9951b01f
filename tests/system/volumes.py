"""Makes a real filesystem of each kind, full of files, and reads every file of it back.

Kernel drivers where every kernel has them (ext, XFS, btrfs), FUSE for NTFS and exFAT, the tools of
mtools and f2fs-tools for the rest: no special kernel is needed.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.core.process import run
from rescue.core.units import MIB

Hashes = dict[str, str]
_F2FS_LINE = re.compile(r"^([| ]*)\|-- (.+) <ino = 0x([0-9a-f]+)>")


@dataclass(frozen=True)
class Kind:
    """How one filesystem is made, filled, checked and read.

    Attributes:
        make: command before the path of the volume.
        check: command before the path; status 0 means clean.
        mount: command before volume and mount point, or empty when it is not mounted.
        posix: has symbolic links, hard links and any name.
        whole: partclone cannot map it, or not rightly, so all of it must be captured.
    """

    name: str
    size: int
    make: tuple[str, ...]
    check: tuple[str, ...]
    mount: tuple[str, ...] = ()
    posix: bool = False
    whole: bool = False


_EXT_CHECK = ("e2fsck", "-f", "-n")
_LOOP = ("mount", "-o", "loop")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("ext2", 64 * MIB, ("mkfs.ext2", "-q", "-F"), _EXT_CHECK, _LOOP, True),
        Kind("ext3", 96 * MIB, ("mkfs.ext3", "-q", "-F"), _EXT_CHECK, _LOOP, True),
        Kind("ext4", 160 * MIB, ("mkfs.ext4", "-q", "-F", "-b", "4096"), _EXT_CHECK, _LOOP, True),
        Kind("ext4-1k", 96 * MIB, ("mkfs.ext4", "-q", "-F", "-b", "1024"), _EXT_CHECK, _LOOP, True),
        Kind(
            "ext4-bigalloc",
            128 * MIB,
            ("mkfs.ext4", "-q", "-F", "-O", "bigalloc", "-C", "65536"),
            _EXT_CHECK,
            _LOOP,
            True,
            whole=True,
        ),
        Kind("xfs", 400 * MIB, ("mkfs.xfs", "-q", "-f"), ("xfs_repair", "-n", "-f"), _LOOP, True),
        Kind(
            "btrfs",
            256 * MIB,
            ("mkfs.btrfs", "-q", "-f"),
            ("btrfs", "check", "--readonly", "--check-data-csum"),
            _LOOP,
            True,
        ),
        Kind(
            "ntfs",
            128 * MIB,
            ("mkfs.ntfs", "-q", "-F", "-f"),
            ("ntfsresize", "--info", "--force", "--no-progress-bar"),
            ("ntfs-3g",),
        ),
        Kind("exfat", 96 * MIB, ("mkfs.exfat",), ("fsck.exfat", "-n"), ("mount.exfat-fuse",)),
        Kind(
            "fat12", 8 * MIB, ("mkfs.vfat", "-F", "12", "-s", "8"), ("fsck.vfat", "-n"), whole=True
        ),
        Kind("fat16", 64 * MIB, ("mkfs.vfat", "-F", "16"), ("fsck.vfat", "-n")),
        Kind("fat32", 96 * MIB, ("mkfs.vfat", "-F", "32"), ("fsck.vfat", "-n")),
        Kind("f2fs", 200 * MIB, ("mkfs.f2fs", "-q", "-f"), ("fsck.f2fs", "--dry-run", "-f")),
    )
}


@contextmanager
def mounted(kind: Kind, volume: Path, folder: Path, *, read_only: bool = False) -> Iterator[Path]:
    """Mount a volume; for reading with -o ro, so that nothing is repaired on the way."""
    folder.mkdir(exist_ok=True)
    command = list(kind.mount)
    if read_only:
        command = ["mount", "-o", "loop,ro"] if kind.mount == _LOOP else [*command, "-o", "ro"]
    # exfat-fuse takes block devices only.
    loop = ""
    if kind.name == "exfat":
        loop = run(["losetup", "--find", "--show", str(volume)]).text.strip()
    try:
        run([*command, loop or str(volume), str(folder)])
        try:
            yield folder
        finally:
            run(["umount", str(folder)])
            if not loop:
                _wait_until_free(volume)
    finally:
        if loop:
            # FUSE writes its last blocks after umount has returned; --detach waits for no one.
            run(["blockdev", "--flushbufs", loop], check=False)
            run(["losetup", "--detach", loop])


def _wait_until_free(volume: Path) -> None:
    """Wait until no loop device shows a volume that was mounted with ``-o loop``.

    A mount namespace that was made meanwhile, by whatever else runs on this machine (mmdebstrap
    makes one, for a minute), keeps a filesystem mounted after ``umount`` has returned.
    """
    end = time.monotonic() + 300
    while run(["losetup", "--associated", str(volume)]).text.strip():
        assert time.monotonic() < end, f"{volume} stays mounted in another namespace"
        time.sleep(0.2)


def write_files(folder: Path, *, posix: bool, seed: int, room: int) -> None:
    """Many files with awkward names and sizes; every third is removed again, so holes are used."""
    rng = random.Random(seed)
    doomed = []
    left = room
    for number in range(240):
        below = folder / f"folder {number % 7}" / "ünter" if number % 5 else folder
        below.mkdir(parents=True, exist_ok=True)
        size = rng.choice((0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, rng.randrange(400_000)))
        size = min(size, left)
        left -= size
        name = f"{number:03} 名前 {'x' * (number % 90)}.bin" if posix else f"name {number:03} ä.bin"
        (below / name).write_bytes(rng.randbytes(size))
        if number % 3 == 0:
            doomed.append(below / name)
    for path in doomed:
        path.unlink()
    (folder / "big").write_bytes(rng.randbytes(min(8 * MIB, room // 2)))
    if posix:
        (folder / "link").symlink_to("big")
        os.link(folder / "big", folder / "same")
        with (folder / "sparse").open("wb") as file:
            file.write(b"start")
            file.seek(50 * MIB)
            file.write(b"end")


def hashes_of(folder: Path) -> Hashes:
    """SHA-256 of every file, target of every link, below a folder."""
    found: Hashes = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def make(kind: Kind, volume: Path, scratch: Path) -> Hashes:
    """Make and fill a volume; what its files must hash to."""
    with volume.open("wb") as file:
        file.truncate(kind.size)
    run([*kind.make, str(volume)])
    files = scratch / f"files-{kind.name}"
    room = kind.size // 5
    if kind.mount:
        with mounted(kind, volume, scratch / "fill") as folder:
            write_files(folder, posix=kind.posix, seed=1, room=room)
            (folder / "later").write_bytes(b"written after the removals" * 40_000)
            return hashes_of(folder)
    files.mkdir()
    write_files(files, posix=False, seed=2, room=room)
    if kind.name == "f2fs":
        run(["sload.f2fs", "-f", str(files), str(volume)])
    else:
        _fill_fat(files, volume)
        return folded(hashes_of(files))
    return hashes_of(files)


def _fill_fat(files: Path, volume: Path) -> None:
    """Copy the files in, remove some, and put a larger one where they were."""
    for name in ("early", "early 2"):
        (files / name).write_bytes(name.encode() * 20_000)
    entries = [str(path) for path in sorted(files.iterdir())]
    run(["mcopy", "-s", "-Q", "-i", str(volume), *entries, "::"])
    run(["mdel", "-i", str(volume), "::early", "::big"])
    (files / "early").unlink()
    (files / "later").write_bytes((files / "big").read_bytes()[:-77_777])
    (files / "big").unlink()
    run(["mcopy", "-Q", "-i", str(volume), str(files / "later"), "::"])


def folded(hashes: Hashes) -> Hashes:
    """FAT keeps some short names in capitals only."""
    return {name.casefold(): value for name, value in hashes.items()}


def read(kind: Kind, volume: Path, scratch: Path) -> Hashes:
    """What the files of a volume hash to."""
    if kind.mount:
        with mounted(kind, volume, scratch / "read", read_only=True) as folder:
            return hashes_of(folder)
    out = scratch / f"out-{kind.name}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if kind.name == "f2fs":
        return _read_f2fs(volume, out)
    run(["mcopy", "-s", "-Q", "-m", "-i", str(volume), "::*", str(out)])
    return folded(hashes_of(out))


def _read_f2fs(volume: Path, out: Path) -> Hashes:
    """Walk the tree that fsck.f2fs prints, and let dump.f2fs write each file."""
    found: Hashes = {}
    trail: list[str] = []
    for line in run(["fsck.f2fs", "-t", str(volume)], check=False).text.splitlines():
        match = _F2FS_LINE.match(line)
        if not match:
            continue
        indent, name, inode = match.groups()
        trail = [*trail[: len(indent) // 4], name]
        dumped = out / "lost_found" / name
        run(["dump.f2fs", "-i", f"0x{inode}", str(volume)], input=b"Y\n", cwd=out, check=False)
        if dumped.is_file():
            found["/".join(trail)] = hashlib.sha256(dumped.read_bytes()).hexdigest()
            dumped.unlink()
    return found


def fault(kind: Kind, volume: Path) -> str:
    """What the filesystem's own checker says is wrong, or empty."""
    done = run([*kind.check, str(volume)], check=False)
    words = (done.stdout + done.stderr).decode(errors="replace")
    if kind.name == "f2fs" and "[Fail]" in words:
        return words
    return "" if done.status == 0 else words
