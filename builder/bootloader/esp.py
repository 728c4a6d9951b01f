"""The EFI system partition: Debian's signed shim and GRUB, unmodified, in a small FAT image.

Made with mtools, so nothing is mounted and no root is needed. The serial number is fixed by what
the image holds, not by the clock.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rescue.core import process
from rescue.core.errors import from_os_error
from rescue.core.units import MIB

_SPARE = MIB // 2
"""Room for the file allocation tables, folders and the last cluster of each file."""


def image_size(files: dict[str, bytes]) -> int:
    """Bytes of the FAT image that holds ``files``: whole MiB, so partitions stay aligned."""
    held = sum(len(data) for data in files.values())
    return -(-(held + _SPARE) // MIB) * MIB


def build(files: dict[str, bytes], serial: int, out: Path) -> None:
    """Write a FAT image with ``files`` (path with slashes to content) to ``out``.

    Args:
        serial: the 32-bit volume serial number.

    Raises:
        ProgramFailed: mtools is missing or failed.
        DiskTrouble: the image cannot be written.
    """
    process.require("mformat", package="mtools")
    size = image_size(files)
    try:
        with out.open("wb") as file:
            file.truncate(size)
        # FAT12 ends at 4,084 clusters: two sectors a cluster keep 4 MiB images inside it.
        geometry = ["-h", "2", "-s", "32", "-c", "4", "-T", str(size // 512)]
        label = ["-N", f"{serial:08X}", "-v", "RESCUE_EFI"]
        process.run(["mformat", "-i", out, *label, *geometry, "::"])
        folders: list[str] = []
        for name in files:
            parts = name.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.append(folder)
        for folder in folders:
            process.run(["mmd", "-i", out, f"::/{folder}"])
        with tempfile.TemporaryDirectory(prefix="esp-") as scratch:
            for name, data in files.items():
                source = Path(scratch) / "file"
                source.write_bytes(data)
                process.run(["mcopy", "-i", out, source, f"::/{name}"])
    except OSError as error:
        raise from_os_error(error, f"write {out}") from error
