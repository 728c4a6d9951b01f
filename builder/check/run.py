"""One check: what the medium has, what the machine says, and the findings."""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

from builder.check import devices, firmware, pe
from builder.check.devices import Drivers
from builder.check.findings import Finding
from builder.iso.opened import Opened
from builder.usb.payload import load
from rescue.core import process
from rescue.core.errors import ImageDamaged
from rescue.core.progress import Reporter

_BASE = "live/base.squashfs"
_MODULES = "usr/lib/modules"
_FIRMWARE = "usr/lib/firmware"


def check(opened: Opened, iso: Path, root: Path, reporter: Reporter) -> tuple[Finding, ...]:
    """Compare a checked ISO with the machine whose filesystem is ``root``; both are only read.

    Raises:
        ImageDamaged: a part of the ISO is missing or cannot be read.
        ProgramFailed: unsquashfs or mtools are missing.
    """
    process.require("unsquashfs", package="squashfs-tools")
    reporter.start("look at the medium and the machine", None)
    efi = load(opened).efi
    shim = pe.parse("shim", efi["EFI/BOOT/BOOTX64.EFI"])
    grub = pe.parse("GRUB", efi["EFI/BOOT/GRUBX64.EFI"])
    found = firmware.judge(firmware.read(root), shim, grub)
    place = opened.places().get(_BASE)
    if place is None:
        raise ImageDamaged(f"{opened.name} holds no {_BASE}")
    with tempfile.TemporaryDirectory(prefix="check-") as scratch:
        drivers = _drivers(iso, place[0], Path(scratch))
        found += devices.judge(devices.read(root), drivers)
    reporter.finish()
    return tuple(found)


def _drivers(iso: Path, start: int, scratch: Path) -> Drivers:
    """What the base layer has, read where it lies in the ISO."""
    unsquash = ["unsquashfs", "-offset", str(start), "-no-progress", "-quiet", "-no-xattrs"]
    root = scratch / "lists"
    lists = [f"{_MODULES}/*/modules.{name}" for name in ("alias", "builtin", "dep")]
    # Status 2 is said for what is not of this layer; what is missing is found out below.
    process.run([*unsquash, "-dest", root, iso, *lists], check=False)
    try:
        (kernel,) = (root / _MODULES).iterdir()
        aliases = devices.parse_aliases((kernel / "modules.alias").read_text())
        aliases += devices.parse_builtin((kernel / "modules.builtin").read_text())
        paths = [line.partition(":")[0] for line in (kernel / "modules.dep").open()]
    except (OSError, ValueError) as error:
        raise ImageDamaged(f"the base layer of {iso} has no lists of modules") from error
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in paths}
    listing = process.run(["unsquashfs", "-offset", str(start), "-l", "-d", "", iso, _FIRMWARE])
    prefix = f"/{_FIRMWARE}/"
    names = frozenset(
        line.removeprefix(prefix) for line in listing.text.splitlines() if line.startswith(prefix)
    )

    def asks(module: str) -> tuple[str, ...]:
        path = by_name.get(module)
        if path is None:
            return ()  # in the kernel itself
        inside = f"{_MODULES}/{kernel.name}/{path}"
        out = scratch / "modules" / module
        process.run([*unsquash, "-dest", out, iso, inside], check=False)
        try:
            data = (out / inside).read_bytes()
            return devices.parse_modinfo(lzma.decompress(data) if path.endswith(".xz") else data)
        except (OSError, lzma.LZMAError):
            return ()

    return Drivers(aliases, names, asks)
