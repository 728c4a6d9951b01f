"""The kernel's FUSE protocol: requests read from /dev/fuse and the structures that answer them.

Written from the kernel's ``include/uapi/linux/fuse.h``, whose layout never changes for a given
minor version; what a read-only filesystem needs of it is small. docs/decisions/0040-view-fuse.md
says why no binding to libfuse is used. All integers are in the byte order of the machine.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

MAJOR, MINOR = 7, 31
"""The version we speak. 7.31 is Linux 5.4: older than every kernel that has our other needs."""

MAX_WRITE = 128 << 10
MAX_READ = 1 << 20
READ_BUFFER = MAX_WRITE + 4096  # what one request can be at most: a write and its headers

IN_HEADER = struct.Struct("=IIQQIIIHH")
OUT_HEADER = struct.Struct("=IiQ")
_INIT_IN = struct.Struct("=IIII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHIIIIIIII")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_ATTR_OUT = struct.Struct("=QII")
OPEN_IN = struct.Struct("=II")
_OPEN_OUT = struct.Struct("=QIi")
READ_IN = struct.Struct("=QQIIQII")
WRITE_IN = struct.Struct("=QQIIQII")
_WRITE_OUT = struct.Struct("=II")
_STATFS = struct.Struct("=QQQQQIIII6I")
LSEEK_IN = struct.Struct("=QQII")
_LSEEK_OUT = struct.Struct("=Q")
_DIRENT = struct.Struct("=QQII")
_INVALIDATE = struct.Struct("=Qqq")

_ASYNC_READ, _PARALLEL_DIROPS, _MAX_PAGES, _ASYNC_DIO = 1 << 0, 1 << 18, 1 << 22, 1 << 15
_BIG_WRITES, _CACHE_SYMLINKS = 1 << 5, 1 << 23
_KEEP_CACHE = 1 << 1
# Nothing in a view ever changes, so the kernel may remember names and attributes for ever.
_FOREVER = (1 << 31) - 1


class Op(IntEnum):
    """Requests that are answered with more than an error."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    LSEEK = 46


_NOTIFY_INVALIDATE = 2  # FUSE_NOTIFY_INVAL_INODE

UNANSWERED = frozenset({Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT})


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what is asked of which node, and the bytes behind the header."""

    op: int
    unique: int
    node: int
    body: memoryview


@dataclass(frozen=True, slots=True)
class Attributes:
    """What ``stat`` shows of a node. Times in nanoseconds since 1970."""

    node: int
    size: int
    mode: int
    time: int
    links: int = 1
    owner: int = 0
    group: int = 0


def parse_request(block: memoryview) -> Request:
    """Split a request; the kernel always hands over exactly one.

    Raises:
        ValueError: it is not one, which only another program at this file could cause.
    """
    if len(block) < IN_HEADER.size:
        raise ValueError("a request is cut short")
    length, op, unique, node, *_ = IN_HEADER.unpack_from(block)
    if length != len(block):
        raise ValueError("a request has the wrong length")
    return Request(op, unique, node, block[IN_HEADER.size :])


def init(body: memoryview) -> bytes:
    """Answer INIT.

    Raises:
        ValueError: the kernel speaks a version before ours.
    """
    major, minor, readahead, offered = _INIT_IN.unpack_from(body)
    if (major, minor) < (MAJOR, MINOR):
        raise ValueError(f"the kernel speaks FUSE {major}.{minor}; {MAJOR}.{MINOR} is needed")
    wanted = _ASYNC_READ | _PARALLEL_DIROPS | _MAX_PAGES | _ASYNC_DIO | _BIG_WRITES
    flags = offered & (wanted | _CACHE_SYMLINKS)
    pages = MAX_READ // 4096
    background, congestion = 32, 24
    return _INIT_OUT.pack(
        MAJOR, MINOR, min(readahead, MAX_READ), flags, background, congestion, MAX_WRITE, 1,
        pages, 0, 0, *([0] * 7),
    )  # fmt: skip


def _attr(attributes: Attributes) -> bytes:
    seconds, nanoseconds = divmod(max(0, attributes.time), 1_000_000_000)
    return _ATTR.pack(
        attributes.node, attributes.size, -(-attributes.size // 512),
        seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        attributes.mode, attributes.links, attributes.owner, attributes.group, 0, 4096, 0,
    )  # fmt: skip


def entry(attributes: Attributes) -> bytes:
    """Answer LOOKUP."""
    return _ENTRY.pack(attributes.node, 0, _FOREVER, _FOREVER, 0, 0) + _attr(attributes)


def attributes_out(attributes: Attributes) -> bytes:
    """Answer GETATTR."""
    return _ATTR_OUT.pack(_FOREVER, 0, 0) + _attr(attributes)


def opened() -> bytes:
    """Answer OPEN and OPENDIR: no handle of ours, and the kernel keeps what it has in memory."""
    return _OPEN_OUT.pack(0, _KEEP_CACHE, 0)


def written(count: int) -> bytes:
    """Answer WRITE."""
    return _WRITE_OUT.pack(count, 0)


def statfs(size: int, files: int) -> bytes:
    """Answer STATFS: ``size`` bytes, all in use."""
    return _STATFS.pack(-(-size // 4096), 0, 0, files, 0, 4096, 255, 4096, 0, *([0] * 6))


def found(offset: int) -> bytes:
    """Answer LSEEK."""
    return _LSEEK_OUT.pack(offset)


def let_go(node: int, offset: int, length: int) -> bytes:
    """Tell the kernel, unasked, to give up what it keeps of a file's content there."""
    total = OUT_HEADER.size + _INVALIDATE.size
    return OUT_HEADER.pack(total, _NOTIFY_INVALIDATE, 0) + _INVALIDATE.pack(node, offset, length)


def directory(listing: list[tuple[bytes, int, int]], first: int, room: int) -> bytes:
    """Answer READDIR: entries (name, node, mode) from place ``first``, at most ``room`` bytes."""
    pieces: list[bytes] = []
    used = 0
    for place in range(first, len(listing)):
        name, node, mode = listing[place]
        record = _DIRENT.pack(node, place + 1, len(name), mode >> 12) + name
        record += bytes(-len(record) % 8)
        if used + len(record) > room:
            break
        pieces.append(record)
        used += len(record)
    return b"".join(pieces)
