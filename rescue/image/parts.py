"""Parts: the files of an image, written as one stream of bytes; read by ``partreader``.

The stream is everything behind the headers. Stream position ``s`` lies in part ``s // capacity`` at
file offset ``8192 + s % capacity``; parts are named by that arithmetic and never by a name read
from a file: ``x.rescue``, ``x.rescue.002``, ``x.rescue.003``, …
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rescue.core.errors import (
    DiskTrouble,
    RescueError,
    UsageError,
    from_os_error,
)
from rescue.image.appending import Appender, room
from rescue.image.flusher import Flusher
from rescue.image.header import BODY_START, MAGIC, MAX_PARTS, Header


def part_path(first: Path, part: int) -> Path:
    """Path of part ``part`` (from 0) of the image whose first file is ``first``."""
    return first if part == 0 else first.with_name(f"{first.name}.{part + 1:03d}")


def write_error(error: OSError, path: Path) -> RescueError:
    """What a failed write to a destination means, in one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskTrouble(
            f"no room left for {path}", hint="make room, or choose another place for the image"
        )
    if error.errno == errno.EFBIG:
        return DiskTrouble(
            f"the filesystem cannot hold a file as large as {path}", hint="use --part-size fat32"
        )
    return from_os_error(error, f"write {path}")


def _exists(path: Path) -> UsageError:
    return UsageError(
        f"{path} exists already", hint="an image is never written over: choose another name"
    )


