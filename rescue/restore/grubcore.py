"""GRUB's core for BIOS, told another filesystem UUID. Pure.

A core may hold a line ``search.fs_uuid UUID``: by it the core finds its menu. The core is packed
(util/mkimage.c, grub-core/boot/i386/pc/startup_raw.S): one sector that loads the rest, a
decompressor with the two lengths at known places in it, and a raw LZMA stream. So it is unpacked,
changed and packed again. Reed-Solomon codes behind it would no longer fit; GRUB without them starts
as well, and is told that there are none.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rescue.restore.bootblocks import first_stage
from rescue.restore.identity import edits
from rescue.restore.layout import Place
from rescue.restore.tables import Read, Write

_SECTOR = 512
_LIST_END = 0x1F4
_BLOCK = struct.Struct("<QHH")
# include/grub/offsets.h, from the start of the decompressor
_SIZES = struct.Struct("<II")
_SIZES_AT, _REDUNDANCY_AT = 0x08, 0x10
_FIRST, _LAST = 0x200, 0xE00  # GRUB_DECOMPRESSOR_I386_PC_MAX_DECOMPRESSOR_SIZE
_MODULES = b"mimg"
_MOST = 4 << 20
# What util/mkimage.c asks its encoder for.
_LZMA = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2, "nice_len": 273}


class NoCore(ValueError):
    """This is no core that is understood; the words say why."""


@dataclass(frozen=True, slots=True)
class Core:
    """A core taken apart: loader sector and decompressor, and what was compressed behind them."""

    front: bytes
    content: bytes


def sectors_of(first: bytes) -> int:
    """How many sectors a core has, from its first one.

    Raises:
        NoCore: it is not in one piece behind that sector.
    """
    start, length, segment = _BLOCK.unpack_from(first, _LIST_END)
    _, more, _ = _BLOCK.unpack_from(first, _LIST_END - _BLOCK.size)
    if not start or not length or not segment or more or length * _SECTOR > _MOST:
        raise NoCore("GRUB's core is not in one piece")
    return 1 + int(length)


def unpack(core: bytes) -> Core:
    """Take a core apart.

    Raises:
        NoCore: it is not one, or compressed in another way.
    """
    image = core[_SECTOR:]
    if len(image) < _LAST:
        raise NoCore("GRUB's core is too short")
    packed, size = _SIZES.unpack_from(image, _SIZES_AT)
    if not 0 < packed <= len(image) or not packed < size <= _MOST:
        raise NoCore("GRUB's core is not compressed by LZMA")
    for start in range(_FIRST, min(_LAST, len(image) - packed) + 1):
        if image[start]:
            continue  # a range coder's first byte is always 0
        content = _decoded(image[start : start + packed], size)
        if len(content) == size and _MODULES in content:
            return Core(core[: _SECTOR + start], content)
    raise NoCore("GRUB's core is not compressed by LZMA")


def _decoded(data: bytes, size: int) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_LZMA])
    try:
        return decoder.decompress(data, size)
    except lzma.LZMAError:
        return b""


def rewritten(core: bytes, words: Sequence[tuple[str, str]], room: int) -> bytes | None:
    """The core with new identifiers in it; None: it holds none of the old ones.

    Args:
        room: bytes that it may become long.

    Raises:
        NoCore: it is not understood, or does not fit any more.
    """
    known = unpack(core)
    content = bytearray(known.content)
    changes = edits(known.content, words)
    if not changes:
        return None
    for offset, data in changes:
        content[offset : offset + len(data)] = data
    packed = lzma.compress(bytes(content), lzma.FORMAT_RAW, filters=[_LZMA])
    front = bytearray(known.front)
    _SIZES.pack_into(front, _SECTOR + _SIZES_AT, len(packed), len(content))
    struct.pack_into("<I", front, _SECTOR + _REDUNDANCY_AT, 0)
    length = -(-(len(front) + len(packed)) // _SECTOR) * _SECTOR
    length = max(length, sectors_of(core) * _SECTOR)
    if length > room:
        raise NoCore("GRUB's core has no room to become longer")
    start, _, segment = _BLOCK.unpack_from(front, _LIST_END)
    _BLOCK.pack_into(front, _LIST_END, start, length // _SECTOR - 1, segment)
    fresh = (bytes(front) + packed).ljust(length, b"\0")
    if unpack(fresh).content != bytes(content):
        raise NoCore("GRUB's core did not come out as it went in")
    return fresh


def followed(
    read: Read,
    head: bytes,
    places: Sequence[Place],
    sector: int,
    words: Sequence[tuple[str, str]],
    files: Collection[int] = (),
) -> tuple[bytes, tuple[Write, ...], str]:
    """The core of a whole disk told new identifiers: the head, bytes on the target, and a word.

    The core lies in a BIOS boot partition, or in front of the first one and partly in the head.

    Args:
        read: reads the image.
        head: the first bytes of the disk.
        files: partitions with a filesystem, where bytes behind the core are somebody's.
    """
    stage = first_stage(head)
    if not stage:
        return head, (), ""
    start = stage * sector
    place = next((p for p in places if p.kind != "extended" and p.old.contains(start)), None)
    end = place.old.end if place else min(p.old.start for p in places)
    try:
        if place is not None and place.number in files:
            raise NoCore(f"GRUB's core lies among the files of partition {place.number}")
        if not 0 < start < end:
            raise NoCore("GRUB's core is not where it should be")
        length = sectors_of(read(start, _SECTOR)) * _SECTOR
        if start + length > end:
            raise NoCore("GRUB's core is not in one piece")
        core = rewritten(read(start, length), words, end - start)
    except NoCore as error:
        return head, (), f"{error}: whether it holds an old UUID is not known"
    if core is None:
        return head, (), ""
    inside = core[: max(0, len(head) - start)] if place is None else b""
    fresh = head[:start] + inside + head[start + len(inside) :] if inside else head
    at = (place.new.start + start - place.old.start if place else start) + len(inside)
    rest = ((at, core[len(inside) :]),) if len(inside) < len(core) else ()
    return fresh, rest, "GRUB's core looks for the new UUID"
