"""The data partition's filesystem, made in a sparse file by the filesystem's own mkfs.

The disk is open for this process alone, so mkfs cannot have it; and a partition of a file or of a
loop device has no node. What mkfs wrote to the file is copied to the stick, holes left out: mkfs
must therefore write its zeros for real, because the stick may hold anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rescue.core import process
from rescue.core.errors import from_os_error
from rescue.core.units import format_size
from rescue.devices.blockio import Source

KINDS = ("exfat", "ext4", "ntfs")
_PACKAGES = {"exfat": "exfatprogs", "ext4": "e2fsprogs", "ntfs": "ntfs-3g"}


@dataclass(frozen=True, slots=True)
class Made:
    """A new filesystem in a file.

    Attributes:
        extents: (start, end) of what mkfs wrote.
    """

    path: Path
    extents: tuple[tuple[int, int], ...]


@contextmanager
def filesystem(kind: str, size: int, label: str, sector: int) -> Iterator[Made]:
    """A filesystem of ``size`` bytes; gone when the block ends.

    Args:
        kind: one of KINDS.
        sector: the 512-byte sector at which it will begin (NTFS writes it into its boot sector).

    Raises:
        ProgramFailed: mkfs is missing or failed.
        DiskTrouble: there is no room for the file.
    """
    program = process.require(f"mkfs.{kind}", package=_PACKAGES[kind])
    with TemporaryDirectory(prefix="stick-") as folder:
        path = Path(folder) / "data"
        try:
            with path.open("wb") as file:
                file.truncate(size)
            # e2fsprogs would otherwise leave zeros to the kernel, as holes.
            process.run(
                [program, *_options(kind, label, sector), path], env={"UNIX_IO_NOZEROOUT": "1"}
            )
            with path.open("rb") as file:
                os.fsync(file.fileno())
            with Source(path) as source:
                extents = tuple((one.start, one.end) for one in source.data_extents())
        except OSError as error:
            raise from_os_error(
                error, f"make a filesystem of {format_size(size)} in {folder}"
            ) from error
        yield Made(path, extents)


def _options(kind: str, label: str, sector: int) -> list[str]:
    match kind:
        case "exfat":
            return ["-L", label]
        case "ntfs":
            start = ["-p", str(sector), "-H", "255", "-S", "63"]
            return ["-F", "-Q", "-q", "-s", "512", *start, "-L", label]
        case _:
            # No journal larger than a stick needs; tables that the kernel clears later.
            options = "nodiscard,lazy_itable_init=1,lazy_journal_init=0"
            return ["-q", "-F", "-E", options, "-J", "size=16", "-m", "0", "-L", label]
