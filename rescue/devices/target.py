"""The only way to write a disk: ``confirm`` alone makes a ``SafeTarget``, after every refusal.

Everything is checked (``refusals``) before anything is opened for writing, and what can change in
between (which disk a name leads to, its size, who uses it) is checked again through the open file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rescue.core.direct import DirectIO
from rescue.core.errors import RescueError, TargetRefused, from_os_error
from rescue.devices.blockio import is_read_only, sector_sizes, size_of
from rescue.devices.discover import device_number, inspect
from rescue.devices.model import Disk
from rescue.devices.refusals import check, is_ours

__all__ = ["SafeTarget", "check", "confirm"]

# linux/fs.h
_BLKROSET = 0x125D
_BLKRRPART = 0x125F
_BLKFLSBUF = 0x1261
# udev holds a shared lock for the moment in which it looks at a disk.
_LOCK_SECONDS = 5.0
_MADE_HERE: Final = object()


class SafeTarget:
    """A disk or file that may be overwritten, open for writing and for nobody else.

    Made by ``confirm`` alone. A context manager; closing it gives a disk of the rescue media its
    read-only flag back.

    Attributes:
        fd: open for reading and writing.
        io: the same for large transfers, past the kernel's cache where that works.
        size: bytes.
        sector_size: logical sector in bytes.
        disk: what was confirmed.
        created: a file that did not exist before, so all of it reads as zero.
        notes: what was changed on the way, for a person to know.
    """

    def __init__(
        self, proof: object, fd: int, disk: Disk, *, created: bool, made_writable: bool
    ) -> None:
        if proof is not _MADE_HERE:
            raise TypeError("only confirm() makes a SafeTarget")
        self.fd = fd
        self.io = DirectIO(fd)
        self.disk = disk
        self.path = disk.path
        self.size = disk.size
        self.sector_size = disk.sector_size
        self.created = created
        self._made_writable = made_writable
        self.notes: tuple[str, ...] = (
            (f"{disk.path} was read-only in the kernel, it is writable until the end",)
            if made_writable
            else ()
        )

    def flush(self) -> None:
        """Bring everything to the disk, so that reading back what ``io`` wrote asks the disk.

        Of a disk nothing stays cached; of a file what was not written does.

        Raises:
            DiskTrouble: the disk reported an error, now or for an earlier write.
        """
        try:
            os.fsync(self.fd)
            if self.disk.kind == "block":
                fcntl.ioctl(self.fd, _BLKFLSBUF)
            else:
                self.io.forget()
        except OSError as error:
            raise from_os_error(error, f"write {self.path}") from error

    def reread_partitions(self) -> bool:
        """Let the kernel see the new table; False when it does not (no partitions on loop, say)."""
        if self.disk.kind != "block":
            return False
        try:
            fcntl.ioctl(self.fd, _BLKRRPART)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self.fd < 0:
            return
        fd, self.fd = self.fd, -1
        self.io.close()
        try:
            if self._made_writable:
                # A disk that was pulled out cannot be set; that is no reason to fail at the end.
                with contextlib.suppress(OSError):
                    _set_read_only(fd, True)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def confirm(
    path: Path | str, *, erase: str | None, needed: int, keep: Sequence[Path] = ()
) -> SafeTarget:
    """Make sure that ``path`` may be overwritten, and open it for nobody else.

    Args:
        path: a whole disk, a file that holds one, or a file to be made.
        erase: the identity that the person typed or the script gave: serial, WWN, or for a plain
            file or loop device its path. Not needed for a file that does not exist.
        needed: bytes it must have; the size of a file that is made.
        keep: files and disks that must survive: parts of the image, the source.

    Raises:
        TargetRefused: it must not be overwritten; nothing was written.
        DiskTrouble: it cannot be opened or made.
    """
    disk = check(path, erase=erase, needed=needed, keep=keep)
    if disk is None:
        return _create(Path(path), needed)
    return _open_file(disk) if disk.kind == "file" else _open_block(disk)


def _set_read_only(fd: int, on: bool) -> None:
    fcntl.ioctl(fd, _BLKROSET, int(on).to_bytes(4, "little"))


def _create(path: Path, size: int) -> SafeTarget:
    """A new sparse file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise TargetRefused(f"{path} has just been made by somebody else") from error
    except OSError as error:
        raise from_os_error(error, f"make {path}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, size)
    except OSError as error:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise from_os_error(error, f"make {path} with {size} bytes") from error
    disk = Disk(path, "file", size, 512, 512, transport="file", node_type="file")
    return SafeTarget(_MADE_HERE, fd, disk, created=True, made_writable=False)


def _open_file(disk: Disk) -> SafeTarget:
    """An existing plain file."""
    before = disk.path.stat()
    try:
        fd = os.open(disk.path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise from_os_error(error, f"open {disk.path} for writing") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not os.path.samestat(status, before):
            raise TargetRefused(f"{disk.path} has just become another file")
        _same_size(disk, fd)
        _lock(disk, fd)
        return SafeTarget(_MADE_HERE, fd, disk, created=False, made_writable=False)
    except BaseException:
        os.close(fd)
        raise


def _open_block(disk: Disk) -> SafeTarget:
    """A disk, exclusively; its read-only flag is taken away when it is ours."""
    made_writable = False
    look = -1
    fd = -1
    try:
        look = os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        _same_disk(disk, look)
        if is_read_only(look):
            if not is_ours():
                raise TargetRefused(f"{disk.path} is read-only")
            _set_read_only(look, False)
            made_writable = True
            if is_read_only(look):
                raise TargetRefused(
                    f"{disk.path} is write-protected", hint="look for its write-protect switch"
                )
        fd = os.open(disk.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
        _same_disk(disk, fd)
        _same_size(disk, fd)
        _lock(disk, fd)
        return SafeTarget(_MADE_HERE, fd, disk, created=False, made_writable=made_writable)
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if made_writable:
            _set_read_only(look, True)
        if isinstance(error, OSError):
            raise _refusal(disk, error) from error
        raise
    finally:
        if look >= 0:
            os.close(look)


def _refusal(disk: Disk, error: OSError) -> RescueError:
    if error.errno == errno.EBUSY:
        return TargetRefused(
            f"{disk.path} is in use by the kernel", hint="unmount or stop what uses it"
        )
    return from_os_error(error, f"open {disk.path} for writing")


def _same_disk(disk: Disk, fd: int) -> None:
    """The open device is still the one that was inspected."""
    status = os.fstat(fd)
    if not stat.S_ISBLK(status.st_mode):
        raise TargetRefused(f"{disk.path} has just become something else")
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    known = inspect(disk.path)
    before, now = (disk.serial, disk.wwn), (known.serial, known.wwn)
    if number != device_number(disk.path) or before != now:
        raise TargetRefused(f"{disk.path} has just become another disk")


def _same_size(disk: Disk, fd: int) -> None:
    if size_of(fd) != disk.size or sector_sizes(fd)[0] != disk.sector_size:
        raise TargetRefused(f"{disk.path} has just changed its size")


def _lock(disk: Disk, fd: int) -> None:
    """Keep other programs away that ask: flock (udev, losetup) and record locks (QEMU).

    Raises:
        TargetRefused: somebody holds one of the two.
    """
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise from_os_error(error, f"lock {disk.path}") from error
            if disk.kind == "file" or time.monotonic() > until:
                raise TargetRefused(
                    f"{disk.path} is in use by another program", hint="stop that program first"
                ) from error
        time.sleep(0.1)
