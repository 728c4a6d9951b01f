"""The base layer: Debian packages as one squashfs, with the files that boot it.

Made by mmdebstrap without root and kept under a name that is the hash of everything that makes it:
the package list, the settings the initramfs is built with, the finishing script, the level. The
``.deb`` files are kept apart, so that a changed list fetches only what is new.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from builder.recipe import KERNEL_KEYBOARD, Recipe
from builder.rootfs import lock, mirrors, overlay, packages
from builder.rootfs.lock import Locked
from rescue.core import process
from rescue.core.errors import ProgramFailed, from_os_error
from rescue.core.progress import Reporter

_HERE = Path(__file__).parent
ARTIFACTS = (
    "base.squashfs",
    "vmlinuz",
    "initrd.img",
    "shimx64.efi",
    "mmx64.efi",
    "grubx64.efi",
    "boot_hybrid.img",
    "eltorito.img",
    "python.tar",
    "packages.txt",
)


@dataclass(frozen=True, slots=True)
class Base:
    """A finished base layer: the folder that holds ARTIFACTS, and the hash that names it."""

    folder: Path
    key: str

    def path(self, name: str) -> Path:
        """Path of one of ARTIFACTS."""
        assert name in ARTIFACTS, name
        return self.folder / name


def key_of(recipe: Recipe, overlays: Path, grub_modules: Sequence[str]) -> str:
    """Hash of everything that makes the base layer, but for the versions that Debian has today."""
    hasher = blake3()
    parts: list[bytes] = [
        " ".join((packages.SUITE, packages.ARCHITECTURE, *packages.COMPONENTS)).encode(),
        " ".join(
            packages.included(replace(recipe, packages=tuple(sorted(recipe.packages))))
        ).encode(),
        "\n".join(packages.path_rules(recipe)).encode(),
        " ".join(grub_modules).encode(),
        str(recipe.compression).encode(),
        recipe.keyboard.encode(),
        " ".join(packages.made_locales(recipe)).encode(),
        (_HERE / "finish.sh").read_bytes(),
    ]
    for entry in overlay.read(overlays):
        if entry.early:
            content = entry.source.read_bytes() if entry.source else entry.link.encode()
            parts += [entry.name.encode(), oct(entry.mode).encode(), content]
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little") + part)
    return hasher.hexdigest()[:16]


def ensure(
    recipe: Recipe,
    overlays: Path,
    grub_modules: Sequence[str],
    cache: Path,
    reporter: Reporter,
    locked: tuple[Locked, ...] | None = None,
    *,
    anew: bool = False,
) -> Base:
    """The base layer for ``recipe``, from the cache or built now (one to four minutes).

    Args:
        grub_modules: what GRUB's BIOS image holds.
        locked: the only versions that may be in it.
        anew: build it although one is kept.

    Raises:
        ProgramFailed: mmdebstrap or what it runs failed.
        DiskTrouble: the cache cannot be written.
    """
    key = key_of(recipe, overlays, grub_modules)
    folder = cache / f"base-{key}"
    base = Base(folder, key)
    if not anew and _whole(base, locked):
        reporter.note(f"base layer {key}: kept from an earlier build")
        return base
    process.require("mmdebstrap")
    process.require("mksquashfs", package="squashfs-tools")
    partial = cache / f"base-{key}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (cache / "debs").mkdir(exist_ok=True)
        _build(recipe, overlays, grub_modules, cache, partial, reporter, locked)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        _forget_others(cache, folder)
    except OSError as error:
        raise from_os_error(error, f"write {cache}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return base


def _whole(base: Base, locked: tuple[Locked, ...] | None) -> bool:
    """Whether a base layer is kept, and is what the lock says."""
    if not all((base.folder / name).is_file() for name in ARTIFACTS):
        return False
    return locked is None or not lock.differences(locked, base.path("packages.txt").read_text())


def _build(
    recipe: Recipe,
    overlays: Path,
    grub_modules: Sequence[str],
    cache: Path,
    out: Path,
    reporter: Reporter,
    locked: tuple[Locked, ...] | None,
) -> None:
    early = out / "early"
    early.mkdir()
    overlay.lay((entry for entry in overlay.read(overlays) if entry.early), early)
    debs, fresh = cache / "debs", cache / "debs.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    finish = out / "finish"
    finish.write_text(_finish(recipe, grub_modules))
    pins = out / "pins"
    pins.write_text(lock.preferences(locked or ()))
    command = _command(recipe, early, finish, debs, fresh, out, pins if locked else None)

    reporter.start("base layer: Debian packages by mmdebstrap", None)
    path = cache / "mmdebstrap.log"
    with path.open("wb") as log:
        try:
            process.stream(command, lambda line: _tell(line, reporter), log=log)
        except ProgramFailed as error:
            log.flush()
            reason = first_error(path.read_text(errors="replace")) or error.message
            raise ProgramFailed(f"mmdebstrap failed: {reason}", hint=f"see {path}") from error
    reporter.finish()

    missing = [name for name in ARTIFACTS if not (out / name).is_file()]
    if missing:
        raise ProgramFailed(
            f"mmdebstrap left no {missing[0]}", hint=f"see {cache / 'mmdebstrap.log'}"
        )
    if locked is not None:
        wrong = lock.differences(locked, (out / "packages.txt").read_text())
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise ProgramFailed(
                f"the archive does not have what the lock says: {wrong[0]}{more}",
                hint="rescue-builder lock FILE --update makes a new lock",
            )
        lock.check_debs(locked, fresh)
    shutil.rmtree(early)
    finish.unlink()
    pins.unlink()
    shutil.rmtree(debs)
    fresh.rename(debs)


def first_error(log: str) -> str:
    """The line of mmdebstrap's log that says why: what follows is only who noticed."""
    for line in log.splitlines():
        if line.startswith(("E: ", "dpkg: error", "dpkg-deb: error", "mksquashfs: ", "FATAL")):
            return line.removeprefix("E: ")[:300]
    return ""


