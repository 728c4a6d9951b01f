"""What a view holds: directories and files, as values that the FUSE session serves.

Nodes are numbered when they are made and never forgotten while the view lives. A directory may make
its children when it is first looked into (folders of a FAT volume).
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from rescue.core.extent import Extent, ExtentMap
from rescue.view.store import Store, View

_numbers = count(2)
ROOT = 1
_PAGE = 4096


@dataclass(slots=True, eq=False)
class Node:
    """Base of both kinds; ``time`` is nanoseconds since 1970."""

    mode: int
    time: int = 0
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def size(self) -> int:
        """Bytes, as ``stat`` shows them."""
        return 0


@dataclass(slots=True, eq=False)
class FileNode(Node):
    """Base of all files; places in bytes from the file's start."""

    def read(self, offset: int, length: int) -> Sequence[View]:
        """The bytes there, in pieces; fewer only at the end. OSError (EIO): they cannot be had."""
        raise NotImplementedError

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes there. OSError (EROFS): nothing here can be written."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def seek(self, offset: int, whence: int) -> int:
        """Next data or hole, as lseek; OSError (ENXIO): none. Here all of it counts as data."""
        if offset >= self.size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return offset if whence == os.SEEK_DATA else self.size


@dataclass(slots=True, eq=False)
class Folder(Node):
    """A directory; ``fill`` makes its children the first time somebody looks."""

    fill: Callable[[], dict[bytes, Node]] | None = None
    children: dict[bytes, Node] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def entries(self) -> dict[bytes, Node]:
        """Children by name.

        Raises:
            OSError: what holds them cannot be read.
        """
        with self._lock:
            if self.fill is not None:
                self.children.update(self.fill())
                self.fill = None
        return self.children


@dataclass(slots=True, eq=False)
class Window(FileNode):
    """A file that shows one extent of a store: the whole disk or a partition."""

    store: Store | None = None
    extent: Extent = field(default_factory=lambda: Extent(0, 0))
    _data: ExtentMap | None = None

    @property
    def size(self) -> int:
        """Bytes of the extent."""
        return self.extent.length

    def read(self, offset: int, length: int) -> Sequence[View]:
        """Bytes of the store, never beyond the extent."""
        assert self.store is not None
        length = min(length, self.extent.length - offset)
        return self.store.read(self.extent.start + offset, length) if length > 0 else ()

    def seek(self, offset: int, whence: int) -> int:
        """Data and holes by what was captured, rounded outwards to 4 KiB: readers expect pages."""
        if offset >= self.size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        data = self._pages()
        i = bisect_right(data.starts, offset) - 1
        inside = i >= 0 and offset < data.ends[i]
        if whence == os.SEEK_HOLE:
            return min(self.size, data.ends[i]) if inside else offset
        if whence != os.SEEK_DATA:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if inside:
            return offset
        following = bisect_left(data.starts, offset)
        if following == len(data.starts):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return data.starts[following]

    def _pages(self) -> ExtentMap:
        if self._data is None:
            assert self.store is not None
            start = self.extent.start
            self._data = ExtentMap.of(
                ((low - start) // _PAGE * _PAGE, -(-(high - start) // _PAGE) * _PAGE)
                for low, high in self.store.data.within(start, self.extent.end)
            )
        return self._data


@dataclass(slots=True, eq=False)
class Scratch(FileNode):
    """A throw-away overlay of a file: what is written goes to a temporary file without a name.

    For a filesystem whose journal must be replayed before it can be looked at.
    """

    under: Window | None = None
    _written: set[int] = field(default_factory=set)
    _fd: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> int:
        """Bytes of the file underneath."""
        assert self.under is not None
        return self.under.size

    def _page(self, number: int) -> bytes:
        assert self.under is not None
        if number in self._written:
            return os.pread(self._fd, _PAGE, number * _PAGE)
        return b"".join(self.under.read(number * _PAGE, _PAGE))

    def read(self, offset: int, length: int) -> Sequence[View]:
        """The bytes as they were written, else as they are underneath."""
        assert self.under is not None
        length = min(length, self.size - offset)
        if length <= 0:
            return ()
        first, behind = offset // _PAGE, -(-(offset + length) // _PAGE)
        with self._lock:
            if self._written.isdisjoint(range(first, behind)):
                return self.under.read(offset, length)
            joined = b"".join(self._page(number) for number in range(first, behind))
        skip = offset - first * _PAGE
        return (joined[skip : skip + length],)

    def write(self, offset: int, data: memoryview) -> None:
        """Keep these bytes until the view ends."""
        if offset + len(data) > self.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._lock:
            if self._fd < 0:
                with tempfile.TemporaryFile(prefix="rescue-view-") as file:
                    self._fd = os.dup(file.fileno())
            done = 0
            while done < len(data):
                number, within = divmod(offset + done, _PAGE)
                part = data[done : done + _PAGE - within]
                page = bytearray(self._page(number))
                page[within : within + len(part)] = part
                os.pwrite(self._fd, page, number * _PAGE)
                self._written.add(number)
                done += len(part)


def folder(children: dict[str, Node], time: int) -> Folder:
    """A directory with these children."""
    named = {os.fsencode(name): node for name, node in children.items()}
    return Folder(stat.S_IFDIR | 0o755, time, children=named)
