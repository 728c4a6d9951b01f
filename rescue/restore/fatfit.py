"""A FAT16 or FAT32 volume of another length: its structures written anew, its clusters kept. Pure.

After Microsoft's "FAT General Overview", version 1.03. Clusters keep their size and, where they
can, their numbers; the tables become longer when more clusters need them, which moves the data
behind them. When the volume becomes shorter, clusters behind its new end take the numbers of free
ones, and chains and folders that named them are changed. Boot code, volume id, label, times and
attributes stay. Nothing in the volume is trusted: every walk is bounded.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` in the volume, as it was captured."""
Patch = tuple[int, bytes]
Copy = tuple[int, int, int]
"""Source, length and destination, in bytes of the old and of the new volume."""

_BPB = struct.Struct("<HBHBHHBHHHII")  # from byte 11
_MAX_FAT = 256 << 20  # FAT32 has 2^28 clusters: 1 GiB of table; beyond this memory would not do
MAX_FOLDERS = 1 << 20
FOLDER = 0x10
LONG = 0x0F
EOC = {16: 0xFFF8, 32: 0x0FFFFFF8}
_BAD = {16: 0xFFF7, 32: 0x0FFFFFF7}
# Cluster counts decide the type of a FAT (the overview, "FAT type determination").
LEAST = {16: 4085, 32: 65525}
MOST = {16: 65524, 32: 0x0FFFFFF4}


