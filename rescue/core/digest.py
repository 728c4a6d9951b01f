"""Hashes of files, at the speed of the disk."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from rescue.core.errors import from_os_error
from rescue.core.progress import Reporter, Silent

_BLOCK = 8 << 20


def file_blake3(path: Path, reporter: Reporter | None = None) -> str:
    """BLAKE3 of a whole file, as 64 hexadecimal digits.

    Raises:
        DiskTrouble: the file cannot be read.
    """
    report = reporter or Silent()
    hasher = blake3(max_threads=blake3.AUTO)
    try:
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(_BLOCK)
            view = memoryview(buffer)
            while count := file.readinto(buffer):
                hasher.update(view[:count])
                report.advance(count)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    return hasher.hexdigest()