def _lock(fd: int, path: Path) -> None:
    """Keep other processes from writing to this image; ends with this process at the latest.

    Raises:
        UsageError: another one is writing to it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{path} is being written by another process", hint="wait until it has ended"
        ) from None
    except OSError:
        pass  # some network filesystems have no locks


def remove_leftovers(first: Path) -> None:
    """Remove what captures to this name left that were killed before the file had its name."""
    pattern = re.compile(re.escape(first.name) + r"\.[0-9a-f]{8}\.new")
    with suppress(OSError):
        for path in first.parent.iterdir():
            if pattern.fullmatch(path.name) and path.is_file():
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.pread(fd, len(MAGIC), 0) in (b"", MAGIC):
                        path.unlink()
                finally:
                    os.close(fd)


class PartWriter:
    """Appends to the stream; makes files as needed, 0600, never over an existing one.

    The first file has another name until ``publish``: what stands under an image's name always has
    at least a whole header.
    """

    def __init__(self, first: Path, header: Header) -> None:
        self.first = first
        self.header = header
        self.position = 0
        self._fds: list[int] = []
        self._last: Appender | None = None
        self._room = room()
        self._flusher = Flusher()
        self._hidden: Path | None = first.with_name(f"{first.name}.{os.urandom(4).hex()}.new")
        remove_leftovers(first)
        try:
            self._open_next()
        except BaseException:
            self.close()
            raise

    @classmethod
    def reopen(cls, first: Path, header: Header, position: int) -> PartWriter:
        """Go on writing an incomplete image behind ``position``; what stands there is cut off."""
        self = cls.__new__(cls)
        self.first, self.header, self.position = first, header, position
        self._fds, self._hidden = [], None
        self._last, self._room = None, room()
        self._flusher = Flusher()
        remove_leftovers(first)
        capacity = header.capacity
        last = max(0, position - 1) // capacity if capacity else 0
        try:
            for part in range(last + 1):
                path = part_path(first, part)
                self._fds.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            _lock(self._fds[0], first)
            os.ftruncate(self._fds[last], BODY_START + position - last * capacity)
            part = last + 1
            while capacity and part_path(first, part).exists():
                part_path(first, part).unlink()
                part += 1
            os.fsync(self._fds[last])
            end = BODY_START + position - last * capacity
            self._last = Appender(self._fds[last], end, self._room)
        except OSError as error:
            self.close()
            raise from_os_error(error, f"go on with {first}") from error
        except UsageError:
            self.close()
            raise
        return self

    def _open_next(self) -> None:
        part = len(self._fds)
        path = self._hidden or part_path(self.first, part)
        if part >= (MAX_PARTS if self.header.capacity else 1):
            raise DiskTrouble("the image needs more parts than it may have")
        try:
            if part == 0 and os.path.lexists(self.first):
                raise FileExistsError
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise _exists(part_path(self.first, part)) from error
        except OSError as error:
            raise from_os_error(error, f"create {part_path(self.first, part)}") from error
        self._fds.append(fd)
        if part == 0:
            _lock(fd, path)
        header = self.header.for_part(part) if part else self.header
        try:
            data = memoryview(header.to_bytes() * 2)
            while data:
                data = data[os.pwrite(fd, data, BODY_START - len(data)) :]
            self._last = Appender(fd, BODY_START, self._room)
        except OSError as error:
            raise self._failed(error) from error

    def publish(self) -> None:
        """Flush, and give the first file its name; fails when somebody else took it meanwhile."""
        if self._hidden is None:
            return
        self.flush()
        try:
            try:
                os.link(self._hidden, self.first)
            except FileExistsError as error:
                raise _exists(self.first) from error
            except OSError:  # FAT and some network filesystems have no hard links
                if os.path.lexists(self.first):
                    raise _exists(self.first) from None
                self._hidden.rename(self.first)
            else:
                self._hidden.unlink()
            self._hidden = None
            self._flush_directory()
        except OSError as error:
            raise from_os_error(error, f"create {self.first}") from error

    def _flush_directory(self) -> None:
        """Make names outlive a power cut, where the filesystem can."""
        try:
            directory = os.open(self.first.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            # A folder may be writable and not readable; some filesystems cannot flush one.
            if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENODEV):
                raise

    def _failed(self, error: OSError) -> RescueError:
        """What it means that the file that is written last failed."""
        return write_error(error, part_path(self.first, len(self._fds) - 1))

    def append(self, buffers: Sequence[bytes]) -> int:
        """Append these bytes to the stream; returns the position of the first.

        They may be in this process only until the next flush of any kind.

        Raises:
            DiskTrouble: the destination is full or failed.
        """
        start = self.position
        capacity = self.header.capacity
        for data in buffers:
            left = memoryview(data)
            while left:
                fits = len(left)
                if capacity:
                    part, within = divmod(self.position, capacity)
                    if part == len(self._fds):
                        self._end_part()
                        self._open_next()
                    fits = min(fits, capacity - within)
                try:
                    self._appender.append(left[:fits])
                except OSError as error:
                    raise self._failed(error) from error
                self.position += fits
                left = left[fits:]
        return start

    @property
    def _appender(self) -> Appender:
        if self._last is None:
            raise AssertionError("nothing is open")
        return self._last

    def flush(self) -> None:
        """fsync what was appended; earlier parts were flushed when they were full."""
        self._sync(os.fdatasync)

    def flush_behind(self, *, now: bool = False) -> None:
        """Have what was appended flushed by another thread: when much was, or ``now``.

        Raises:
            DiskTrouble: an earlier flush failed.
        """
        if not now and not self._flusher.due(self.position):
            return
        try:
            if now:
                self._appender.settle()
            self._flusher.start(self._fds[-1], self.position)
        except OSError as error:
            raise self._failed(error) from error

    def _sync(self, how: Callable[[int], None]) -> None:
        try:
            self._appender.settle()
            self._flusher.wait()
            how(self._fds[-1])
        except OSError as error:
            raise self._failed(error) from error

    def _end_part(self) -> None:
        """The last file is full: flushed, and closed but for the descriptor that holds its lock."""
        self._sync(os.fsync)
        try:
            self._appender.close()
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """Flush files and directory, so that the names too outlive a power cut; close."""
        try:
            self._appender.settle()
            self._flusher.wait()
            for fd in self._fds:
                os.fsync(fd)
            self._appender.close()
            fds, self._fds = self._fds, []
            for fd in fds:
                os.close(fd)
            self._flush_directory()
        except OSError as error:
            raise write_error(error, self.first) from error

    def close(self) -> None:
        """Close without flushing; what was flushed stays, unless it never got its name."""
        self._flusher.stop()
        if self._last is not None:
            with suppress(OSError):
                self._last.close()
        fds, self._fds = self._fds, []
        for fd in fds:
            with suppress(OSError):
                os.close(fd)
        if self._hidden is not None:
            with suppress(OSError):
                self._hidden.unlink()

    def take_back(self, position: int) -> None:
        """Cut off what was appended behind ``position``, if the disk still lets."""
        capacity = self.header.capacity
        part, within = divmod(position, capacity) if capacity else (0, position)
        with suppress(OSError):
            os.truncate(part_path(self.first, part), BODY_START + within)
            if capacity:
                part_path(self.first, part + 1).unlink()
