"""Reading the chunks of a source: unallocated bytes are zeros, bad sectors are found exactly.

A read that fails is tried again in halves, down to a single sector and past the page cache (with
O_DIRECT, since a cached read fails by whole pages). What still cannot be read is reported by its
exact extent and is never passed off as data.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from contextlib import suppress
from pathlib import Path

from rescue.core.errors import DiskTrouble, from_os_error
from rescue.core.extent import Extent, ExtentMap, joined
from rescue.devices.blockio import Source
from rescue.image.header import CHUNK_SIZE

# Two allocated pieces with less than this between them are read at once: reading 128 KiB too much
# costs less than asking twice.
_JOIN = 128 << 10
_ZEROS = bytes(CHUNK_SIZE)


class ChunkReader:
    """Reads chunks; each thread has a buffer of its own.

    Args:
        captured: the bytes that hold data; everything else reads as zero.
        data: the bytes of the source that are not holes (a plain file may have many).
        retry: how often a sector that cannot be read is tried again.
        bad: places that are known not to have been read; they are not read here either.
    """

    def __init__(
        self,
        source: Source,
        captured: ExtentMap,
        data: ExtentMap,
        *,
        retry: int = 1,
        bad: ExtentMap | None = None,
    ) -> None:
        self._retry = retry
        self._bad = bad or ExtentMap()
        self._source = source
        self._captured = captured
        self._data = data
        self._local = threading.local()
        self._direct = -1
        self._lock = threading.Lock()

    def is_hole(self, number: int) -> bool:
        """Whether nothing of the chunk is kept by the filesystem that holds a source file."""
        if len(self._data) == 1 and self._data.ends[0] >= self._source.size:
            return False
        start = number * CHUNK_SIZE
        return not self._data.within(start, start + CHUNK_SIZE)

    def captured_bytes(self, number: int) -> int:
        """How many bytes of the chunk are captured."""
        start = number * CHUNK_SIZE
        return sum(e - s for s, e in self._captured.within(start, start + CHUNK_SIZE))

    def read(self, number: int) -> tuple[memoryview, list[Extent]]:
        """A chunk's content, and the extents of it that could not be read.

        The view is good until this thread's next call.

        Raises:
            DiskTrouble: the disk is gone.
        """
        buffer: memoryview | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = memoryview(bytearray(CHUNK_SIZE))
        start = number * CHUNK_SIZE
        end = min(start + CHUNK_SIZE, self._source.size)
        view = buffer[: end - start]
        pieces = self._captured.within(start, end)
        failed: list[Extent] = []
        known = (
            [
                (max(s, low), min(e, high))
                for low, high in pieces
                for s, e in self._bad.within(low, high)
            ]
            if self._bad
            else []
        )
        if known:
            failed += [Extent(s, e - s) for s, e in known]
            pieces = list(ExtentMap.of(pieces).difference(ExtentMap.of(known)).pairs())
        for low, high in joined(pieces, _JOIN):
            part = view[low - start : high - start]
            try:
                count = self._source.read_into(part, low)
                if count < len(part):
                    raise DiskTrouble(
                        f"{self._source.path} became shorter while it was read",
                        hint="make sure that nothing else uses it, and capture again",
                    )
            except OSError as error:
                self._check_alive(error)
                self._salvage(part, low, failed)
        _clear(view, pieces, start)
        if failed:
            # What lies outside the allocated pieces was read only for speed.
            wanted = ExtentMap.of((e.start, e.end) for e in failed)
            failed = list(wanted.intersection(ExtentMap.of([*pieces, *known])))
        return view, failed

    def _check_alive(self, error: OSError) -> None:
        """A bad sector is EIO of a disk that is still there; all else ends the capture."""
        path = self._source.path
        if error.errno not in (errno.EIO, errno.EREMOTEIO, errno.ENODATA, errno.EILSEQ):
            raise from_os_error(error, f"read {path}") from error
        if self._source.is_block:
            number = os.fstat(self._source.fd).st_rdev
            node = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
            if not node.exists():
                raise DiskTrouble(
                    f"{path} is gone", hint="plug it in again and start the capture anew"
                ) from error

    def _salvage(self, view: memoryview, offset: int, failed: list[Extent]) -> None:
        """Read what can be read of a stretch that failed as a whole."""
        sector = self._source.sector_size
        if len(view) > sector:
            half = max(sector, len(view) // 2 // sector * sector)
            for part, at in ((view[:half], offset), (view[half:], offset + half)):
                try:
                    if self._read_direct(part, at) == len(part):
                        continue
                except OSError as error:
                    self._check_alive(error)
                self._salvage(part, at, failed)
            return
        for _ in range(self._retry):
            try:
                if self._read_direct(view, offset) == len(view):
                    return
            except OSError as error:
                self._check_alive(error)
        view[:] = _ZEROS[: len(view)]
        failed.append(Extent(offset, len(view)))

    def _read_direct(self, view: memoryview, offset: int) -> int:
        """Read past the page cache, so that one bad sector does not take its page with it."""
        sector = self._source.sector_size
        if offset % sector or len(view) % sector or not self._open_direct():
            return self._source.read_into(view, offset)
        with mmap.mmap(-1, max(len(view), mmap.PAGESIZE)) as aligned:
            window = memoryview(aligned)[: len(view)]
            try:
                count = os.preadv(self._direct, [window], offset)
                view[:count] = window[:count]
            except OSError as error:
                # The filesystem of a plain file may want larger pieces than its disk's sectors.
                if error.errno != errno.EINVAL:
                    raise
                count = self._source.read_into(view, offset)
            finally:
                window.release()
        return count

    def _open_direct(self) -> bool:
        """Whether the source can be read past the page cache; not every filesystem lets."""
        with self._lock:
            if self._direct == -1:
                try:
                    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT
                    self._direct = os.open(self._source.path, flags)
                except OSError:
                    self._direct = -2
        return self._direct >= 0

    def close(self) -> None:
        """Close what was opened for bad sectors; the source is the caller's."""
        if self._direct >= 0:
            with suppress(OSError):
                os.close(self._direct)
            self._direct = -1


def _clear(view: memoryview, pieces: list[tuple[int, int]], start: int) -> None:
    """Zero everything of a chunk that is not allocated."""
    at = 0
    for low, high in pieces:
        if low - start > at:
            view[at : low - start] = _ZEROS[: low - start - at]
        at = high - start
    if at < len(view):
        view[at:] = _ZEROS[: len(view) - at]
