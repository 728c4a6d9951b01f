"""The FAT reader on structures made by hand, sound and hostile."""

from __future__ import annotations

import errno
import stat
import struct
import time

import pytest

from rescue.core.extent import Extent, ExtentMap
from rescue.view.fat import Fat, FatFile, parse_boot, parse_folder
from rescue.view.nodes import Folder

SECTOR = 512


def boot(*, total: int, fat: int, spc: int = 1, entries: int = 512, root: int = 0) -> bytes:
    """A boot sector: FAT32 when ``root`` is given."""
    block = bytearray(SECTOR)
    small = (fat, 0) if not root else (0, fat)
    struct.pack_into("<HBHBHHBHHHII", block, 11, SECTOR, spc, 1, 2, entries, 0, 0xF8, small[0],
                     0, 0, 0, total)  # fmt: skip
    if root:
        struct.pack_into("<I", block, 36, small[1])
        struct.pack_into("<I", block, 44, root)
    return bytes(block)


def short(
    name: bytes, *, flags: int = 0x20, cluster: int = 0, size: int = 0, case: int = 0
) -> bytes:
    day, clock = (2024 - 1980) << 9 | 5 << 5 | 6, 7 << 11 | 8 << 5 | 10
    return struct.pack("<11sBBBHHHHHHHI", name, flags, case, 0, 0, 0, 0, cluster >> 16, clock, day,
                       cluster & 0xFFFF, size)  # fmt: skip


def checksum(name: bytes) -> int:
    total = 0
    for byte in name:
        total = (((total & 1) << 7) + (total >> 1) + byte) & 0xFF
    return total


def long(text: str, name: bytes) -> bytes:
    data = text.encode("utf-16-le")
    data += b"\0\0" if len(data) % 26 else b""
    data += b"\xff" * (-len(data) % 26)
    pieces = [data[at : at + 26] for at in range(0, len(data), 26)]
    blocks = []
    for number, piece in enumerate(pieces, start=1):
        order = number | (0x40 if number == len(pieces) else 0)
        blocks.append(
            bytes([order]) + piece[:10] + b"\x0f\0" + bytes([checksum(name)]) + piece[10:22]
            + b"\0\0" + piece[22:]
        )  # fmt: skip
    return b"".join(reversed(blocks)) + short(name)


