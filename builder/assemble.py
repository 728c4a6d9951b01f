"""From a recipe to a finished ISO: the order of the steps, and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from builder import bill, discs, initrd, sets
from builder.bootloader import esp, grub
from builder.cargo import Cargo
from builder.iso import write as iso
from builder.recipe import Recipe
from builder.rootfs import base as base_layer
from builder.rootfs import extra as extra_layer
from builder.rootfs import lock
from builder.rootfs import top as top_layer
from builder.rootfs.lock import Locked
from rescue import __version__
from rescue.core.digest import file_blake3
from rescue.core.errors import DiskTrouble, UsageError, from_os_error
from rescue.core.progress import Reporter

PROJECT = Path(__file__).resolve().parent.parent
JOBS = "rescue/jobs"
DISCS_PART = "usr/lib/live/boot/9992-rescue-discs.sh"
"""Where live-boot takes its parts from, in the initial memory disk."""
_SCRATCH = "build-"
_NEEDED_SPACE = 3 << 30
"""Bytes a first build takes: packages, the unpacked root, its layer, the ISO."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A finished ISO."""

    path: Path
    size: int
    blake3: str
    sha256: str
    build: str
    """The hash that names this build; also on the medium, in /.disk/info."""
    further: tuple[Path, ...] = ()
    """The other discs of a set."""


def build_iso(
    recipe: Recipe,
    output: Path,
    cache: Path,
    reporter: Reporter,
    cargo: Cargo | None = None,
    locked: tuple[Locked, ...] | None = None,
    media_size: int | None = None,
) -> Medium:
    """Make the ISO; whatever was there under ``output`` is replaced at the very end.

    Args:
        cargo: what a recovery medium carries on top.
        locked: the only Debian packages that may be in it.
        media_size: bytes of a disc; what does not fit goes on further ones, beside ``output``.

    Raises:
        RescueError: a step failed; its message says which.
    """
    check_output(output)
    epoch = source_date()
    cargo = cargo or Cargo()
    if media_size is None:
        cargo.content()  # refused before anything long starts
    with _alone(cache, reporter), tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=cache) as folder:
        base = _base(recipe, cache, reporter, locked)
        scratch = Path(folder)
        layers = {"top": top_layer.build(PROJECT, recipe, base, cache, scratch, reporter)}
        if extra_layer.wanted(recipe):
            layers["recipe"] = scratch / "recipe.squashfs"
            extra_layer.build(recipe, scratch, layers["recipe"], reporter)
        large = (base.path("base.squashfs"), base.path("vmlinuz"), base.path("initrd.img"))
        system = sum(path.stat().st_size for path in (*large, *layers.values()))
        loaded = sets.load(cargo, media_size, system, scratch, reporter)
        sets.check_room(output.absolute(), loaded, shutil.disk_usage(output.absolute().parent).free)
        menu = replace(grub.menu_of(recipe, ""), recovery=cargo.names, discs=loaded.count)
        parts = _parts(recipe, base, layers, loaded.first, menu, scratch, epoch)
        build = parts.seed.hex()[:16]
        further: tuple[Path, ...] = ()
        if loaded.further:
            parts.content[discs.SET] = discs.mark(build, 1, loaded.count)
            info = f"Rescue {__version__} {build}"
            further = sets.write_further(loaded, build, info, epoch, output, reporter)
        size, digest, other = iso.write(parts, output, reporter)
    return Medium(output, size, digest, other, build, further)


def _base(
    recipe: Recipe,
    cache: Path,
    reporter: Reporter,
    locked: tuple[Locked, ...] | None = None,
    *,
    anew: bool = False,
) -> base_layer.Base:
    """The base layer of a recipe, kept or built now.

    Raises:
        RescueError: a step failed; its message says which.
    """
    overlays = PROJECT / "overlays"
    if not overlays.is_dir():
        raise UsageError(
            "the overlays are not beside the builder",
            hint="run rescue-builder from a checkout of the project (pip install --editable)",
        )
    return base_layer.ensure(
        recipe, overlays, grub.BIOS_MODULES, cache, reporter, locked, anew=anew
    )


def write_lock(recipe: Recipe, output: Path, cache: Path, reporter: Reporter, *, anew: bool) -> int:
    """Write the lock of a recipe's base layer; how many packages it names.

    Args:
        anew: build the base layer, with the versions of today, although one is kept.

    Raises:
        RescueError: a step failed.
    """
    check_output(output)
    with _alone(cache, reporter):
        base = _base(recipe, cache, reporter, anew=anew)
    try:
        found = lock.of_base(base.path("packages.txt").read_text(), cache / "debs")
        partial = output.with_name(f"{output.name}.partial")
        partial.write_text(lock.render(found))
        partial.rename(output)
    except OSError as error:
        raise from_os_error(error, f"write {output}") from error
    return len(found)


def check_output(output: Path) -> None:
    """Refuse what cannot be an ISO's place before anything long starts.

    Raises:
        UsageError: a directory, a device or a missing folder's file in the way.
        DiskTrouble: no permission.
    """
    if output.is_dir():
        raise UsageError(f"{output} is a directory", hint="name the file to write")
    if output.exists() and not output.is_file():
        raise UsageError(
            f"{output} is not a plain file", hint="write an ISO first, then copy it to the stick"
        )
    folder = output.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, f"make {folder}") from error
    if not os.access(folder, os.W_OK):
        raise DiskTrouble(f"cannot write in {folder}: permission denied")


