"""What is measured on: real files of this machine, in real filesystems made for it."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from rescue.capture.plan import plan_capture
from rescue.devices.blockio import Source

GIB = 1 << 30
_FROM = ("/usr", "/opt", "/var/lib", "/etc", "/root", "/home")


def say(text: str) -> None:
    """One line of talk."""
    print(text, file=sys.stderr, flush=True)


def sh(*words: object) -> None:
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, words))}: {done.stderr[-500:]}")


def collect(target: Path, size: int) -> None:
    """Copy files of this machine's root filesystem, up to ``size`` bytes."""
    left = size
    for top in _FROM:
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                source = Path(folder) / name
                try:
                    status = source.lstat()
                except OSError:
                    continue
                if not stat.S_ISREG(status.st_mode) or status.st_size > 256 << 20:
                    continue
                copy = target / source.relative_to("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
                left -= max(4096, status.st_size)
                if left <= 0:
                    return
    say(f"note: this machine has only {(size - left) / 1e9:.1f} GB of files to measure on")


def ext4(folder: Path, size: int) -> Path:
    """An ext4 volume with ``size`` bytes of this machine's files."""
    volume = folder / "root.ext4"
    if not volume.exists():
        say(f"making an ext4 volume with {size / GIB:.1f} GiB of this machine's files")
        files = folder / "files"
        collect(files, size)
        new = folder / "new.ext4"
        new.unlink(missing_ok=True)
        with new.open("wb") as file:
            file.truncate(2 * size)
        sh("mkfs.ext4", "-q", "-F", "-d", files, new)
        shutil.rmtree(files)
        new.rename(volume)
    return volume


def terabyte(folder: Path, volume: Path) -> Path:
    """The same filesystem, on a sparse disk of 1 TB."""
    large = folder / "terabyte.ext4"
    if not large.exists():
        say("making a sparse terabyte of it")
        new = folder / "new.tb"
        sh("cp", "--sparse=always", volume, new)
        os.truncate(new, 10**12 // 4096 * 4096)
        sh("e2fsck", "-f", "-y", new)
        sh("resize2fs", new)
        new.rename(large)
    return large


def ntfs(folder: Path, size: int) -> Path:
    """An NTFS volume with ``size`` bytes of files."""
    volume = folder / "data.ntfs"
    if not volume.exists():
        say("making an NTFS volume")
        new, point = folder / "new.ntfs", folder / "mnt"
        with new.open("wb") as file:
            file.truncate(2 * size)
        sh("mkfs.ntfs", "--quick", "--force", new)
        point.mkdir(exist_ok=True)
        sh("ntfs-3g", new, point)
        try:
            collect(point, size)
        finally:
            sh("umount", point)
        new.rename(volume)
    return volume


def compressed(folder: Path, size: int) -> Path:
    """An ext4 volume full of bytes that do not shrink."""
    volume = folder / "noise.ext4"
    if not volume.exists():
        say("making a volume of compressed data")
        files, new = folder / "noise", folder / "new.noise"
        files.mkdir(exist_ok=True)
        for number in range(size >> 26):
            (files / f"{number}.zst").write_bytes(os.urandom(1 << 26))
        with new.open("wb") as file:
            file.truncate(size * 5 // 4)
        sh("mkfs.ext4", "-q", "-F", "-d", files, new)
        shutil.rmtree(files)
        new.rename(volume)
    return volume


def changed(folder: Path, volume: Path, share: float) -> Path:
    """The volume after ``share`` of its bytes were written anew, in whole files."""
    copy = folder / "changed.ext4"
    if not copy.exists():
        new = _copy_of(volume, folder / "new.changed")
        rewrite_files(new, share, folder / "mnt")
        new.rename(copy)
    return copy


def scattered(folder: Path, volume: Path, share: float) -> Path:
    """The volume after ``share`` of its clusters were written anew, each by itself."""
    copy = folder / "scattered.ext4"
    if not copy.exists():
        new = _copy_of(volume, folder / "new.scattered")
        # Not the filesystem's own structures: it must stay one for its map to be used.
        scatter_files(new, share, folder / "mnt", list(plan_capture(volume).captured.pairs()))
        new.rename(copy)
    return copy


def _copy_of(volume: Path, copy: Path) -> Path:
    sh("cp", "--sparse=always", volume, copy)
    return copy


def rewrite_files(volume: Path, share: float, point: Path) -> None:
    """Write ``share`` of the bytes anew, in whole files, as programs do."""
    point.mkdir(exist_ok=True)
    sh("mount", "-o", "loop", volume, point)
    try:
        rng = random.Random(1)
        files = sorted(p for p in point.rglob("*") if p.is_file() and not p.is_symlink())
        total = sum(p.stat().st_size for p in files)
        left = total * share
        rng.shuffle(files)
        for path in files:
            size = path.stat().st_size
            if not 4096 <= size <= left:
                continue
            data = path.read_bytes()
            path.write_bytes(data[::-1])
            left -= size
    finally:
        sh("umount", point)


def scatter_files(volume: Path, share: float, point: Path, used: list[tuple[int, int]]) -> None:
    """Fill ``share`` of the used 4 KiB clusters, each by itself, with bytes that do not shrink.

    In files, so that the filesystem stays one; counted against everything that is used.
    """
    point.mkdir(exist_ok=True)
    sh("mount", "-o", "loop", volume, point)
    try:
        rng = random.Random(2)
        clusters = sum(end - start for start, end in used) // 4096
        files = sorted(p for p in point.rglob("*") if p.is_file() and not p.is_symlink())
        full = [(path, path.stat().st_size // 4096) for path in files]
        chance = share * clusters / max(1, sum(count for _, count in full))
        for path, count in full:
            chosen = [n for n in range(count) if rng.random() < chance]
            if chosen:
                with path.open("r+b") as file:
                    for number in chosen:
                        file.seek(number * 4096)
                        file.write(rng.randbytes(4096))
    finally:
        sh("umount", point)


def disturb(disk: Path, share: float) -> None:
    """Write ``share`` of a disk file's data anew: pieces of 4 KiB to 1 MiB, anywhere in it."""
    rng = random.Random()
    with disk.open("r+b", buffering=0) as file, Source(disk) as source:
        data = list(source.data_extents().pairs())
        weights = [end - start for start, end in data]
        left = sum(weights) * share
        while left > 0:
            start, end = rng.choices(data, weights)[0]
            length = min(end - start, rng.choice([4096, 65536, 1 << 20]))
            file.seek(rng.randrange(start, end - length + 1) // 4096 * 4096)
            left -= file.write(rng.randbytes(length))
        os.fsync(file.fileno())


def chill(disk: Path) -> None:
    """Have the kernel forget what it has of a file."""
    with disk.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
