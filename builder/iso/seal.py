"""The seal of an ISO: two BLAKE3 sums in its own volume descriptor, over every byte of the file.

The list of SHA-256 sums on the medium covers its files, and nothing of what lies between them. The
seal covers the rest too. It lies in the 512 bytes that ECMA-119 (8.4.32) leaves to applications,
which count as blanks while the sums are taken. Two sums, because a stick carries the filesystem
without the tables around it. It finds accidents: whoever can change the medium can seal it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from rescue.core.progress import Reporter

SYSTEM_AREA = 32768
"""Bytes before the volume descriptor that ISO 9660 leaves alone (ECMA-119 6.2.1)."""
PLACE = SYSTEM_AREA + 883
LENGTH = 512
MAX_SIZE = 1 << 40
"""No disc holds more; a larger number is damage."""

_BLOCK = 4 << 20
_FORM = re.compile(
    rb"rescue seal 1\nsize (\d{1,13})\ntotal (\d{1,13})\nsystem ([0-9a-f]{64})\n"
    rb"tables ([0-9a-f]{64})\n *"
)

Read = Callable[[int, int], bytes]
"""``read(length, offset)``; short at the end."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What the file is to be.

    Attributes:
        size: end of the filesystem, from byte 0 of the file.
        total: bytes of the whole file, with the backup table behind the filesystem.
        system: BLAKE3 of the filesystem, from ``SYSTEM_AREA`` to ``size``.
        tables: BLAKE3 of what lies before and behind it.
    """

    size: int
    total: int
    system: str
    tables: str

    def encode(self) -> bytes:
        """The 512 bytes at ``PLACE``."""
        text = f"rescue seal 1\nsize {self.size}\ntotal {self.total}\n"
        text += f"system {self.system}\ntables {self.tables}\n"
        return text.encode().ljust(LENGTH)


def parse(data: bytes) -> Seal | None:
    """The seal in the 512 bytes at ``PLACE``, or None when there is none that makes sense."""
    match = _FORM.fullmatch(data)
    if match is None:
        return None
    size, total = int(match[1]), int(match[2])
    if not SYSTEM_AREA + 2048 <= size <= total <= MAX_SIZE:
        return None
    return Seal(size, total, match[3].decode(), match[4].decode())


def make(read: Read, size: int, total: int, reporter: Reporter) -> Seal:
    """The seal of a finished file whose filesystem ends at ``size``; reports bytes."""
    return Seal(
        size,
        total,
        system_sum(read, size, reporter),
        tables_sum(read, size, total, reporter),
    )


def system_sum(read: Read, size: int, reporter: Reporter) -> str:
    """BLAKE3 of the filesystem, the seal itself counted as blanks."""
    hasher = blake3(max_threads=blake3.AUTO)
    at = SYSTEM_AREA
    for block in _blocks(read, SYSTEM_AREA, size):
        if at == SYSTEM_AREA:
            start = PLACE - SYSTEM_AREA
            block = block[:start] + b" " * LENGTH + block[start + LENGTH :]
        hasher.update(block)
        at += len(block)
        reporter.advance(len(block))
    return hasher.hexdigest()


def tables_sum(read: Read, size: int, total: int, reporter: Reporter) -> str:
    """BLAKE3 of the system area and of what follows the filesystem."""
    hasher = blake3()
    for start, end in ((0, SYSTEM_AREA), (size, total)):
        for block in _blocks(read, start, end):
            hasher.update(block)
            reporter.advance(len(block))
    return hasher.hexdigest()


def _blocks(read: Read, start: int, end: int) -> Iterator[bytes]:
    """The bytes from ``start`` to ``end``; fewer where the file ends before."""
    while start < end:
        block = read(min(_BLOCK, end - start), start)
        if not block:
            return
        yield block
        start += len(block)
