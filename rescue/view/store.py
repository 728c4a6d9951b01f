"""Any byte of a disk, for the view: from an image (decoded once, kept, read ahead) or from a disk.

An image's chunks are decoded at most once while they are in use: a bounded cache, one decoder for a
chunk however many ask for it, and decoding of the chunks to come when somebody reads in sequence.
"""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from rescue.core.errors import RescueError
from rescue.core.extent import ExtentMap
from rescue.core.parallel import workers
from rescue.devices.blockio import Source
from rescue.image.header import CHUNK_SIZE
from rescue.image.reader import Image

View = bytes | memoryview

CACHED = 64
"""Chunks kept decoded: 64 MiB. A reader in sequence needs a dozen; the rest is for readers at
random, which mostly stay near filesystem structures."""

_AHEAD = 6
"""Chunks decoded ahead of a reader in sequence, for each processor: with fewer the decoders stop
whenever the reader is slow to come back."""

_SURE = 4
"""Chunks in a row before as much as that is decoded ahead; before, twice as many with each. Readers
at random come upon a neighbour too, and would pay for a dozen chunks that nobody asks for."""


class Store(Protocol):
    """A disk's bytes."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def data(self) -> ExtentMap:
        """Bytes that may be other than zero."""

    def read(self, offset: int, length: int) -> Sequence[View]:
        """The bytes there, in pieces; they lie inside. OSError (EIO): they cannot be had."""


class ImageStore:
    """The bytes of an image. Safe from several threads.

    Args:
        strict: give EIO for sectors that could not be read when the image was made, instead of
            zeros: a program must not take them for data. Only what must have a whole disk (export,
            boot) asks for zeros, and says so.
        on_error: told of each chunk that could not be read.
    """

    def __init__(
        self,
        image: Image,
        *,
        strict: bool = True,
        on_error: Callable[[str], None] | None = None,
        threads: int = 0,
    ) -> None:
        self._image = image
        self._failed = ExtentMap.of((e.start, e.end) for e in image.manifest.ledger.failed)
        self._strict = strict and bool(self._failed)
        self.on_error = on_error or (lambda _text: None)
        self._threads = workers(threads)
        self._ahead = min(_AHEAD * self._threads, CACHED // 2)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._ready: OrderedDict[int, bytes | None] = OrderedDict()
        self._coming: dict[int, Future[bytes | None]] = {}
        self._touched: OrderedDict[int, None] = OrderedDict()
        self._zeros = bytes(CHUNK_SIZE)
        self.decoded = 0
        """How many chunks were decoded so far; tests look at it."""

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self._image.size

    @property
    def data(self) -> ExtentMap:
        """What the image holds."""
        return self._image.captured

    def read(self, offset: int, length: int) -> list[View]:
        """The bytes there; what was not captured is zeros.

        Raises:
            OSError: EIO: a chunk is damaged, or (strict) a sector could not be captured.
        """
        end = min(offset + length, self.size)
        if self._strict and self._failed.within(offset, end):
            raise OSError(errno.EIO, "these sectors could not be read when the image was made")
        pieces: list[View] = []
        while offset < end:
            number, within = divmod(offset, CHUNK_SIZE)
            count = min(end - offset, CHUNK_SIZE - within)
            content = self._chunk(number)
            pieces.append(memoryview(content or self._zeros)[within : within + count])
            offset += count
        return pieces

    def _chunk(self, number: int) -> bytes | None:
        """Content of a chunk; None: zeros."""
        with self._lock:
            self._look_ahead(number)
            if number in self._ready:
                self._ready.move_to_end(number)
                return self._ready[number]
            future = self._coming.get(number)
            mine = future is None
            if future is None:
                future = self._coming[number] = Future()
        if mine:
            self._decode(number, future)
        try:
            return future.result()
        except RescueError as error:
            self.on_error(error.message)
            raise OSError(errno.EIO, error.message) from error

    def _look_ahead(self, number: int) -> None:
        """Start on the next chunks when this one came after the one before. Holds the lock."""
        if number in self._touched:
            self._touched.move_to_end(number)
            return
        self._touched[number] = None
        if len(self._touched) > CACHED:
            self._touched.popitem(last=False)
        row = 0
        while row < _SURE and number - 1 - row in self._touched:
            row += 1
        if not row:
            return
        ahead = min(self._ahead, 1 << row)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="ahead")
        for following in range(number + 1, min(number + 1 + ahead, self._image.manifest.grid)):
            if following not in self._ready and following not in self._coming:
                future: Future[bytes | None] = Future()
                self._coming[following] = future
                self._pool.submit(self._decode, following, future)

    def _decode(self, number: int, future: Future[bytes | None]) -> None:
        try:
            entry = self._image.index.find(number)
            content = None if entry is None else self._image.chunk(entry)
        except BaseException as error:
            # Not kept: the next reader tries again, a network share may have come back.
            with self._lock:
                self._coming.pop(number, None)
            future.set_exception(error)
            return
        with self._lock:
            self.decoded += entry is not None
            self._ready[number] = content
            self._coming.pop(number, None)
            while len(self._ready) > CACHED:
                self._ready.popitem(last=False)
        future.set_result(content)

    def close(self) -> None:
        """Stop reading ahead."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class DiskStore:
    """The bytes of a disk or of a plain file that holds one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data: ExtentMap | None = None

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self._source.size

    @property
    def data(self) -> ExtentMap:
        """A plain file without its holes, or the whole disk."""
        if self._data is None:
            self._data = self._source.data_extents()
        return self._data

    def read(self, offset: int, length: int) -> list[View]:
        """The bytes there, with the disk's own errors."""
        return [self._source.pread(min(length, self.size - offset), offset)]
