"""Appending to one file in large steps that go past the kernel's cache (O_DIRECT).

An image is written once and not read again. Through the cache each of its pages must be found,
filled and freed for that, which on a virtual machine can cost more than compressing at a low level
(docs/decisions/0094-appending.md), and on rescue media it pushes the system out of memory.
"""

from __future__ import annotations

import errno
import mmap
import os

from rescue.core.direct import ALIGNMENT, LEAST, reopen

ROOM = 4 << 20
"""Bytes that are collected before they are written."""


def room() -> memoryview:
    """What an ``Appender`` collects in; it begins on a page."""
    return memoryview(mmap.mmap(-1, ROOM))


class Appender:
    """Appends to one file. For one thread.

    What ``append`` took may be in this process only until ``settle``, which hands it to the kernel
    whatever its length: the last page then goes through the cache, and later once more, with what
    follows it.

    Args:
        fd: the open file, which stays its owner's.
        end: where it ends, which is where it goes on.
        room: memory from ``room``, which nobody else uses meanwhile.
    """

    def __init__(self, fd: int, end: int, room: memoryview) -> None:
        """Nothing is written.

        Raises:
            OSError: the file's last page cannot be read, or it is shorter than ``end``.
        """
        self._fd = fd
        self._room = room
        self._filled = self._handed = end % ALIGNMENT
        self._start = end - self._filled
        if os.preadv(fd, [room[: self._filled]], self._start) < self._filled:
            raise OSError(errno.EIO, "it became shorter")
        self._direct = reopen(fd) if _is_on_a_disk(fd) else -1

    def append(self, data: bytes | memoryview) -> None:
        """Take these bytes.

        Raises:
            OSError: earlier bytes or these could not be written.
        """
        left = memoryview(data)
        while left:
            count = min(len(left), ROOM - self._filled)
            self._room[self._filled : self._filled + count] = left[:count]
            self._filled += count
            left = left[count:]
            if self._filled == ROOM:
                self.settle()

    def settle(self) -> None:
        """Hand over to the kernel what it does not have yet; what is flushed next is all of it.

        Raises:
            OSError: it could not be written.
        """
        whole = self._filled - self._filled % ALIGNMENT
        at = self._handed - self._handed % ALIGNMENT
        if self._direct >= 0 and whole - at >= LEAST:
            self._handed = max(self._handed, self._past(at, whole))
        while self._handed < self._filled:
            piece = self._room[self._handed : self._filled]
            self._handed += os.pwrite(self._fd, piece, self._start + self._handed)
        rest = self._filled - whole
        self._room[:rest] = self._room[whole : self._filled]
        self._start += whole
        self._filled = self._handed = rest

    def _past(self, at: int, whole: int) -> int:
        """Write whole pages past the cache; how far that went."""
        while at < whole:
            try:
                at += os.pwrite(self._direct, self._room[at:whole], self._start + at)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.close()  # this filesystem cannot do that after all
                break
        return at

    def close(self) -> None:
        """Close what was opened here; what was not handed over is lost. Again: nothing.

        Raises:
            OSError: closing failed, and with it, on some filesystems, a write.
        """
        fd, self._direct = self._direct, -1
        if fd >= 0:
            os.close(fd)


def _is_on_a_disk(fd: int) -> bool:
    """Whether the file's filesystem has a disk of its own.

    Those of the network, of memory and of other programs have a device number without a driver
    (major 0), and ideas of their own of what goes past a cache.
    """
    return os.major(os.fstat(fd).st_dev) != 0
