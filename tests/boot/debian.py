"""A real Debian as a tar: made by mmdebstrap, kept under ``.cache`` by the hash of its recipe.

The mirrors are those mmdebstrap chooses. The .debs are kept too, so that a changed recipe
downloads only what is new.
"""

from __future__ import annotations

import fcntl
import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.core.process import run

CACHE = Path(__file__).parents[2] / ".cache" / "machine"

_SUITE = "trixie"
# The cloud kernel: virtio, AHCI, NVMe, ext4 and ntfs3 are in it, and it boots fast without KVM.
_PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "udev",
    "initramfs-tools",
    "zstd",
    "kmod",
    "e2fsprogs",
    "util-linux",
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


@dataclass(frozen=True, slots=True)
class Base:
    """The unpacked system as a tar, its kernel and initramfs beside it, and what names them all."""

    key: str
    tar: Path
    kernel: Path
    initrd: Path


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one process at a time make what is in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_base() -> Base:
    """The base system, made if it is not there yet (half a minute and 100 MB of downloads)."""
    words = _command()
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    room = CACHE / f"base-{key}"
    base = Base(key, room / "root.tar", room / "vmlinuz", room / "initrd.img")
    with locked(room):
        if not base.tar.exists():
            fresh = room / "fresh.tar"
            (CACHE / "debs").mkdir(exist_ok=True)
            run([*words, _SUITE, fresh], timeout=1200)
            _take_out(fresh, "boot/vmlinuz-", base.kernel)
            _take_out(fresh, "boot/initrd.img-", base.initrd)
            fresh.rename(base.tar)
    return base


def _command() -> list[str]:
    archives = "/var/cache/apt/archives"
    return [
        "mmdebstrap",
        "--quiet",
        "--format=tar",
        "--variant=minbase",
        "--components=main",
        f"--include={','.join(_PACKAGES)}",
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        "--skip=download/empty,essential/unlink,cleanup/apt/cache",
        f'--setup-hook=mkdir -p "$1{archives}"',
        f"--setup-hook=sync-in '{CACHE}/debs' {archives}",
        f"--customize-hook=sync-out {archives} '{CACHE}/debs'",
    ]


def _take_out(tar: Path, prefix: str, target: Path) -> None:
    """Copy the one file of ``tar`` whose name begins with ``prefix``."""
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.isfile() and member.name.removeprefix("./").startswith(prefix):
                content = archive.extractfile(member)
                assert content is not None
                target.write_bytes(content.read())
                return
    raise AssertionError(f"{tar} holds no {prefix}*")
