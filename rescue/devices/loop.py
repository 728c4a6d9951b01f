"""A part of a disk or file as a device of its own, which never outlives its user.

losetup would do, but between its end and ours a Ctrl-C leaves the device behind. Configured by one
ioctl with "autoclear", the kernel itself takes it away when the descriptor is closed: at the end of
the block, by an exception, or because the process was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.core.errors import from_os_error
from rescue.core.extent import Extent
from rescue.devices.target import SafeTarget

# linux/loop.h
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_BLKROSET = 0x125D  # linux/fs.h
_READ_ONLY, _AUTOCLEAR = 1, 4
# struct loop_config: fd, block size, then struct loop_info64 (three device numbers, offset, size
# limit, number, two unused, flags, names, key, two unused words), eight reserved words.
_CONFIG = struct.Struct("=II QQQQQ IIII 64s64s32s QQ 64x")
# Another program may take the free number first.
_TRIES = 32


@contextmanager
def read_only_part(path: Path, region: Extent) -> Iterator[Path]:
    """A block device that shows ``region`` (bytes) of a disk or file, until the block ends.

    Raises:
        DiskTrouble: no loop device can be had (not root, none free), or the file cannot be read.
    """
    try:
        backing = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            node, held = _attach(backing, path, region, _READ_ONLY)
        finally:
            os.close(backing)
    except OSError as error:
        raise from_os_error(error, f"show a part of {path} as a device") from error
    try:
        yield node
    finally:
        os.close(held)


@contextmanager
def writable_part(target: SafeTarget, region: Extent, sector: int) -> Iterator[Path]:
    """A block device that shows ``region`` of a confirmed target and may be written.

    At the end everything written to it is on the target. A plain file does not say what its sectors
    are, so the device is told.

    Raises:
        DiskTrouble: no loop device can be had, or the target reported an error.
    """
    try:
        node, held = _attach(target.fd, target.path, region, 0, sector)
    except OSError as error:
        raise from_os_error(error, f"show a part of {target.path} as a device") from error
    try:
        yield node
        os.fsync(held)
    except OSError as error:
        raise from_os_error(error, f"write {target.path}") from error
    finally:
        os.close(held)
    target.flush()


@contextmanager
def scratch_device(path: Path, sector: int) -> Iterator[Path]:
    """A block device that shows a throw-away overlay and may be written, until the block ends.

    Raises:
        DiskTrouble: no loop device can be had, or the overlay has no room.
    """
    try:
        backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            region = Extent(0, os.fstat(backing).st_size)
            node, held = _attach(backing, path, region, 0, sector)
        finally:
            os.close(backing)
    except OSError as error:
        raise from_os_error(error, f"show {path} as a device") from error
    try:
        yield node
        os.fsync(held)
    except OSError as error:
        raise from_os_error(error, f"write the overlay {path}") from error
    finally:
        os.close(held)


def _attach(
    backing: int, path: Path, region: Extent, flags: int, sector: int = 0
) -> tuple[Path, int]:
    """Node and open descriptor of a newly configured loop device."""
    name = os.fsencode(path.absolute())[:63]
    flags |= _AUTOCLEAR
    config = _CONFIG.pack(
        backing, sector, 0, 0, 0, region.start, region.length,
        0, 0, 0, flags, name, b"", b"", 0, 0,
    )  # fmt: skip
    mode = os.O_RDONLY if flags & _READ_ONLY else os.O_RDWR
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            node = Path(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}")
            held = os.open(node, mode | os.O_CLOEXEC)
            try:
                fcntl.ioctl(held, _LOOP_CONFIGURE, config)
                if not flags & _READ_ONLY:
                    # The kernel keeps a "read-only" that somebody set on this number before.
                    fcntl.ioctl(held, _BLKROSET, bytes(4))
                return node, held
            except OSError as error:
                os.close(held)
                if error.errno != errno.EBUSY:
                    raise
            except BaseException:
                os.close(held)
                raise
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
