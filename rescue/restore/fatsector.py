"""A FAT16 or FAT32 volume made for sectors of another size: the same files, laid out anew. Pure.

A FAT notes its sector, which must be the disk's, and a cluster is at least one. Small clusters are
put together into larger ones, so chains get new numbers, and every folder is written with them.
A FAT32 that has too few of the larger clusters becomes a FAT16, because their number alone says to
every reader which of the two it is. Label, serial number, names, times and attributes stay. After
Microsoft's "FAT General Overview", version 1.03. Nothing in the volume is trusted.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rescue.restore.fatfit import (
    EOC,
    FOLDER,
    LEAST,
    LONG,
    MOST,
    Copy,
    NoFat,
    Patch,
    Read,
    Rebuilt,
    Shape,
    read_table,
    shape_of,
)

_PAGE = 4096
_BOOTS = (0, 6)  # where FAT32 keeps its boot sector and the copy of it, in sectors
_MAX_PER_CLUSTER = 128
_MOST_TOTAL = (1 << 32) - 1
_MAX_FOLDER = 2 << 20  # the overview: 65,536 entries
_MAX_IN_MEMORY = 512 << 20


@dataclass(frozen=True, slots=True)
class _Chain:
    """The clusters of a file or folder in their order; ``content`` is set for a folder."""

    clusters: Sequence[int]
    content: bytes | None = None


def limits(read: Read, sector: int) -> tuple[int, int]:
    """Shortest and longest length of the volume with such sectors, in bytes.

    Raises:
        NoFat: it cannot be made for them.
    """
    shape = shape_of(read(0, 512))
    tree = _walk(read, shape, read_table(read, shape))
    bps, cluster = _units(shape, sector)
    used = sum(-(-len(chain.clusters) * shape.cluster // cluster) for chain in tree[1:])
    most = MOST[32 if shape.bits == 32 else 16]
    low = _length_for(shape, bps, cluster, max(used + 2, LEAST[16]), len(tree[0].content or b""))
    high = min(_MOST_TOTAL, most * (cluster // bps)) * bps
    return low, high


def remake(read: Read, length: int, sector: int, hidden: int | None = None) -> Rebuilt:
    """The volume with sectors of ``sector`` bytes, ``length`` bytes long.

    Args:
        hidden: first sector of its partition; None leaves what it says.

    Raises:
        NoFat: it cannot be made so.
    """
    shape = shape_of(read(0, 512))
    old = read_table(read, shape)
    root, *chains = _walk(read, shape, old)
    assert root.content is not None
    fresh = _geometry(shape, sector, length, len(root.content))
    if fresh.bits == 32:
        chains = [root, *chains]
    numbers: array[int] = array("H" if fresh.bits == 16 else "I", bytes(0))
    numbers.frombytes(bytes((fresh.clusters + 2) * numbers.itemsize))
    numbers[0], numbers[1] = _leaders(shape, fresh, old)
    first: dict[int, int] = {}
    copies: list[Copy] = []
    at = 2
    for chain in chains:
        count = -(-max(1, len(chain.clusters)) * shape.cluster // fresh.cluster)
        if at + count > fresh.clusters + 2:
            raise NoFat("its files do not fit")
        if chain.clusters:
            first[chain.clusters[0]] = at
        numbers[at : at + count] = array(numbers.typecode, range(at + 1, at + count + 1))
        numbers[at + count - 1] = EOC[fresh.bits] | 7
        if chain.content is None:
            copies += _runs(shape, chain.clusters, fresh.at(at))
        at += count
    patches = list(_front(read, shape, fresh, numbers, hidden))
    if fresh.bits == 16:
        patches.append(
            (fresh.root_at, _renamed(root.content, first).ljust(fresh.root * fresh.sector, b"\0"))
        )
    at = 2
    for chain in chains:
        count = -(-max(1, len(chain.clusters)) * shape.cluster // fresh.cluster)
        if chain.content is not None:
            area = _renamed(chain.content, first)
            patches.append((fresh.at(at), area.ljust(count * fresh.cluster, b"\0")))
        at += count
    return Rebuilt(tuple(copies), tuple(patches))


def _walk(read: Read, shape: Shape, table: array[int]) -> list[_Chain]:
    """The root folder first, then every chain that a folder names; no cluster twice."""
    taken = bytearray(len(table))
    if shape.bits == 32:
        clusters = _chain(table, int.from_bytes(read(44, 4), "little"), shape.bits, taken)
        root = _Chain(clusters, _ended(_content(read, shape, clusters)))
    else:
        root = _Chain((), _ended(read(shape.root_at, shape.root * shape.sector)))
    found, waiting, held = [root], [root], len(root.content or b"")
    while waiting:
        content = waiting.pop().content
        assert content is not None
        for at, folder in _named(content):
            number = _number(content, at)
            clusters = _chain(table, number, shape.bits, taken)
            if not clusters:
                continue
            chain = _Chain(clusters)
            if folder:
                size = len(clusters) * shape.cluster
                held += max(size, _PAGE)
                if size > max(_MAX_FOLDER, shape.cluster) or held > _MAX_IN_MEMORY:
                    raise NoFat("its folders are too many or too long")
                chain = _Chain(clusters, _ended(_content(read, shape, clusters)))
                waiting.append(chain)
            found.append(chain)
    return found


def _named(content: bytes) -> Iterator[tuple[int, bool]]:
    """Where the entries lie that name a chain, and whether it is a folder's."""
    for at in range(0, len(content) - 31, 32):
        if content[at] == 0:
            return
        kind = content[at + 11]
        if content[at] in (0xE5, 0x2E) or kind & 0x3F == LONG or kind & 0x08:
            continue
        yield at, bool(kind & FOLDER)


