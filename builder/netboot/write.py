"""Write a netboot folder, of an ISO alone: what was tested is what is served.

The folder of the build is written beside and renamed; the programs that firmware asks for and the
menus, which point to the build, come after it, each replaced whole. What an interruption leaves is
the folder as it was, and perhaps a ``.partial`` that the next run takes away.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from builder import initrd
from builder.bootloader import grub
from builder.iso.opened import INFO, Opened
from builder.netboot import drivers, plan
from builder.netboot.plan import Menu, Place
from builder.usb.payload import load
from rescue.core import process
from rescue.core.errors import DiskTrouble, ImageDamaged, UsageError, from_os_error
from rescue.core.progress import Reporter

_BLOCK = 4 << 20
_MODULES = "usr/lib/modules"
_FIRMWARE = "usr/lib/firmware"
_GRUB = "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"
_PXE = "usr/lib/rescue/netboot.pxe"
_LEVEL = 9
"""zstd's, as of Debian's own part: firmware loads it slowly, sometimes by TFTP."""
_SPARE = 256 << 20
"""Bytes of room beside the files: what is taken out of the base layer for a moment."""


@dataclass(frozen=True, slots=True)
class Served:
    """A finished folder.

    Attributes:
        build: the folder of the build inside it.
        size: bytes that a server hands to one machine.
        memory: bytes of memory that the machine's copy takes for as long as it runs.
        others: folders of earlier builds that are still there.
    """

    folder: Path
    build: str
    size: int
    memory: int
    others: tuple[str, ...]


def check_output(folder: Path) -> None:
    """Refuse what cannot be the place before anything long starts.

    Raises:
        UsageError: something else is there.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="name a folder, new or an earlier one")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "boot.ipxe").is_file():
        raise UsageError(
            f"{folder} holds other things than an earlier netboot",
            hint="name a new or an empty folder",
        )


