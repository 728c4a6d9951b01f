"""Whether the log of an XFS ends with an unmount record. XFS on-disk format, "Journaling Log".

The log is a ring of 512-byte blocks, each stamped with the number of its turn (cycle). Behind the
newest block the number drops by one, so the head is found by halving; the record before it must
be a single unmount operation. Anything odd counts as not clean, which only costs space.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_MAGIC = 0xFEEDBABE
_BLOCK = 512
_UNMOUNT = 0x20  # XLOG_UNMOUNT_TRANS
# A record's data is at most 256 KiB, its headers a little more.
_FARTHEST = 2 * 256 * 1024 // _BLOCK
_WINDOW = 128

Read = Callable[[int, int], bytes]


def is_clean(read: Read, superblock: bytes) -> bool:
    """Whether the filesystem with this superblock was unmounted.

    Args:
        read: ``read(length, offset)`` within the volume.
        superblock: its first 512 bytes.

    Raises:
        OSError: the log cannot be read.
        ValueError, struct.error: the superblock makes no sense.
    """
    (block_size,) = struct.unpack_from(">I", superblock, 4)
    (start,) = struct.unpack_from(">Q", superblock, 48)  # sb_logstart
    (ag_blocks,) = struct.unpack_from(">I", superblock, 84)
    (log_blocks,) = struct.unpack_from(">I", superblock, 96)
    ag_shift = superblock[124]  # sb_agblklog
    if start == 0:
        return False  # the log is on another disk
    if not 512 <= block_size <= 65536 or ag_shift >= 32:
        raise ValueError("block size out of bounds")
    group, within = start >> ag_shift, start & ((1 << ag_shift) - 1)
    base = (group * ag_blocks + within) * block_size
    count = log_blocks * block_size // _BLOCK
    return _ends_with_unmount(lambda number: read(_BLOCK, base + number * _BLOCK), count)


def _cycle(block: bytes) -> int:
    """The turn in which a log block was written; a header has its magic where others have it."""
    first, second = struct.unpack_from(">II", block)
    return int(second if first == _MAGIC else first)


def _ends_with_unmount(block: Callable[[int], bytes], count: int) -> bool:
    """Find the head and judge the last record before it."""
    if count < 2:
        return False
    newest = _cycle(block(0))
    if _cycle(block(count - 1)) == newest:
        head = count  # the last turn ended exactly at the end
    else:
        low, high = 0, count - 1  # block(low) is of the newest turn, block(high) is older
        while high - low > 1:
            middle = (low + high) // 2
            if _cycle(block(middle)) == newest:
                low = middle
            else:
                high = middle
        head = high
        # Blocks written out of order, as a crash leaves them, are seen near the head.
        ahead = range(head, min(head + _WINDOW, count))
        if any(_cycle(block(number)) >= newest for number in ahead):
            return False
    for back in range(1, min(_FARTHEST, count)):
        number = (head - back) % count
        raw = block(number)
        if struct.unpack_from(">I", raw)[0] == _MAGIC:
            headers = _header_blocks(raw)
            body = block((number + headers) % count)
            return _is_unmount(raw, body, headers, back)
    return False


def _header_blocks(header: bytes) -> int:
    """Blocks of a record's header: one for each 32 KiB of log buffer (h_version 8, h_size 320)."""
    (version,) = struct.unpack_from(">I", header, 8)
    (size,) = struct.unpack_from(">I", header, 320)
    return max(1, -(-min(size, 1 << 18) // 32768)) if version & 2 else 1


def _is_unmount(header: bytes, body: bytes, headers: int, blocks_to_head: int) -> bool:
    """Whether a record is one unmount operation and ends at the head.

    xlog_rec_header: h_len at 12, h_num_logops at 40. xlog_op_header: oh_flags at byte 9; the first
    word of the body is replaced by the cycle number, which leaves the flags as they are.
    """
    (length,) = struct.unpack_from(">I", header, 12)
    (operations,) = struct.unpack_from(">I", header, 40)
    blocks = headers + -(-length // _BLOCK)
    return blocks_to_head == blocks and operations == 1 and bool(body[9] & _UNMOUNT)
