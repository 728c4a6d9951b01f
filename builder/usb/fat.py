"""The stick's EFI system partition: a FAT32 that holds two trees and shows one of them.

mtools write a FAT; they cannot change one so that a power cut leaves the old or the new. Here the
clusters are two halves, each with a whole tree of its own in clusters and FAT sectors that the
other does not touch. The root directory is one sector and names the tree of one half, so writing
that one sector is the switch. Format: Microsoft's FAT specification (fatgen103). Pure: everything
is returned as (offset in the partition, bytes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rescue.core.errors import UsageError

SECTOR = 512
_RESERVED = 32
_FATS = 2
_PER_SECTOR = SECTOR // 4
_END = 0x0FFFFFFF
_ROOT = 2
# A time stamp is a promise that nobody needs here: 1 January 1980, the first that FAT can say.
_DATE = 0x0021
_LABEL = b"RESCUE EFI "
_FOLDER, _VOLUME = 0x10, 0x08

Write = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Fat:
    """Where everything lies in a partition of ``size`` bytes; a cluster is one sector."""

    size: int

    @property
    def sectors(self) -> int:
        """Of the whole partition."""
        return self.size // SECTOR

    @property
    def fat_sectors(self) -> int:
        """Of one file allocation table."""
        return -(-(self.sectors - _RESERVED + 2) // (_PER_SECTOR + _FATS))

    @property
    def clusters(self) -> int:
        """Clusters for data, numbered from 2."""
        return self.sectors - _RESERVED - _FATS * self.fat_sectors

    @property
    def half_clusters(self) -> int:
        """Clusters of one half: whole FAT sectors."""
        return (self.clusters - _PER_SECTOR) // 2 // _PER_SECTOR * _PER_SECTOR

    def first_of(self, half: int) -> int:
        """The first cluster of a half, at the start of a FAT sector; the first one has the root."""
        return _PER_SECTOR + half * self.half_clusters

    def place_of(self, cluster: int) -> int:
        """Offset of a cluster."""
        return (_RESERVED + _FATS * self.fat_sectors + cluster - _ROOT) * SECTOR

    @property
    def root(self) -> int:
        """Offset of the root directory's one sector: the switch."""
        return self.place_of(_ROOT)

    def blank(self, serial: int, hidden: int) -> tuple[Write, ...]:
        """Boot sectors, empty tables, an empty root; ``hidden``: the partition's first sector."""
        boot = bytearray(SECTOR)
        boot[:11] = b"\xeb\x58\x90RESCUE  "
        struct.pack_into(
            "<HBHBHHBHHHII",
            boot,
            11,
            *(SECTOR, 1, _RESERVED, _FATS, 0, 0, 0xF8, 0, 63, 255, hidden, self.sectors),
        )
        struct.pack_into("<IHHIHH", boot, 36, self.fat_sectors, 0, 0, _ROOT, 1, 6)
        struct.pack_into("<BBBI11s8s", boot, 64, 0x80, 0, 0x29, serial, _LABEL, b"FAT32   ")
        boot[510:] = b"\x55\xaa"
        # Free and next free cluster: not known, as a reader must be ready for.
        info = struct.pack("<4s480s4sII12sI", b"RRaA", b"", b"rrAa", _END | 0xF0000000, 2, b"", 0)
        info = info[:492] + b"\xff\xff\xff\xff" + info[496:508] + b"\0\0\x55\xaa"
        table = struct.pack("<III", 0x0FFFFFF8, _END, _END).ljust(self.fat_sectors * SECTOR, b"\0")
        head = bytes(boot) + info + bytes(4 * SECTOR) + bytes(boot) + info
        return (
            (0, head.ljust(_RESERVED * SECTOR, b"\0") + table * _FATS),
            (self.root, self._root(())),
        )

    def tree(self, half: int, files: dict[str, bytes]) -> Tree:
        """A half that holds ``files`` (path with slashes, 8.3 names, to content).

        Raises:
            UsageError: they do not fit, or a name does not.
        """
        return _Builder(self, half).tree(files)

    def shown(self, root: bytes) -> int | None:
        """Which half a root directory shows; None when it is not one that was written here."""
        if not root.startswith(_LABEL + bytes([_VOLUME])):
            return None
        for at in range(32, SECTOR, 32):
            entry = root[at : at + 32]
            if entry[:11] == b"EFI        " and entry[11] & _FOLDER:
                high, low = struct.unpack("<H4xH", entry[20:28])
                first = high << 16 | low
                return next((half for half in (0, 1) if first == self.first_of(half)), None)
        return None

    def forget(self, half: int) -> tuple[Write, ...]:
        """Make the clusters of a half free, in both tables."""
        return self._tables(half, {})

    def _tables(self, half: int, chain: dict[int, int]) -> tuple[Write, ...]:
        """The FAT sectors of a half, with ``chain``, in both tables."""
        first = self.first_of(half)
        values = [chain.get(first + number, 0) for number in range(self.half_clusters)]
        data = struct.pack(f"<{len(values)}I", *values)
        sector = first // _PER_SECTOR
        return tuple(
            ((_RESERVED + number * self.fat_sectors + sector) * SECTOR, data)
            for number in range(_FATS)
        )

    def _root(self, entries: tuple[bytes, ...]) -> bytes:
        """The root directory: the label, then ``entries``."""
        label = _entry(_LABEL, _VOLUME, 0, 0)
        return b"".join((label, *entries)).ljust(SECTOR, b"\0")


