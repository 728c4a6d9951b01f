"""What machine this is, for the manifest: enough to find "the image of this machine" again."""

from __future__ import annotations

import platform
from pathlib import Path

_DMI = Path("/sys/class/dmi/id")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[:256]
    except OSError:
        return ""


def this_machine() -> dict[str, str]:
    """Host name, vendor, product, serial (where readable) and firmware."""
    firmware = "uefi" if Path("/sys/firmware/efi").is_dir() else "bios"
    return {
        "hostname": platform.node(),
        "vendor": _read(_DMI / "sys_vendor"),
        "product": _read(_DMI / "product_name"),
        "serial": _read(_DMI / "product_serial"),
        "firmware": firmware,
    }