def write(opened: Opened, folder: Path, place: Place | None, reporter: Reporter) -> Served:
    """Make or renew ``folder`` of a checked ISO.

    Raises:
        UsageError: the ISO, or the folder, is not one for this.
        ImageDamaged: a part of the ISO is missing.
        DiskTrouble: the folder cannot be written.
        ProgramFailed: unsquashfs or mtools are missing or failed.
    """
    check_output(folder)
    process.require("unsquashfs", package="squashfs-tools")
    places = opened.places()
    names = tuple(places)
    wanted = plan.fetched(names)
    build = _build_of(opened)
    menu = plan.menu_of(opened.file(plan.MENU).decode(errors="replace"), build, place, names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        total = sum(places[name][1] for name in wanted)
        _require_room(folder, total + _SPARE)
        own = folder / build
        partial = folder / f"{build}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o755)
        try:
            sums = _copy(opened, places, wanted, partial, reporter)
            programs = _rest(opened, places, wanted, sums, partial, reporter)
            shutil.rmtree(own, ignore_errors=True)
            partial.rename(own)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        texts = _texts(menu, folder, place)
        for name, data in {**programs, **texts}.items():
            _replace(folder / name, data)
        size = sum(path.stat().st_size for path in own.rglob("*") if path.is_file())
        others = tuple(
            sorted(
                path.parent.parent.name
                for path in folder.glob("*/.disk/info")
                if path.parent.parent != own
            )
        )
    except OSError as error:
        raise from_os_error(error, f"write {folder}") from error
    return Served(folder, build, size, total, others)


def _build_of(opened: Opened) -> str:
    """The build's own name, the last word of /.disk/info."""
    word = opened.build().rpartition(" ")[2]
    if len(word) != 16 or set(word) - set("0123456789abcdef"):
        raise ImageDamaged(f"{opened.name} does not say in /{INFO} which build it is")
    return word


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskTrouble(
            f"{folder} has {free >> 20} MiB free and {needed >> 20} MiB are needed",
            hint="name a folder on another filesystem",
        )


def _copy(
    opened: Opened,
    places: dict[str, tuple[int, int]],
    wanted: tuple[str, ...],
    out: Path,
    reporter: Reporter,
) -> dict[str, str]:
    """Copy files out of the ISO; path to SHA-256."""
    sums = {}
    reporter.start("copy the layers", sum(places[name][1] for name in wanted))
    for name in wanted:
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        hasher = hashlib.sha256()
        with path.open("wb") as file:
            for block in _blocks(opened, *places[name]):
                file.write(block)
                hasher.update(block)
                reporter.advance(len(block))
        sums[name] = hasher.hexdigest()
    reporter.finish()
    return sums


def _blocks(opened: Opened, start: int, length: int) -> Iterator[bytes]:
    for at in range(start, start + length, _BLOCK):
        yield opened.read(min(_BLOCK, start + length - at), at)


def _rest(
    opened: Opened,
    places: dict[str, tuple[int, int]],
    wanted: tuple[str, ...],
    sums: dict[str, str],
    out: Path,
    reporter: Reporter,
) -> dict[str, bytes]:
    """Write kernel, initial memory disk and the list of sums; the programs that firmware starts."""
    reporter.start("drivers of network cards for the initial memory disk", None)
    layer = out / plan.BASE
    sizes = {name: places[name][1] for name in wanted}
    added = {
        "conf/rescue-fetch": plan.fetch_list(sizes, sums).encode(),
        "conf/sha256sums.txt": plan.sums_list(sums).encode(),
        "usr/lib/live/boot/9991-rescue-fetch.sh": (
            grub.TEMPLATES / "netboot" / "fetch.sh"
        ).read_bytes(),
    }
    with tempfile.TemporaryDirectory(prefix="netboot-", dir=out.parent) as scratch:
        taken = _taken(layer, Path(scratch))
        dependencies = next((n for n in taken if n.endswith("/modules.dep")), "")
        if not dependencies or _GRUB not in taken or _PXE not in taken:
            raise ImageDamaged(
                f"the base layer of {opened.name} was not made for netboot",
                hint="build the ISO anew with this rescue-builder",
            )
        tree = dependencies.rpartition("/")[0]
        needed = {f"{tree}/{n}" for n in drivers.modules(taken[dependencies]().decode())}
        for name, read in taken.items():
            lists = name.startswith(f"{tree}/modules.")
            firmware = drivers.is_firmware(name.removeprefix(f"{_FIRMWARE}/"))
            if lists or name in needed or firmware:
                added[name] = read()
        programs = {"grubx64.efi": taken[_GRUB](), "netboot.pxe": taken[_PXE]()}
    own = opened.file(plan.INITRD)
    # An archive begins at a multiple of four bytes; the kernel passes over zeros before it.
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(initrd.cpio(added))
    data = own + bytes(-len(own) % 512) + packed
    final = {"vmlinuz": opened.file(plan.KERNEL), "initrd.img": data}
    for name, content in final.items():
        (out / name).write_bytes(content)
    every = {**sums, **{n: hashlib.sha256(c).hexdigest() for n, c in final.items()}}
    (out / plan.SUMS).write_text(plan.sums_list(every))
    signed = load(opened).efi
    reporter.finish()
    return {
        "shimx64.efi": signed["EFI/BOOT/BOOTX64.EFI"],
        "mmx64.efi": signed["EFI/BOOT/MMX64.EFI"],
        **programs,
    }


def _taken(layer: Path, scratch: Path) -> dict[str, Callable[[], bytes]]:
    """What was unpacked of the base layer: path to a function that reads it."""
    root = scratch / "root"
    wanted = (f"{_MODULES}/*/modules.*", f"{_MODULES}/*/kernel", _FIRMWARE, _GRUB, _PXE)
    # Status 2: something that is not of this layer, or extended attributes that a plain user may
    # not set. What is missing is found out by the caller.
    process.run(
        ["unsquashfs", "-no-progress", "-quiet", "-no-xattrs", "-dest", root, layer, *wanted],
        check=False,
    )
    return {
        str(path.relative_to(root)): path.read_bytes
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _texts(menu: Menu, folder: Path, place: Place | None) -> dict[str, bytes]:
    url = place.url if place else "http://192.0.2.1"
    port = place.host.partition(":")[2] if place else ""
    values = {"menu": menu, "quiet": " ".join(grub.QUIET), "consoles": " ".join(grub.CONSOLES)}
    example = {"folder": folder.absolute(), "url": url, "port": port or "80"}
    return {
        "dnsmasq.conf": grub.render_file("netboot/dnsmasq.conf.j2", **example).encode(),
        "grub/grub.cfg": grub.render_file("netboot/grub.cfg.j2", **values).encode(),
        "boot.ipxe": grub.render_file("netboot/boot.ipxe.j2", **values).encode(),
    }


def _replace(path: Path, data: bytes) -> None:
    """Write a file by way of another; a server may be reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.chmod(0o644)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
