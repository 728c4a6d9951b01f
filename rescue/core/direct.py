"""Large reads and writes past the kernel's cache (O_DIRECT), where a target can do that.

Through the cache each mebibyte is copied into pages that must be found first, and that are of no
use to anybody: on rescue media they push out the system itself. Past it, what was read came from
the disk, what was written went there, and the speed that is shown is the disk's.

Both ways are used side by side: the kernel keeps them coherent, and none but whole pages go past
the cache, so no page is ever written in both ways at once.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable

ALIGNMENT = 4096
"""Places, lengths and memory are multiples of it; no disk has larger logical sectors."""

LEAST = 64 << 10
"""Fewer bytes go through the cache, which hands the disk many small writes together."""

LARGEST = 1 << 20
"""Bytes of one transfer at most, and of each thread's buffer."""

_FOLIO = 4 << 20  # the kernel lets go of a piece of its memory whole or not at all: 2 MiB at most
_NOTED = 4096  # places that are remembered; of more all is let go of


def buffer() -> memoryview:
    """``LARGEST`` bytes of zeros that begin on a page."""
    return memoryview(mmap.mmap(-1, LARGEST))


def reopen(fd: int) -> int:
    """Another descriptor of the same open file, past the cache; -1 where that cannot be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


class DirectIO:
    """Reads and writes one file; safe from several threads.

    Args:
        fd: the open file, which stays its owner's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._direct = reopen(fd)
        self._able = self._direct >= 0
        self._knows = True
        self._noted: set[int] | None = set()
        self._local = threading.local()

    @property
    def able(self) -> bool:
        """Whether large transfers go past the cache."""
        return self._able

    def write(self, data: memoryview, offset: int) -> int:
        """Write some of ``data``, as ``pwrite`` does; how many bytes it was."""
        count = self._whole(offset, len(data))
        if count:
            room: memoryview | None = getattr(self._local, "room", None)
            if room is None:
                room = self._local.room = buffer()
            room[:count] = data[:count]
            done = self._past(lambda: os.pwrite(self._direct, room[:count], offset))
            if done is not None:
                return done
        done = os.pwrite(self._fd, data[: self._before(offset, len(data))], offset)
        noted = self._noted
        if noted is not None:
            noted.update(range(offset // _FOLIO, (offset + max(done, 1) - 1) // _FOLIO + 1))
            if len(noted) > _NOTED:
                self._noted = None
        return done

    def forget(self) -> None:
        """Have the kernel let go of what was written through its memory, and has been flushed.

        What lies there is then read from the disk. Past the cache the kernel does so itself. Places
        stay noted: a thread may be writing there meanwhile, and the next call must know of it.
        """
        noted = self._noted
        if noted is None:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return
        for number in tuple(noted):  # at once: others may add to it
            os.posix_fadvise(self._fd, number * _FOLIO, _FOLIO, os.POSIX_FADV_DONTNEED)

    def read(self, room: memoryview, offset: int) -> int:
        """Fill some of ``room``, as ``preadv`` does; how many bytes it was.

        Args:
            room: part of a ``buffer``, as far from its start as ``offset`` is from a page's; else
                the cache is used.
        """
        count = self._whole(offset, len(room))
        if count:
            done = self._past(lambda: os.preadv(self._direct, [room[:count]], offset))
            if done is not None:
                return done
        return os.preadv(self._fd, [room[: self._before(offset, len(room))]], offset)

    def read_known(self, room: memoryview, offset: int) -> int:
        """As ``read``, but what the kernel has in its memory is taken from there.

        For what a file holds, whoever wrote it; not for proof that something reached the disk.
        """
        if self._knows:
            try:
                count = os.preadv(self._fd, [room], offset, os.RWF_NOWAIT)
            except BlockingIOError:
                count = 0  # it has nothing of it
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._knows, count = False, 0  # this filesystem cannot be asked
            if count:
                return count
        return self.read(room, offset)

    def _whole(self, offset: int, length: int) -> int:
        """Bytes from here that can go past the cache at once; 0: none."""
        if not self._able or offset % ALIGNMENT or length < LEAST:
            return 0
        return min(length, LARGEST) // ALIGNMENT * ALIGNMENT

    def _before(self, offset: int, length: int) -> int:
        """Bytes from here that go through the cache: to the next page when much follows it."""
        first = -offset % ALIGNMENT
        return first if first and self._whole(offset + first, length - first) else length

    def _past(self, transfer: Callable[[], int]) -> int | None:
        """What the transfer did; None: this file cannot do that after all."""
        try:
            return transfer()
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._able = False
            return None

    def close(self) -> None:
        """Close what was opened here; a second call does nothing."""
        fd, self._direct, self._able = self._direct, -1, False
        if fd >= 0:
            os.close(fd)