def _number(content: bytes, at: int) -> int:
    high, low = content[at + 20 : at + 22], content[at + 26 : at + 28]
    return int.from_bytes(high, "little") << 16 | int.from_bytes(low, "little")


def _chain(table: array[int], first: int, bits: int, taken: bytearray) -> list[int]:
    """Clusters of a chain; it ends where it makes no sense.

    Raises:
        NoFat: one of them is part of another chain, so that nobody knows whose it is.
    """
    mask = 0xFFFF if bits == 16 else 0x0FFFFFFF
    found: list[int] = []
    at = first
    while 2 <= at < len(table):
        if taken[at]:
            raise NoFat("two of its files share a cluster; check it with fsck.fat first")
        taken[at] = 1
        found.append(at)
        at = table[at] & mask
    return found


def _content(read: Read, shape: Shape, clusters: Sequence[int]) -> bytes:
    return b"".join(read(shape.at(number), shape.cluster) for number in clusters)


def _ended(content: bytes) -> bytes:
    """A folder up to its last entry."""
    for at in range(0, len(content), 32):
        if content[at] == 0:
            return content[:at]
    return content


def _units(shape: Shape, sector: int) -> tuple[int, int]:
    """Sector and cluster of the new volume; a huge cluster needs a larger sector to be counted."""
    cluster = max(shape.cluster, sector)
    bps = sector
    while cluster // bps > _MAX_PER_CLUSTER:
        bps *= 2
    return bps, cluster