@dataclass(frozen=True, slots=True)
class Tree:
    """One half, ready to be written: all of it first, ``switch`` alone afterwards."""

    body: tuple[Write, ...]
    switch: Write


class _Builder:
    """Hands out the clusters of one half, one after the other."""

    def __init__(self, fat: Fat, half: int) -> None:
        self.fat, self.half = fat, half
        self.free = fat.first_of(half)
        self.end = self.free + fat.half_clusters
        self.chain: dict[int, int] = {}
        self.writes: list[Write] = []

    def tree(self, files: dict[str, bytes]) -> Tree:
        """All of it. EFI comes first: its cluster tells which half a root directory shows."""
        top = sorted({path.split("/")[0] for path in files}, key=lambda name: (name != "EFI", name))
        entries = tuple(self._folder(name, files, 0) for name in top)
        body = (*self.writes, *self.fat._tables(self.half, self.chain))
        return Tree(body, (self.fat.root, self.fat._root(entries)))

    def _folder(self, path: str, files: dict[str, bytes], parent: int) -> bytes:
        """Write a folder and what is in it; its own entry."""
        inside = sorted(
            {rest.split("/")[0] for name in files if (rest := _below(name, path)) is not None}
        )
        here = self._take((len(inside) + 2) * 32)
        entries = [
            _entry(b".          ", _FOLDER, here, 0),
            _entry(b"..         ", _FOLDER, parent, 0),
        ]
        for name in inside:
            whole = f"{path}/{name}"
            if whole in files:
                data = files[whole]
                first = self._take(len(data))
                self.writes.append((self.fat.place_of(first), _padded(data)))
                entries.append(_entry(_short(name), 0x20, first, len(data)))
            else:
                entries.append(self._folder(whole, files, here))
        self.writes.append((self.fat.place_of(here), _padded(b"".join(entries))))
        return _entry(_short(path.rpartition("/")[2]), _FOLDER, here, 0)

    def _take(self, size: int) -> int:
        """The next clusters for ``size`` bytes, chained; the first of them."""
        count = max(1, -(-size // SECTOR))
        first = self.free
        self.free += count
        if self.free > self.end:
            raise UsageError("the boot files do not fit the EFI system partition of a stick")
        for cluster in range(first, self.free - 1):
            self.chain[cluster] = cluster + 1
        self.chain[self.free - 1] = _END
        return first


def _below(name: str, folder: str) -> str | None:
    return name.removeprefix(f"{folder}/") if name.startswith(f"{folder}/") else None


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")


def _short(name: str) -> bytes:
    """The eleven bytes of an 8.3 name."""
    stem, _, ending = name.upper().partition(".")
    if not (0 < len(stem) <= 8 and len(ending) <= 3 and name.replace(".", "").isalnum()):
        raise UsageError(f"{name!r} is not a name for the EFI system partition of a stick")
    return stem.encode().ljust(8) + ending.encode().ljust(3)


def _entry(name: bytes, attributes: int, cluster: int, size: int) -> bytes:
    """One directory entry."""
    high, low = cluster >> 16, cluster & 0xFFFF
    return struct.pack(
        "<11sBBBHHHHHHHI", name, attributes, 0, 0, 0, _DATE, _DATE, high, 0, _DATE, low, size
    )
