"""An NTFS' boot sector told of other sectors: every byte of the volume stays where it is."""

from __future__ import annotations

import struct

import pytest

from rescue.restore.ntfsboot import NotSo, told


def boot(sector: int, each: int, total: int, hidden: int = 2048) -> bytes:
    area = bytearray(b"\xeb\x52\x90NTFS    ".ljust(4096, b"\x90"))
    struct.pack_into("<HB", area, 11, sector, each)
    struct.pack_into("<I", area, 28, hidden)
    struct.pack_into("<Q", area, 40, total)
    return bytes(area)


def shape(area: bytes) -> tuple[int, int, int]:
    """Sector, cluster, bytes up to the copy."""
    sector, each = struct.unpack_from("<HB", area, 11)
    each = 1 << (256 - each) if each > 128 else each
    return sector, each * sector, struct.unpack_from("<Q", area, 40)[0] * sector


@pytest.mark.parametrize("sectors", [8 * 1000, 8 * 12345])
def test_there_and_back(sectors: int) -> None:
    area, copy = told(boot(512, 8, sectors - 1), 4096, 256)
    assert shape(area) == (4096, 4096, copy) and copy == sectors * 512 - 4096
    assert len(area) == 4096 and area[32:40] == boot(512, 8, 1)[32:40]
    assert int.from_bytes(area[28:32], "little") == 256
    back, there = told(area, 512, 2048)
    assert there == sectors * 512 - 512 and back == boot(512, 8, sectors - 1)[:512]


def test_large_clusters_are_counted_as_a_power() -> None:
    area, _ = told(boot(4096, 128, 128 * 10), 512, None)
    assert area[13] == 256 - 10 and shape(area)[:2] == (512, 128 * 4096)
    again, _ = told(area.ljust(4096, b"\0"), 4096, None)
    assert again[13] == 128


@pytest.mark.parametrize(
    ("area", "why"),
    [
        (boot(512, 1, 7999), "shorter than a sector"),
        (boot(512, 8, 8000), "no room beside the copy"),
        (boot(512, 0, 7999), "makes no sense"),
        (bytes(512), "makes no sense"),
    ],
)
def test_what_cannot_be(area: bytes, why: str) -> None:
    with pytest.raises(NotSo, match=why):
        told(area, 4096, None)