class NoFat(ValueError):
    """Not a FAT volume that can be rebuilt; says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The geometry of a volume, in sectors of ``sector`` bytes."""

    sector: int
    per_cluster: int
    reserved: int
    fats: int
    root: int
    each: int
    total: int
    bits: int
    clusters: int

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return self.per_cluster * self.sector

    @property
    def root_at(self) -> int:
        """Byte at which the fixed root folder of a FAT16 starts."""
        return (self.reserved + self.fats * self.each) * self.sector

    @property
    def data(self) -> int:
        """Byte at which cluster 2 starts."""
        return self.root_at + self.root * self.sector

    def at(self, cluster: int) -> int:
        """Byte at which a cluster starts."""
        return self.data + (cluster - 2) * self.cluster


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What makes the new volume: bytes copied from the old one, then bytes written over them."""

    copies: tuple[Copy, ...]
    patches: tuple[Patch, ...]


def shape_of(boot: bytes) -> Shape:
    """Geometry from a boot sector.

    Raises:
        NoFat: it is none, or a FAT12.
    """
    if len(boot) < 512 or boot[510:512] != b"\x55\xaa":
        raise NoFat("it has no boot sector")
    bps, spc, reserved, fats, entries, small, _, fat16, _, _, _, large = _BPB.unpack_from(boot, 11)
    (fat32,) = struct.unpack_from("<I", boot, 36)
    each, total = fat16 or fat32, small or large
    if bps not in (512, 1024, 2048, 4096) or not spc or spc & (spc - 1) or not 1 <= fats <= 4:
        raise NoFat("its boot sector makes no sense")
    root = -(-entries * 32 // bps)
    behind = total - reserved - fats * each - root
    if not reserved or not each or behind < spc:
        raise NoFat("its boot sector makes no sense")
    bits = 16 if fat16 else 32
    clusters = min(behind // spc, each * bps * 8 // bits - 2)
    if bits == 16 and clusters < LEAST[16]:
        raise NoFat("FAT12 is not resized")
    if each * bps > _MAX_FAT or clusters > MOST[bits]:
        raise NoFat("its table is too large")
    if bits == 32 and root:
        raise NoFat("its boot sector makes no sense")
    return Shape(bps, spc, reserved, fats, root, each, total, bits, clusters)


def read_table(read: Read, shape: Shape) -> array[int]:
    """The file allocation table in force, one number for each cluster and the two in front."""
    number = 0
    if shape.bits == 32:
        (flags,) = struct.unpack_from("<H", read(40, 2))
        if flags & 0x80:  # mirroring is off, and this one is in force
            number = min(flags & 0x0F, shape.fats - 1)
    size = shape.bits // 8
    start = (shape.reserved + number * shape.each) * shape.sector
    table: array[int] = array("H" if size == 2 else "I")
    table.frombytes(read(start, (shape.clusters + 2) * size))
    if sys.byteorder == "big":
        table.byteswap()
    if len(table) != shape.clusters + 2:
        raise NoFat("its table is cut short")
    return table


def limits(read: Read) -> tuple[int, int]:
    """Shortest and longest length of the volume, in bytes.

    Raises:
        NoFat: it cannot be rebuilt.
    """
    shape = shape_of(read(0, 512))
    table = read_table(read, shape)
    used = len(table) - 2 - table[2:].count(0)
    # A small FAT32 breaks the rule on types already; it may then stay as small as its files.
    floor = min(LEAST[shape.bits], shape.clusters)
    low = max(floor, used + 1)
    start = shape.data // shape.sector
    most = _sized(shape, (1 << 32) - 1)
    return (
        (start + low * shape.per_cluster) * shape.sector,
        min((1 << 32) - 1, most.data // shape.sector + most.clusters * shape.per_cluster)
        * shape.sector,
    )


def _sized(shape: Shape, total: int) -> Shape:
    """The geometry for a volume of ``total`` sectors; the tables never become shorter."""
    each = shape.each
    while True:
        start = shape.reserved + shape.fats * each + shape.root
        clusters = min(max(0, total - start) // shape.per_cluster, MOST[shape.bits])
        need = -(-(clusters + 2) * shape.bits // 8 // shape.sector)
        if need <= each:
            return replace(shape, each=each, total=total, clusters=clusters)
        # Steps of 4 KiB keep the clusters aligned to pages where they were.
        step = max(1, 4096 // shape.sector)
        each += -(-(need - each) // step) * step


def rebuild(read: Read, length: int, hidden: int | None = None) -> Rebuilt:
    """The volume made ``length`` bytes long.

    Args:
        hidden: first sector of its partition, for boot code; None leaves what it says.

    Raises:
        NoFat: it cannot be made so.
    """
    shape = shape_of(read(0, 512))
    table = read_table(read, shape)
    fresh = _sized(shape, min(length // shape.sector, (1 << 32) - 1))
    if fresh.clusters < min(LEAST[shape.bits], shape.clusters):
        raise NoFat("it would have too few clusters for its kind")
    moved = _new_numbers(table, fresh.clusters + 2, shape.bits)
    numbers = _renumbered(table, fresh.clusters + 2, moved, shape.bits)
    copies = list(_copies(shape, fresh, table, moved))
    patches = [*_front(read, shape, fresh, numbers, moved, hidden)]
    if moved:
        patches += _folders(read, shape, fresh, table, moved)
    return Rebuilt(tuple(copies), tuple(patches))


def _mask(bits: int) -> int:
    return 0xFFFF if bits == 16 else 0x0FFFFFFF


def _new_numbers(table: array[int], end: int, bits: int) -> dict[int, int]:
    """Old number -> new number of every used cluster behind the new end."""
    mask, bad = _mask(bits), _BAD[bits]
    homeless = [
        number
        for number, value in enumerate(table[end:], end)
        if value & mask and value & mask != bad
    ]
    if not homeless:
        return {}
    free = (number for number, value in enumerate(table[2:end], 2) if not value & mask)
    moved = dict(zip(homeless, free, strict=False))
    if len(moved) < len(homeless):
        raise NoFat("its files do not fit")
    return moved


def _renumbered(table: array[int], end: int, moved: dict[int, int], bits: int) -> array[int]:
    """The new table: as long as the new volume, every number that changed changed."""
    mask, last = _mask(bits), _BAD[bits]
    numbers = array(table.typecode, table[:end])
    numbers.frombytes(bytes((end - len(numbers)) * numbers.itemsize))
    if not moved:
        return numbers

    def new(value: int) -> int:
        return value & ~mask | moved.get(value & mask, value & mask)

    for number in [n for n, value in enumerate(numbers[2:], 2) if end <= value & mask < last]:
        numbers[number] = new(numbers[number])
    for old, number in moved.items():
        numbers[number] = new(table[old])
    return numbers


def _copies(shape: Shape, fresh: Shape, table: array[int], moved: dict[int, int]) -> Iterator[Copy]:
    """What is copied as it is: the root folder, clusters that stay, clusters that move."""
    if shape.root:
        yield shape.root_at, shape.root * shape.sector, fresh.root_at
    end = min(len(table), fresh.clusters + 2)
    at = 2
    for taken in sorted(moved.values()):
        if taken > at:
            yield shape.at(at), (taken - at) * shape.cluster, fresh.at(at)
        at = taken + 1
    if end > at:
        yield shape.at(at), (end - at) * shape.cluster, fresh.at(at)
    run: list[int] = []
    for old in sorted(moved):
        if run and (old != run[-1] + 1 or moved[old] != moved[run[-1]] + 1):
            yield shape.at(run[0]), len(run) * shape.cluster, fresh.at(moved[run[0]])
            run = []
        run.append(old)
    if run:
        yield shape.at(run[0]), len(run) * shape.cluster, fresh.at(moved[run[0]])


def _front(
    read: Read,
    shape: Shape,
    fresh: Shape,
    numbers: array[int],
    moved: dict[int, int],
    hidden: int | None,
) -> Iterator[Patch]:
    """Boot sectors, free-space hints and tables."""
    area = bytearray(read(0, shape.reserved * shape.sector))
    boots = [0]
    if shape.bits == 32:
        info, backup = struct.unpack_from("<HH", area, 48)
        if 0 < backup < shape.reserved:
            boots.append(backup)
        for base in boots:
            _hint(area, (base + info) * shape.sector, numbers)
    for base in boots:
        start = base * shape.sector
        if base and area[start + 510 : start + 512] != b"\x55\xaa":
            continue
        small = fresh.total if shape.bits == 16 and fresh.total < 1 << 16 else 0
        struct.pack_into("<H", area, start + 19, small)
        struct.pack_into("<I", area, start + 32, 0 if small else fresh.total)
        if shape.bits == 16:
            struct.pack_into("<H", area, start + 22, fresh.each)
        else:
            struct.pack_into("<I", area, start + 36, fresh.each)
            (first,) = struct.unpack_from("<I", area, start + 44)
            struct.pack_into("<I", area, start + 44, moved.get(first, first))
        if hidden is not None:
            struct.pack_into("<I", area, start + 28, hidden)
    yield 0, bytes(area)
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    content = numbers.tobytes().ljust(fresh.each * fresh.sector, b"\0")
    for number in range(shape.fats):
        yield (fresh.reserved + number * fresh.each) * fresh.sector, content


def _hint(area: bytearray, at: int, numbers: array[int]) -> None:
    """FSInfo: how many clusters are free, and where to look for one."""
    if area[at : at + 4] == b"RRaA" and area[at + 484 : at + 488] == b"rrAa":
        struct.pack_into("<II", area, at + 488, numbers[2:].count(0), 2)


def _chain(table: array[int], first: int, bits: int) -> list[int]:
    """Clusters of a chain; it ends where it makes no sense."""
    mask = _mask(bits)
    found: list[int] = []
    at = first
    # The overview limits a folder to 65,536 entries, 2 MiB.
    while 2 <= at < len(table) and len(found) <= 4096:
        found.append(at)
        at = table[at] & mask
    return found


def _folders(
    read: Read, shape: Shape, fresh: Shape, table: array[int], moved: dict[int, int]
) -> Iterator[Patch]:
    """Every cluster of a folder in which an entry names a cluster that moved."""
    waiting: list[int] = []
    seen: set[int] = set()
    if shape.bits == 32:
        waiting.append(struct.unpack_from("<I", read(44, 4))[0])
    else:
        content = read(shape.root_at, shape.root * shape.sector)
        changed = _entries(content, moved, waiting)
        if changed is not None:
            yield fresh.root_at, changed
    while waiting and len(seen) < MAX_FOLDERS:
        first = waiting.pop()
        if first in seen:
            continue
        seen.add(first)
        for cluster in _chain(table, first, shape.bits):
            content = read(shape.at(cluster), shape.cluster)
            changed = _entries(content, moved, waiting)
            if changed is not None:
                yield fresh.at(moved.get(cluster, cluster)), changed


def _entries(content: bytes, moved: dict[int, int], folders: list[int]) -> bytes | None:
    """A piece of a folder with its numbers changed, or None where none is; folders are noted."""
    area = bytearray(content)
    changed = False
    for at in range(0, len(area) - 31, 32):
        if area[at] == 0:
            break
        if area[at] == 0xE5 or area[at + 11] & 0x3F == LONG:
            continue
        high, low = area[at + 20 : at + 22], area[at + 26 : at + 28]
        number = int.from_bytes(high, "little") << 16 | int.from_bytes(low, "little")
        if area[at + 11] & FOLDER and area[at : at + 1] != b"." and number:
            folders.append(number)
        new = moved.get(number)
        if new is not None:
            area[at + 20 : at + 22] = (new >> 16).to_bytes(2, "little")
            area[at + 26 : at + 28] = (new & 0xFFFF).to_bytes(2, "little")
            changed = True
    return bytes(area) if changed else None
