"""Whether a filesystem was closed cleanly, from structures made here field by field."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescue.allocation.state import Judged, judge
from rescue.core.extent import Extent
from rescue.devices.blockio import Source

SIZE = 1 << 20
# The volume lies in the middle of the disk: every offset must be counted from its start.
START = 3 * 4096


def judged(path: Path, fs: str, volume: bytes | bytearray) -> Judged:
    path.write_bytes(b"\xa5" * START + bytes(volume) + b"\xa5" * 4096)
    with Source(path) as source:
        return judge(source, fs, Extent(START, len(volume)))


def put(volume: bytearray, form: str, place: int, *values: int) -> bytearray:
    struct.pack_into(form, volume, place, *values)
    return volume


def ext(status: int = 1, incompatible: int = 0x40) -> bytearray:
    volume = bytearray(SIZE)
    put(volume, "<I", 1024 + 4, 200)
    put(volume, "<I", 1024 + 0x18, 2)
    put(volume, "<H", 1024 + 0x3A, status)
    return put(volume, "<I", 1024 + 0x60, incompatible)


def btrfs(log_root: int = 0, devices: int = 1) -> bytearray:
    volume = bytearray(SIZE)
    put(volume, "<Q", 65536 + 0x60, log_root)
    put(volume, "<Q", 65536 + 0x88, devices)
    return put(volume, "<Q", 65536 + 0xC9 + 8, SIZE)


def f2fs(flags: tuple[int, int], versions: tuple[int, int] = (7, 6)) -> bytearray:
    volume = bytearray(SIZE)
    put(volume, "<II", 1024 + 16, 12, 4)
    put(volume, "<Q", 1024 + 36, SIZE // 4096)
    put(volume, "<I", 1024 + 76, 32)
    for number in (0, 1):
        pack = (32 + 16 * number) * 4096
        put(volume, "<Q", pack, versions[number])
        put(volume, "<I", pack + 132, flags[number])
    return volume


def record(attribute: bytes) -> bytes:
    """An MFT record of 1,024 bytes with one attribute, its update sequence in place."""
    raw = bytearray(1024)
    raw[:4] = b"FILE"
    struct.pack_into("<HH", raw, 4, 48, 3)
    struct.pack_into("<H", raw, 20, 56)
    raw[56 : 56 + len(attribute)] = attribute
    struct.pack_into("<I", raw, 56 + len(attribute), 0xFFFFFFFF)
    return protected(raw, 48)


def protected(raw: bytearray, at: int) -> bytes:
    raw[at : at + 2] = b"\x07\x00"
    for index in range(1, len(raw) // 512 + 1):
        raw[at + 2 * index : at + 2 * index + 2] = raw[index * 512 - 2 : index * 512]
        raw[index * 512 - 2 : index * 512] = b"\x07\x00"
    return bytes(raw)


def restart_page(lsn: int, *, open_client: bool, flags: int = 0, major: int = 1) -> bytes:
    raw = bytearray(4096)
    raw[:4] = b"RSTR"
    struct.pack_into("<HH", raw, 4, 30, 9)
    struct.pack_into("<IIHHH", raw, 16, 4096, 4096, 64, 1 if major == 1 else 0, major)
    struct.pack_into("<QHHHH", raw, 64, lsn, 1, 0, 0 if open_client else 0xFFFF, flags)
    return protected(raw, 30)


def ntfs(pages: bytes = b"\xff" * 8192, flags: int = 0) -> bytearray:
    volume = bytearray(SIZE)
    volume[3:11] = b"NTFS    "
    put(volume, "<HB", 11, 512, 8)
    put(volume, "<QQQb", 40, SIZE // 512 - 1, 4, 8, -10)
    run_list = b"\x11\x02\x40\x00".ljust(8, b"\0")  # two clusters at cluster 64
    data = struct.pack("<IIBBHHHQQH6xQQQ", 0x80, 72, 1, 0, 64, 0, 0, 0, 1, 64, 8192, 8192, 8192)
    information = struct.pack("<IIBBHHHIH2x8xBBH4x", 0x70, 40, 0, 0, 24, 0, 0, 12, 24, 3, 1, flags)
    volume[4 * 4096 + 2048 : 4 * 4096 + 3072] = record(data + run_list)
    volume[4 * 4096 + 3072 : 4 * 4096 + 4096] = record(information)
    volume[64 * 4096 : 64 * 4096 + len(pages)] = pages
    return volume


def xfs() -> bytearray:
    volume = bytearray(SIZE)
    put(volume, ">IQ", 4, 4096, SIZE // 4096)
    put(volume, ">Q", 48, 16)
    put(volume, ">I", 84, 256)
    put(volume, ">I", 96, 64)
    volume[124] = 8
    put(volume, ">IIII", 65536, 0xFEEDBABE, 1, 2, 512)
    put(volume, ">I", 65536 + 40, 1)
    put(volume, ">I", 65536 + 320, 32768)
    put(volume, ">IIBB", 65536 + 512, 1, 0, 0, 0x20)
    return volume


def exfat(flags: int) -> bytearray:
    volume = bytearray(SIZE)
    put(volume, "<Q", 72, SIZE // 512)
    return put(volume, "<HBB", 106, flags, 9, 3)


CLOSED = restart_page(9, open_client=False)
OPEN = restart_page(10, open_client=True)


@pytest.mark.parametrize(
    ("fs", "volume", "state", "current"),
    [
        ("ext4", ext(), "clean", True),
        ("ext3", ext(incompatible=0x44), "dirty", False),
        ("ext2", ext(status=0), "dirty", False),
        ("ext4", ext(status=3), "dirty", False),
        ("xfs", xfs(), "clean", True),
        ("xfs", put(xfs(), ">I", 65536 + 40, 2), "dirty", False),
        ("xfs", put(xfs(), ">Q", 48, 0), "dirty", False),
        ("btrfs", btrfs(), "clean", True),
        ("btrfs", btrfs(log_root=4096), "dirty", False),
        ("btrfs", btrfs(devices=2), "unknown", False),
        ("f2fs", f2fs((1, 0)), "clean", True),
        ("f2fs", f2fs((0, 1)), "dirty", False),
        ("f2fs", f2fs((0, 1), (5, 6)), "clean", True),
        ("f2fs", f2fs((0x11, 1)), "dirty", False),
        ("exfat", exfat(0), "clean", True),
        ("exfat", exfat(2), "dirty", False),
        ("exfat", exfat(4), "dirty", False),
        ("ntfs", ntfs(), "clean", True),
        ("ntfs", ntfs(flags=1), "dirty", False),
        ("ntfs", ntfs(CLOSED * 2), "clean", True),
        ("ntfs", ntfs(CLOSED + OPEN), "dirty", False),
        ("ntfs", ntfs(OPEN + restart_page(11, open_client=True, flags=2)), "clean", True),
        ("ntfs", ntfs(restart_page(9, open_client=False, major=2) * 2), "hibernated", False),
        ("ntfs", ntfs(bytes(8192)), "unknown", False),
        ("zfs", bytes(SIZE), "unknown", False),
    ],
)
def test_states(tmp_path: Path, fs: str, volume: bytearray, state: str, current: bool) -> None:
    found = judged(tmp_path / "disk", fs, volume)
    assert (found.state, found.map_is_current) == (state, current), found
    assert current or found.reason


def test_where_a_filesystem_ends(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    assert judged(path, "ext4", ext()).size == 200 * 4096
    assert judged(path, "xfs", xfs()).size == SIZE
    assert judged(path, "exfat", exfat(0)).size == SIZE
    found = judged(path, "ntfs", ntfs())
    # The copy of the boot sector is the first sector behind the filesystem.
    assert found.size == SIZE - 512
    assert found.also == ((SIZE - 512, SIZE),)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("state") / "disk"
    yield path
    path.unlink()


VOLUMES = {
    "ext4": (ext(), 1024),
    "xfs": (xfs(), 0),
    "btrfs": (btrfs(), 65536),
    "f2fs": (f2fs((1, 0)), 1024),
    "exfat": (exfat(0), 0),
    "vfat": (bytearray(SIZE), 0),
    "ntfs": (ntfs(), 0),
}


@given(
    st.sampled_from(sorted(VOLUMES)),
    st.integers(0, 300),
    st.binary(min_size=1, max_size=64),
    st.booleans(),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_it_fail(scratch: Path, fs: str, place: int, data: bytes, deep: bool) -> None:
    volume, base = VOLUMES[fs]
    changed = bytearray(volume)
    if deep and fs == "ntfs":
        base = 4 * 4096 + 2048 + (place & 1) * 1024
    changed[base + place : base + place + len(data)] = data
    found = judged(scratch, fs, changed)
    assert found.map_is_current or found.reason
