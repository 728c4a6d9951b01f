"""Reads a file as the view's users do: its data in sequence, through or past the kernel's cache, or
4 KiB anywhere in its data.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
from pathlib import Path

RANDOM_READS = 4000


def extents(fd: int) -> list[tuple[int, int]]:
    """Start and end of the file's data, without its holes."""
    found: list[tuple[int, int]] = []
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))
    return found


def main() -> None:
    """``reading.py sequence|direct|random FILE``."""
    fd = os.open(Path(sys.argv[2]), os.O_RDONLY)
    found = extents(fd)
    if sys.argv[1] in ("sequence", "direct"):
        if sys.argv[1] == "direct":
            fd = os.open(Path(sys.argv[2]), os.O_RDONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, 1 << 20)
        for start, end in found:
            at = start
            while at < end:
                at += os.preadv(fd, [memoryview(buffer)[: min(len(buffer), end - at)]], at)
        return
    rng = random.Random(3)
    weights = [end - start for start, end in found]
    for start, end in rng.choices(found, weights, k=RANDOM_READS):
        os.pread(fd, 4096, rng.randrange(start, max(start + 1, end - 4096)))


if __name__ == "__main__":
    main()