def _geometry(shape: Shape, sector: int, length: int, root: int) -> Shape:
    """The new geometry: the kind is kept where the number of clusters still says the same."""
    bps, cluster = _units(shape, sector)
    total = min(length // bps, _MOST_TOTAL)
    fresh = _sized(shape, bps, cluster, total, shape.bits, root)
    if shape.bits == 32 and fresh.clusters < LEAST[32]:
        fresh = _sized(shape, bps, cluster, total, 16, root)
    if fresh.clusters < LEAST[16]:
        raise NoFat("it would have so few clusters that it had to be a FAT12")
    return fresh


def _sized(shape: Shape, bps: int, cluster: int, total: int, bits: int, root: int) -> Shape:
    """Reserved sectors, tables and root folder so that clusters begin with a page."""
    rows = 0
    if bits == 16:
        entries = max(512, shape.root * shape.sector // 32, root // 32)
        rows = -(-entries * 32 // bps)
        if rows * bps // 32 > 0xFFFF:
            raise NoFat("its top folder has too many entries for a FAT16")
    reserved = max(shape.reserved, 8 if bits == 32 else 1)
    if bits != shape.bits:
        reserved = 1
    fresh = Shape(bps, cluster // bps, reserved, shape.fats, rows, 1, total, bits, 0)
    while True:
        lead = (-fresh.data) % _PAGE // bps
        fresh = replace(fresh, reserved=fresh.reserved + lead)
        clusters = min(max(0, total * bps - fresh.data) // cluster, MOST[bits])
        need = -(-(clusters + 2) * bits // 8 // bps)
        if need <= fresh.each:
            return replace(fresh, clusters=clusters)
        fresh = replace(fresh, each=need, reserved=reserved)


def _length_for(shape: Shape, bps: int, cluster: int, clusters: int, root: int) -> int:
    """Bytes that hold so many clusters and what stands in front of them."""
    bits = 32 if clusters > MOST[16] else 16
    tables = shape.fats * -(-(clusters + 2) * bits // 8 // bps) * bps
    front = max(shape.reserved, 8) * bps + max(16384, root + bps) + 2 * _PAGE
    return clusters * cluster + tables + front


def _leaders(shape: Shape, fresh: Shape, old: array[int]) -> tuple[int, int]:
    """The two entries in front: the medium's kind, and whether it was put away in order."""
    if fresh.bits == shape.bits:
        return old[0], old[1]
    # Bits 27 and 26 of a FAT32 are bits 15 and 14 of a FAT16.
    return 0xFF00 | old[0] & 0xFF, old[1] >> 12 & 0xC000 | 0x3FFF


def _runs(shape: Shape, clusters: Sequence[int], to: int) -> Iterator[Copy]:
    """A chain as copies, neighbours together; its bytes are one run in the new volume."""
    begin = 0
    for index in range(1, len(clusters) + 1):
        if index < len(clusters) and clusters[index] == clusters[index - 1] + 1:
            continue
        count = index - begin
        yield shape.at(clusters[begin]), count * shape.cluster, to + begin * shape.cluster
        begin = index


def _renamed(content: bytes, first: dict[int, int]) -> bytes:
    """A folder with every number that it names changed; a name without a chain loses it."""
    area = bytearray(content)
    for at in range(0, len(area) - 31, 32):
        if area[at] == 0:
            break
        if area[at] == 0xE5 or area[at + 11] & 0x3F == LONG:
            continue
        new = first.get(_number(content, at), 0)
        area[at + 20 : at + 22] = (new >> 16).to_bytes(2, "little")
        area[at + 26 : at + 28] = (new & 0xFFFF).to_bytes(2, "little")
    return bytes(area)


def _front(
    read: Read, shape: Shape, fresh: Shape, numbers: array[int], hidden: int | None
) -> Iterator[Patch]:
    """Boot sectors, free-space hints and tables."""
    area = bytearray(fresh.reserved * fresh.sector)
    if fresh.bits == shape.bits:
        # Boot code reads the sectors behind the first by their number.
        for index in range(min(shape.reserved, fresh.reserved)):
            area[index * fresh.sector : index * fresh.sector + 512] = read(
                index * shape.sector, 512
            )
        boot = bytearray(area[:512])
    else:
        boot = _boot_of_16(read(0, 512))
    small = fresh.total if fresh.bits == 16 and fresh.total < 1 << 16 else 0
    struct.pack_into("<HBHB", boot, 11, fresh.sector, fresh.per_cluster, fresh.reserved, fresh.fats)
    entries = fresh.root * fresh.sector // 32
    struct.pack_into("<HH", boot, 17, entries, small)
    struct.pack_into("<H", boot, 22, fresh.each if fresh.bits == 16 else 0)
    struct.pack_into("<I", boot, 32, 0 if small else fresh.total)
    if hidden is not None:
        struct.pack_into("<I", boot, 28, hidden)
    area[:512] = boot
    if fresh.bits == 32:
        struct.pack_into("<IHHIHH", boot, 36, fresh.each, 0, 0, 2, 1, _BOOTS[1])
        free = numbers[2:].count(0)
        info = b"RRaA".ljust(484, b"\0") + struct.pack("<4sII12xI", b"rrAa", free, 2, 0xAA550000)
        for base in _BOOTS:
            area[base * fresh.sector : base * fresh.sector + 512] = boot
            start = (base + 1) * fresh.sector
            area[start : start + 512] = info
    yield 0, bytes(area)
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    content = numbers.tobytes().ljust(fresh.each * fresh.sector, b"\0")
    for number in range(fresh.fats):
        yield (fresh.reserved + number * fresh.each) * fresh.sector, content


def _boot_of_16(boot: bytes) -> bytearray:
    """The boot sector of a FAT32 as a FAT16 has it: without boot code, which would not fit it."""
    area = bytearray(512)
    area[:3] = b"\xeb\x3c\x90"
    area[3:36] = boot[3:36]
    area[36], area[38] = boot[64], 0x29
    area[39:54] = boot[67:82]  # serial number and label
    area[54:62] = b"FAT16   "
    area[510:512] = b"\x55\xaa"
    return area
