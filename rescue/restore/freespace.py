"""The room of a restored disk that holds nothing: given back to the disk (TRIM), or zeroed.

Only when everything else is on the disk and was read back, because from then on an undo file helps
less: what the disk held before and was not written over goes with it. So it is done only when it
was asked for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Literal

from rescue.core.errors import from_os_error
from rescue.core.extent import ExtentMap
from rescue.core.progress import Reporter
from rescue.core.units import MIB, format_size
from rescue.devices.target import SafeTarget
from rescue.restore.plan import RestorePlan
from rescue.restore.work import Prepared

Way = Literal["keep", "trim", "wipe"]
# linux/fs.h
_BLKDISCARD = 0x1277
_BLKZEROOUT = 0x127F
_PAGE = 4096
_PIECE = 64 * MIB
# What a disk gives back is counted in its own large pages; shorter runs are not worth a command.
_LEAST = {"trim": MIB, "wipe": _PAGE}


def free_extents(plan: RestorePlan, prepared: Prepared, size: int, least: int) -> ExtentMap:
    """Bytes of the target that the restore gave no meaning to, aligned inwards. Pure.

    Volumes that a program resized or filled, or whose identifiers were changed, count as used, all
    of them: nobody knows here what was written, and where.
    """
    pairs: list[tuple[int, int]] = [(0, plan.head)] if plan.head else []
    for source, length, to in prepared.moves:
        pairs += [
            (to + low - source, to + high - source)
            for low, high in plan.written.within(source, source + length)
        ]
    pairs += [(offset, offset + len(data)) for offset, data in prepared.patches]
    for piece in prepared.pieces:
        pairs += [(low + piece.target, high + piece.target) for low, high in piece.used.pairs()]
    if prepared.tables is not None:
        pairs += [(offset, offset + len(data)) for offset, data in prepared.tables.writes]
    pairs += [
        (r.new.start, r.new.end) for r in plan.resizes if r.means in ("tool", "files", "remake")
    ]
    if plan.identity is not None and plan.arrangement is not None:
        pairs += [(p.new.start, p.new.end) for p in plan.arrangement.places if p.kind != "extended"]
    if plan.whole:
        outer = [(0, size)]
    else:
        numbers = set(plan.chosen)
        places = plan.arrangement.places if plan.arrangement else ()
        outer = [(p.new.start, p.new.end) for p in places] or [
            (v.extent.start, v.extent.end) for v in plan.volumes if v.partition in numbers
        ]
    used = ExtentMap.of(pairs)
    found = []
    for low, high in outer:
        for extent in used.complement(low, high):
            start, end = -(-extent.start // _PAGE) * _PAGE, extent.end // _PAGE * _PAGE
            if end - start >= least:
                found.append((start, end))
    return ExtentMap.of(found)


def clear(
    way: Way, plan: RestorePlan, prepared: Prepared, target: SafeTarget, reporter: Reporter
) -> str:
    """Trim or zero what is free; what was done, in words. Empty: nothing was to be done.

    Raises:
        DiskTrouble: the disk failed; a disk that cannot trim is no failure.
    """
    if way == "keep" or (target.created and way == "wipe"):
        return ""
    free = free_extents(plan, prepared, target.size, _LEAST[way])
    if way == "trim" and target.disk.kind != "block":
        return "free space was not trimmed: a plain file has nothing to give back"
    reporter.start("trim free space" if way == "trim" else "zero free space", free.total)
    try:
        for start, length in _pieces(free):
            if target.disk.kind == "block":
                request = _BLKDISCARD if way == "trim" else _BLKZEROOUT
                fcntl.ioctl(target.fd, request, struct.pack("=QQ", start, length))
            else:
                _zero(target.fd, start, length)
            reporter.advance(length)
    except OSError as error:
        if way == "trim" and error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
            return "free space was not trimmed: the disk cannot"
        raise from_os_error(error, f"clear the free space of {target.path}") from error
    target.flush()
    reporter.finish()
    done = "given back to the disk (trimmed)" if way == "trim" else "overwritten with zeros"
    return f"{format_size(free.total)} of free space were {done}"


def _pieces(free: ExtentMap) -> Iterator[tuple[int, int]]:
    """Start and length of commands that a disk answers in a moment."""
    for extent in free:
        for start in range(extent.start, extent.end, _PIECE):
            yield start, min(_PIECE, extent.end - start)


def _zero(fd: int, start: int, length: int) -> None:
    zeros = memoryview(bytes(min(length, 4 * MIB)))
    end = start + length
    while start < end:
        start += os.pwrite(fd, zeros[: end - start], start)