def source_date() -> int:
    """SOURCE_DATE_EPOCH, or now.

    Raises:
        UsageError: the variable is not a whole number of seconds.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return int(time.time())
    # ISO 9660 counts years from 1900 in one byte.
    if not text.isdecimal() or not 0 <= int(text) < 5_000_000_000:
        raise UsageError(f"SOURCE_DATE_EPOCH is not a time: {text!r}")
    return int(text)


@contextmanager
def _alone(cache: Path, reporter: Reporter) -> Iterator[None]:
    """One build at a time uses the cache: base, wheels and their interpreter are made in it once.

    Raises:
        DiskTrouble: the cache or its lock cannot be made, or there is no room for a first build.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _require_room(cache, shutil.disk_usage(cache).free)
        file = (cache / "lock").open("w")
    except OSError as error:
        raise from_os_error(error, f"make {cache}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.note("waiting for another build that uses the same cache")
            fcntl.flock(file, fcntl.LOCK_EX)
        # What a build that was killed has left; nobody else is here now.
        for left in cache.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _require_room(cache: Path, free: int) -> None:
    """Refuse before the first build when the disk will be full in the middle of it."""
    if free < _NEEDED_SPACE and not any(cache.glob("base-*")):
        raise DiskTrouble(
            f"{cache} has {free >> 20} MiB free and a first build takes {_NEEDED_SPACE >> 20} MiB",
            hint="name another place with --cache",
        )


def _parts(
    recipe: Recipe,
    base: base_layer.Base,
    layers: dict[str, Path],
    loaded: dict[str, Path | bytes],
    menu: grub.Menu,
    scratch: Path,
    epoch: int,
) -> iso.Iso:
    """All files of the medium, and the name of the build made from their content."""
    layers = {"base": base.path("base.squashfs"), **layers}
    try:
        content: dict[str, Path | bytes] = {
            **loaded,
            **{f"live/{name}.squashfs": path for name, path in layers.items()},
            # live-boot mounts them in this order: the later one lies on top.
            "live/filesystem.module": "".join(f"{name}.squashfs\n" for name in layers).encode(),
            "live/vmlinuz": base.path("vmlinuz"),
            "live/packages.txt": base.path("packages.txt"),
            **{f"{JOBS}/{job.name}": job.read_bytes() for job in recipe.jobs},
        }
        seed = _seed(menu, content, base, epoch)
        build = seed.hex()[:16]
        medium_file = f".disk/rescue-{build}"
        uuid = f"{build}\n".encode()
        initramfs = scratch / "initrd.img"
        early = {"conf/uuid.conf": uuid}
        if menu.discs > 1:
            early[DISCS_PART] = (grub.TEMPLATES / "discs.sh").read_bytes()
        initramfs.write_bytes(initrd.cpio(early) + base.path("initrd.img").read_bytes())
        menu = replace(menu, medium_file=f"/{medium_file}")
        date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
        parts = (
            *bill.debian(base.path("packages.txt").read_text()),
            *bill.wheels((PROJECT / "ci" / "media.lock").read_text()),
        )
        content |= {
            "live/initrd.img": initramfs,
            "live/contents.spdx.json": bill.spdx(parts, __version__, build, epoch),
            "boot/grub/grub.cfg": grub.render(menu).encode(),
            "boot/grub/loopback.cfg": grub.render_loopback().encode(),
            ".disk/info": f"Rescue {__version__} amd64 {date} {build}\n".encode(),
            ".disk/live-uuid-rescue": uuid,
            medium_file: uuid,
        }
        efi = scratch / "efi.img"
        esp.build(
            {
                "EFI/BOOT/BOOTX64.EFI": base.path("shimx64.efi").read_bytes(),
                "EFI/BOOT/grubx64.efi": base.path("grubx64.efi").read_bytes(),
                "EFI/BOOT/mmx64.efi": base.path("mmx64.efi").read_bytes(),
                "boot/grub/grub.cfg": grub.render_esp(menu).encode(),
            },
            int.from_bytes(seed[:4], "big"),
            efi,
        )
        return iso.Iso(
            content=content,
            eltorito=base.path("eltorito.img").read_bytes(),
            efi=efi.read_bytes(),
            boot_code=base.path("boot_hybrid.img").read_bytes(),
            seed=seed,
            epoch=epoch,
        )
    except OSError as error:
        raise from_os_error(error, "read the parts of the medium") from error


def _seed(
    menu: grub.Menu, content: dict[str, Path | bytes], base: base_layer.Base, epoch: int
) -> bytes:
    """32 bytes that depend on all that goes in, and on nothing else."""
    hasher = blake3()
    for path, source in sorted(content.items()):
        digest = blake3(source).hexdigest() if isinstance(source, bytes) else file_blake3(source)
        hasher.update(f"{path}\0{digest}\n".encode())
    initramfs = file_blake3(base.path("initrd.img"))
    hasher.update(f"{initramfs}\n{grub.render(menu)}\n{epoch}\n".encode())
    return hasher.digest()