class Memory:
    """A volume in memory; whatever was not set is zero."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes = bytearray(size)
        self.data = ExtentMap.single(0, size)

    def read(self, offset: int, length: int) -> list[bytes]:
        return [bytes(self.bytes[offset : offset + length])]


def fat16(chains: dict[int, int], clusters: dict[int, bytes], root: bytes) -> Fat:
    total, fat = 6000, 24
    volume = Memory(total * SECTOR)
    volume.bytes[:SECTOR] = boot(total=total, fat=fat)
    for cluster, following in chains.items():
        struct.pack_into("<H", volume.bytes, SECTOR + 2 * cluster, following)
    root_at = (1 + 2 * fat) * SECTOR
    volume.bytes[root_at : root_at + len(root)] = root
    data = root_at + 512 * 32
    for cluster, content in clusters.items():
        at = data + (cluster - 2) * SECTOR
        volume.bytes[at : at + len(content)] = content
    return Fat(volume, Extent(0, volume.size))


def file_of(fat: Fat, name: bytes) -> FatFile:
    node = fat.tree().entries()[name]
    assert isinstance(node, FatFile)
    return node


def test_the_three_kinds_are_told_apart() -> None:
    assert parse_boot(boot(total=2000, fat=6), 2000 * SECTOR).bits == 12
    assert parse_boot(boot(total=60_000, fat=240), 60_000 * SECTOR).bits == 16
    large = boot(total=200_000, fat=1600, entries=0, root=2)
    assert parse_boot(large, 200_000 * SECTOR).bits == 32


@pytest.mark.parametrize(
    "sector",
    [
        bytes(512),
        b"\xff" * 512,
        b"",
        boot(total=0, fat=6),
        boot(total=2000, fat=0),
        boot(total=2000, fat=6, spc=3),
        boot(total=4001, fat=6),
        boot(total=2000, fat=1500),
    ],
)
def test_what_is_no_fat_is_refused(sector: bytes) -> None:
    with pytest.raises(ValueError):
        parse_boot(sector, 4000 * SECTOR)


def test_names_long_short_and_damaged() -> None:
    name = b"LONGNA~1TXT"
    text = "a long näme, longer than thirteen letters 名前.txt"
    content = (
        short(b"VOLUME     ", flags=8)
        + long(text, name)
        + short(b"README  TXT", case=0x18)
        + b"\xe5" + short(b"GONE    TXT")[1:]
        + long("not its own", name)[:-32] + short(b"OTHER   BIN")
        + short(b".          ", flags=0x10) + short(b"..         ", flags=0x10)
        + long("../climbs/out", b"CLIMBS~1   ")
        + bytes(32) + short(b"BEHIND  END")
    )  # fmt: skip
    names = [entry.name for entry in parse_folder(content)]
    assert names == [text, "readme.txt", "OTHER.BIN"]
    when = next(parse_folder(content)).time
    assert time.localtime(when // 10**9)[:6] == (2024, 5, 6, 7, 8, 20)


def test_a_file_follows_its_chain() -> None:
    root = short(b"FILE       ", cluster=5, size=1200)
    parts = {5: b"a" * 512, 9: b"b" * 512, 6: b"c" * 512}
    fat = fat16({5: 9, 9: 6, 6: 0xFFFF}, parts, root)
    file = file_of(fat, b"FILE")
    assert file.size == 1200
    assert b"".join(file.read(0, 5000)) == b"a" * 512 + b"b" * 512 + b"c" * 176
    assert b"".join(file.read(500, 20)) == b"a" * 12 + b"b" * 8
    assert b"".join(file.read(1200, 10)) == b""


@pytest.mark.parametrize("chain", [{5: 0xFFFF}, {5: 0}, {5: 1}, {5: 0xFFF0}])
def test_a_chain_that_is_too_short_is_an_error(chain: dict[int, int]) -> None:
    file = file_of(fat16(chain, {}, short(b"FILE       ", cluster=5, size=1200)), b"FILE")
    assert len(b"".join(file.read(0, 512))) == 512
    with pytest.raises(OSError) as caught:
        file.read(600, 10)
    assert caught.value.errno == errno.EIO


def test_chains_in_circles_end() -> None:
    huge = file_of(
        fat16({5: 6, 6: 5}, {}, short(b"FILE       ", cluster=5, size=0xFFFFFFFF)), b"FILE"
    )
    started = time.monotonic()
    assert len(b"".join(huge.read(0, 4096))) == 4096
    folder = fat16({5: 5}, {5: short(b"ME         ", flags=0x10, cluster=5)},
                   short(b"ME         ", flags=0x10, cluster=5))  # fmt: skip
    node, depth = folder.tree(), 0
    with pytest.raises(OSError) as caught:
        while True:
            below = node.entries()[b"ME"]
            assert isinstance(below, Folder)
            node, depth = below, depth + 1
    assert caught.value.errno == errno.ELOOP
    assert depth < 100
    assert time.monotonic() - started < 10


def test_modes_say_what_is_read_only() -> None:
    root = short(b"LOCKED     ", flags=1) + short(b"FOLDER     ", flags=0x10)
    entries = fat16({}, {}, root).tree().entries()
    assert entries[b"LOCKED"].mode == stat.S_IFREG | 0o555
    assert entries[b"FOLDER"].mode == stat.S_IFDIR | 0o755
    below = entries[b"FOLDER"]
    assert isinstance(below, Folder)
    assert below.entries() == {}
