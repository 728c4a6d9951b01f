"""Which program of an EFI system partition starts the machine, when no firmware remembers it.

A machine's firmware notes the path of its boot loader in its own memory, which no image holds.
Without that note firmware looks for EFI/BOOT/BOOTX64.EFI only; a common Debian has no such file.
So a script for the EFI shell is put beside the disk: the shell is what OVMF starts when it finds
nothing else, and the script starts what an installer would have noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_FALLBACK = "efi/boot/bootx64.efi"
# The name goes into a script: nothing but what installers really use.
_PLAIN = re.compile(r"efi(/[A-Za-z0-9._-]{1,60}){1,3}\.efi", re.IGNORECASE)
# What starts the others stands before what it starts.
_KNOWN = ("shimx64.efi", "bootmgfw.efi", "grubx64.efi", "systemd-bootx64.efi", "refind_x64.efi")
_MAX_LOOKED_AT = 2000


def choose(paths: Iterable[str]) -> str | None:
    """The path of the loader to start; None when firmware finds one by itself, or there is none.

    Args:
        paths: files of an EFI system partition, from its root, with slashes. Pure.
    """
    known: dict[str, str] = {}
    for path in sorted(paths):
        if path.casefold() == _FALLBACK:
            return None
        if _PLAIN.fullmatch(path):
            known.setdefault(path.casefold().rpartition("/")[2], path)
    return next((known[name] for name in _KNOWN if name in known), None)


def script(path: str) -> str:
    """A script for the EFI shell that starts this loader from whichever disk has it. Pure."""
    folder, _, name = path.replace("/", "\\").rpartition("\\")
    lines = [
        "@echo -off",
        "for %i run (0 9)",
        f"  if exist fs%i:\\{folder}\\{name} then",
        "    fs%i:",
        f"    cd \\{folder}",
        f"    {name}",
        "  endif",
        "endfor",
    ]
    return "\r\n".join(lines) + "\r\n"


def files_of(folder: Path) -> list[str]:
    """Files below EFI in a mounted partition, as ``choose`` takes them; bounded.

    What cannot be read is left out: the machine may start all the same.
    """
    found: list[str] = []
    ahead = [(folder, "")]
    while ahead and len(found) < _MAX_LOOKED_AT:
        here, name = ahead.pop()
        try:
            entries = sorted(here.iterdir())
        except OSError:
            continue
        for entry in entries[:_MAX_LOOKED_AT]:
            path = f"{name}/{entry.name}" if name else entry.name
            if not name and entry.name.casefold() != "efi":
                continue
            if entry.is_dir() and path.count("/") < 4:
                ahead.append((entry, path))
            elif path.casefold().endswith(".efi"):
                found.append(path)
    return found
