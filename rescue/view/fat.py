"""A FAT volume as folders and files, read-only: for any user, and where the kernel has no vfat.

FAT12, FAT16 and FAT32 with long names, after Microsoft's "FAT General Overview", version 1.03.
Nothing in the volume is trusted: chains and folders are followed a bounded number of steps.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from rescue.core.extent import Extent
from rescue.view.nodes import FileNode, Folder, Node
from rescue.view.store import Store, View

MAX_FOLDER = 2 << 20  # bytes: the specification's limit of 65,536 entries
MAX_DEPTH = 64  # a path of 260 letters cannot be deeper by much; a loop of folders is
_FAT_PAGE = 65536
_FAT_PAGES = 64
_BPB = struct.Struct("<HBHBHHBHHHII")  # from byte 11
_ENTRY = struct.Struct("<11sBBBHHHHHHHI")
_LONG = 0x0F
_READ_ONLY, _VOLUME, _FOLDER = 0x01, 0x08, 0x10


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where things lie in a FAT volume; places in bytes from its start."""

    bits: int
    cluster: int
    fat: Extent
    root: Extent
    root_cluster: int
    data: int
    clusters: int


def parse_boot(sector: bytes, length: int) -> Geometry:
    """Parse a boot sector of a volume of ``length`` bytes.

    Raises:
        ValueError: not FAT, or it does not fit in the volume.
    """
    if len(sector) < 512:
        raise ValueError("no boot sector")
    (bps, spc, reserved, fats, entries, small, _media, fat16, _, _, _, large) = _BPB.unpack_from(
        sector, 11
    )
    (fat32,) = struct.unpack_from("<I", sector, 36)
    if (
        bps not in (512, 1024, 2048, 4096)
        or spc == 0
        or spc & (spc - 1)
        or not fats
        or not reserved
    ):
        raise ValueError("not a FAT boot sector")
    total, each = small or large, fat16 or fat32
    root_at = (reserved + fats * each) * bps
    data = root_at + -(-entries * 32 // bps) * bps
    if not each or total * bps > length or data >= total * bps:
        raise ValueError("the FAT does not fit in its volume")
    clusters = (total * bps - data) // (spc * bps)
    bits = 12 if clusters < 4085 else 16 if clusters < 65525 else 32
    if (bits == 32) != (fat16 == 0):
        bits = 32 if fat16 == 0 else 16
    clusters = min(clusters, each * bps * 8 // bits - 2)
    root_cluster = struct.unpack_from("<I", sector, 44)[0] if bits == 32 else 0
    return Geometry(
        bits,
        spc * bps,
        Extent(reserved * bps, each * bps),
        Extent(root_at, data - root_at),
        root_cluster,
        data,
        clusters,
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a folder."""

    name: str
    attributes: int
    cluster: int
    size: int
    time: int


def parse_folder(content: bytes) -> Iterator[Listed]:
    """Entries of a folder in order; a damaged long name gives way to the short one."""
    pieces: dict[int, bytes] = {}
    wanted = -1
    for raw in range(0, len(content) - 31, 32):
        block = content[raw : raw + 32]
        if block[0] == 0:
            return
        if block[0] == 0xE5:
            pieces, wanted = {}, -1
            continue
        short, flags, case, _, _, _, _, high, clock, day, low, size = _ENTRY.unpack(block)
        if flags & 0x3F == _LONG:
            number = block[0] & 0x3F
            if block[0] & 0x40:
                pieces, wanted = {}, block[13]
            if block[13] == wanted:
                pieces[number] = block[1:11] + block[14:26] + block[28:32]
            continue
        name = _long_name(pieces) if wanted == _checksum(short) else ""
        pieces, wanted = {}, -1
        if flags & _VOLUME:
            continue
        name = name or _short_name(short, case)
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            continue
        yield Listed(name, flags, high << 16 | low, size, _time(day, clock))


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total


def _long_name(pieces: dict[int, bytes]) -> str:
    if sorted(pieces) != list(range(1, len(pieces) + 1)):
        return ""
    text = b"".join(pieces[number] for number in sorted(pieces)).decode("utf-16-le", "replace")
    return text.split("\0", 1)[0]


def _short_name(short: bytes, case: int) -> str:
    if short[0] == 0x05:  # stands for E5, which would mark a removed entry
        short = b"\xe5" + short[1:]
    stem = short[:8].decode("cp437").rstrip(" ")
    ending = short[8:].decode("cp437").rstrip(" ")
    # Windows NT marks names in small letters with two bits instead of a long name.
    stem = stem.lower() if case & 0x08 else stem
    ending = ending.lower() if case & 0x10 else ending
    return f"{stem}.{ending}" if ending else stem


def _time(day: int, clock: int) -> int:
    """Nanoseconds since 1970 of a date and time in this machine's own time zone."""
    date = (1980 + (day >> 9), day >> 5 & 15, day & 31)
    hours = (clock >> 11, clock >> 5 & 63, (clock & 31) * 2)
    if not (1 <= date[1] <= 12 and 1 <= date[2] <= 31):
        return 0
    try:
        return int(time.mktime((*date, *hours, 0, 0, -1))) * 1_000_000_000
    except (OverflowError, ValueError):
        return 0


class Fat:
    """One FAT volume, open for reading."""

    def __init__(self, store: Store, extent: Extent) -> None:
        """Parse the boot sector.

        Raises:
            ValueError: it is not FAT.
            OSError: it cannot be read.
        """
        self._store = store
        self._extent = extent
        self.geometry = parse_boot(self.pread(0, 512), extent.length)
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes of the volume."""
        length = min(length, self._extent.length - offset)
        if length <= 0:
            return b""
        return b"".join(self._store.read(self._extent.start + offset, length))

    def _fat_bytes(self, at: int, count: int) -> int:
        """A little-endian number in the table."""
        number, within = divmod(at, _FAT_PAGE)
        found = self._page(number)[within : within + count]
        if len(found) < count:  # an entry of FAT12 across two pages
            found += self._page(number + 1)[: count - len(found)]
        return int.from_bytes(found, "little")

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            start = number * _FAT_PAGE
            fat = self.geometry.fat
            page = self.pread(fat.start + start, max(0, min(_FAT_PAGE, fat.length - start)))
            self._pages[number] = page
            if len(self._pages) > _FAT_PAGES:
                self._pages.popitem(last=False)
        return page

    def following(self, cluster: int) -> int:
        """The cluster behind this one in its chain, or 0 at the end."""
        bits = self.geometry.bits
        if bits == 12:
            pair = self._fat_bytes(cluster * 3 // 2, 2)
            value = pair >> 4 if cluster & 1 else pair & 0xFFF
        else:
            value = self._fat_bytes(cluster * bits // 8, bits // 8) & 0x0FFFFFFF
        return value if self._exists(value) else 0

    def _exists(self, cluster: int) -> bool:
        return 2 <= cluster < self.geometry.clusters + 2

    def runs(self, cluster: int, length: int) -> list[Extent]:
        """Where ``length`` bytes from this cluster on lie, in the order of the file.

        A chain that ends early gives fewer: what is missing reads as an error, not as zeros.
        """
        starts, ends = array("Q"), array("Q")
        # A chain with more clusters than there are goes in a circle.
        left = min(-(-length // self.geometry.cluster), self.geometry.clusters)
        while left and self._exists(cluster):
            start = self.geometry.data + (cluster - 2) * self.geometry.cluster
            if ends and ends[-1] == start:
                ends[-1] = start + self.geometry.cluster
            else:
                starts.append(start)
                ends.append(start + self.geometry.cluster)
            left -= 1
            cluster = self.following(cluster)
        return [Extent(s, e - s) for s, e in zip(starts, ends, strict=True)]

    def folder_content(self, cluster: int) -> bytes:
        """All entries of a folder; cluster 0 is the root."""
        geometry = self.geometry
        if not cluster and geometry.bits != 32:
            return self.pread(geometry.root.start, min(geometry.root.length, MAX_FOLDER))
        pieces = self.runs(cluster or geometry.root_cluster, MAX_FOLDER)
        return b"".join(self.pread(run.start, run.length) for run in pieces)[:MAX_FOLDER]

    def tree(self) -> Folder:
        """The root folder as a node; everything below is read when somebody looks."""
        return Folder(stat.S_IFDIR | 0o755, 0, fill=partial(self._fill, 0, 0))

    def _fill(self, cluster: int, depth: int) -> dict[bytes, Node]:
        if depth > MAX_DEPTH:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        found: dict[bytes, Node] = {}
        for item in parse_folder(self.folder_content(cluster)):
            mode = 0o555 if item.attributes & _READ_ONLY else 0o755
            name = os.fsencode(item.name.encode("utf-8", "replace").decode())
            if item.attributes & _FOLDER:
                fill = _nothing if not item.cluster else self._filler(item.cluster, depth)
                found.setdefault(name, Folder(stat.S_IFDIR | mode, item.time, fill=fill))
            else:
                file = FatFile(
                    stat.S_IFREG | mode, item.time, fat=self, first=item.cluster, length=item.size
                )
                found.setdefault(name, file)
        return found

    def _filler(self, cluster: int, depth: int) -> Callable[[], dict[bytes, Node]]:
        return partial(self._fill, cluster, depth + 1)


def _nothing() -> dict[bytes, Node]:
    return {}


@dataclass(slots=True, eq=False)
class FatFile(FileNode):
    """A file of a FAT volume; its chain is followed when it is first read."""

    fat: Fat | None = None
    first: int = 0
    length: int = 0
    _runs: list[Extent] | None = None
    _starts: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.length

    def read(self, offset: int, length: int) -> Sequence[View]:
        """The bytes there.

        Raises:
            OSError: EIO: the chain of clusters is shorter than the file, or a cluster is damaged.
        """
        assert self.fat is not None
        if self._runs is None:
            runs = self.fat.runs(self.first, self.length)
            at = 0
            for run in runs:
                self._starts.append(at)
                at += run.length
            self._runs = runs
        pieces: list[View] = []
        end = min(offset + length, self.length)
        while offset < end:
            i = bisect_right(self._starts, offset) - 1
            within = offset - self._starts[i] if i >= 0 else 0
            if i < 0 or within >= self._runs[i].length:
                raise OSError(errno.EIO, "the file's clusters end before it does")
            count = min(end - offset, self._runs[i].length - within)
            pieces.append(self.fat.pread(self._runs[i].start + within, count))
            offset += count
        return pieces