def _command(
    recipe: Recipe,
    early: Path,
    finish: Path,
    debs: Path,
    fresh: Path,
    out: Path,
    pins: Path | None,
) -> list[str]:
    """mmdebstrap's whole command line; ``pins``: what a lock lets apt choose."""
    place = "/etc/apt/preferences.d/rescue-lock"
    pinned = [f'--setup-hook=mkdir -p "$1"{place.rpartition("/")[0]}'] if pins else []
    pinned += [f"--setup-hook=upload {pins} {place}"] if pins else []
    unpinned = [f'--customize-hook=rm "$1"{place}'] if pins else []
    hooks = [
        # As mmdebstrap's manual shows: the .debs of the last build in, those of this one out.
        '--setup-hook=mkdir -p "$1"/var/cache/apt/archives/',
        f"--setup-hook=sync-in {debs} /var/cache/apt/archives/",
        *pinned,
        f"--essential-hook=sync-in {early} /",
        '--customize-hook=chroot "$1" apt-get autoclean --quiet=2',
        f"--customize-hook=sync-out /var/cache/apt/archives {fresh}",
        *unpinned,
        f"--customize-hook=upload {finish} /rescue-finish",
        '--customize-hook=sh "$1"/rescue-finish "$1"',
        *(f"--customize-hook=download /rescue-out/{name} {out / name}" for name in ARTIFACTS),
    ]
    options = ['APT::Install-Recommends "false"', *mirrors.host_proxy_options()]
    sources = mirrors.source_lines(mirrors.host_entries())
    return [
        "mmdebstrap",
        "--mode=" + ("root" if os.geteuid() == 0 and not _namespaces() else "unshare"),
        "--variant=minbase",
        "--format=null",
        f"--architectures={packages.ARCHITECTURE}",
        f"--components={','.join(packages.COMPONENTS)}",
        f"--include={','.join(packages.included(recipe))}",
        *(f"--aptopt={option}" for option in options),
        *(f"--dpkgopt={rule}" for rule in packages.path_rules(recipe)),
        "--skip=download/empty,essential/unlink,cleanup/apt/cache",
        *hooks,
        packages.SUITE,
        "-",
        *sources,
    ]


def _finish(recipe: Recipe, grub_modules: Sequence[str]) -> str:
    """The finishing script with its settings."""
    settings = (
        f"GRUB_MODULES='{' '.join(grub_modules)}'",
        f"LEVEL={recipe.compression}",
        f"PYTHON={packages.PYTHON}",
        f"KEYBOARD='{_keyboard(recipe)}'",
        f"LOCALES='{' '.join(packages.made_locales(recipe))}'",
    )
    return "\n".join((*settings, (_HERE / "finish.sh").read_text()))


def _keyboard(recipe: Recipe) -> str:
    """ckbcomp's arguments; empty for the kernel's own keys."""
    if recipe.keyboard == KERNEL_KEYBOARD:
        return ""
    layout, _, variant = recipe.keyboard.rstrip(")").partition("(")
    return f"-layout {layout}" + (f" -variant {variant}" if variant else "")


def _namespaces() -> bool:
    """Whether root can make user namespaces here (some containers forbid it)."""
    return process.run(["unshare", "--user", "--map-root-user", "true"], check=False).status == 0


def _tell(line: str, reporter: Reporter) -> None:
    """Pass on mmdebstrap's own headings; the rest is in the log."""
    if line.startswith("I: "):
        reporter.note(line[3:])


def _forget_others(cache: Path, keep: Path) -> None:
    """Keep the three newest base layers, one for each variant: each is a third of a gigabyte."""
    others = sorted(
        (path for path in cache.glob("base-*") if path.is_dir() and path != keep),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for path in others[2:]:
        shutil.rmtree(path, ignore_errors=True)
