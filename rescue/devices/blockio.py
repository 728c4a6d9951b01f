"""Reading a disk. A ``Source`` is opened read-only and nothing here can write."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rescue.core.errors import DiskTrouble, from_os_error
from rescue.core.extent import ExtentMap

BLKSSZGET = 0x1268  # linux/fs.h
BLKPBSZGET = 0x127B
BLKGETSIZE64 = 0x80081272
BLKROGET = 0x125E


def block_size64(fd: int) -> int:
    """Bytes of an open block device."""
    return int(struct.unpack("Q", fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)))[0])


def _ioctl_int(fd: int, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, request, bytes(4)))[0])


def size_of(fd: int) -> int:
    """Bytes of an open block device or plain file."""
    status = os.fstat(fd)
    return block_size64(fd) if stat.S_ISBLK(status.st_mode) else status.st_size


def sector_sizes(fd: int) -> tuple[int, int]:
    """Logical and physical sector of an open block device or plain file.

    A plain file does not say which sectors its disk had; a GPT does: its header lies at byte 4096
    of a disk with 4 KiB sectors and at byte 512 of all others.
    """
    if stat.S_ISBLK(os.fstat(fd).st_mode):
        return _ioctl_int(fd, BLKSSZGET), _ioctl_int(fd, BLKPBSZGET)
    try:
        head = os.pread(fd, 4104, 0)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        head = b""  # unreadable there: that is for whoever reads it to find
    if head[512:520] != b"EFI PART" and head[4096:4104] == b"EFI PART":
        return 4096, 4096
    return 512, 512


def is_read_only(fd: int) -> bool:
    """Whether the kernel refuses writes to this open block device."""
    return stat.S_ISBLK(os.fstat(fd).st_mode) and bool(_ioctl_int(fd, BLKROGET))


class Source:
    """A disk, or a file that stands for one, open for reading only.

    Attributes:
        path: as given.
        fd: the open file; offsets are always given with the call, so threads may share it.
        size: bytes.
        sector_size: logical sector in bytes.
        is_block: a block device, not a plain file.
    """

    def __init__(self, path: Path | str) -> None:
        """Open ``path``.

        Raises:
            DiskTrouble: it is missing, may not be read, is neither block device nor plain file,
                or has no bytes.
        """
        self.path = Path(path)
        what = f"open {self.path}"
        try:
            # O_NONBLOCK: a FIFO must not stop us, and a drive without a disc must not wait.
            self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENOMEDIUM:
                raise DiskTrouble(
                    f"cannot {what}: there is no disc or card in it", hint="insert one"
                ) from error
            raise from_os_error(error, what) from error
        try:
            mode = os.fstat(self.fd).st_mode
            if stat.S_ISDIR(mode):
                raise from_os_error(
                    IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), what
                )
            if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
                raise DiskTrouble(
                    f"cannot {what}: it is neither a block device nor a plain file",
                    hint="name a disk, or a file that holds one",
                )
            self.is_block = stat.S_ISBLK(mode)
            self.size = size_of(self.fd)
            if self.size == 0:
                raise DiskTrouble(
                    f"{self.path} has zero length", hint="name a disk, or a file that holds one"
                )
            self.sector_size, self.physical_sector_size = sector_sizes(self.fd)
            if self.is_block:
                os.set_blocking(self.fd, True)
                # The kernel caches a disk apart from its partitions: what was read of the disk
                # while a partition was mounted may be out of date.
                os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            os.close(self.fd)
            raise from_os_error(error, f"read {self.path}") from error
        except BaseException:
            os.close(self.fd)
            raise

    def pread(self, length: int, offset: int) -> bytes:
        """``length`` bytes at ``offset``; fewer only at the end of the disk.

        Raises:
            OSError: the disk could not read them (EIO: a bad sector), for the caller to judge.
        """
        data = os.pread(self.fd, length, offset)
        while len(data) < length and offset + len(data) < self.size:
            more = os.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from ``offset``; the count is smaller only at the end of the disk.

        Raises:
            OSError: as in ``pread``.
        """
        done = 0
        while done < len(buffer):
            count = os.preadv(self.fd, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def data_extents(self) -> ExtentMap:
        """Bytes that may be other than zero: a plain file without its holes, or the whole disk."""
        if self.is_block:
            return ExtentMap.single(0, self.size)
        pairs: list[tuple[int, int]] = []
        at = 0
        try:
            while at < self.size:
                start = os.lseek(self.fd, at, os.SEEK_DATA)
                at = os.lseek(self.fd, start, os.SEEK_HOLE)
                pairs.append((start, min(at, self.size)))
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: only a hole is left
                return ExtentMap.single(0, self.size)
        return ExtentMap.of(pairs)

    def hold(self) -> None:
        """Keep restores away while it is open: a target is locked, and this is the other side.

        A lock that another program has already is not waited for: reading disturbs nobody.
        """
        with suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
