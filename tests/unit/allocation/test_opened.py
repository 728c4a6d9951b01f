"""Tables of the device mapper, as dmsetup prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.allocation import opened
from rescue.allocation.opened import parse_table
from rescue.allocation.pieces import Piece
from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent
from rescue.devices import mapper

KEY = ":64:logon:cryptsetup:0b-d0"


def test_luks() -> None:
    text = f"0 204800 crypt aes-xts-plain64 {KEY} 0 8:3 32768 2 allow_discards sector_size:4096\n"
    assert parse_table(text, "8:3") == (Piece(0, 204800 * 512, 32768 * 512),)


def test_bitlocker_shows_nothing_where_its_own_structures_are() -> None:
    text = f"""0 16 crypt aes-xts-plain64 {KEY} 0 8:3 2000 0
16 1000 crypt aes-xts-plain64 {KEY} 16 8:3 16 0
1016 128 zero
1144 5000 crypt aes-xts-plain64 {KEY} 1144 8:3 1144 0
"""
    assert parse_table(text, "8:3") == (
        Piece(0, 16 * 512, 2000 * 512),
        Piece(16 * 512, 1000 * 512, 16 * 512),
        Piece(1144 * 512, 5000 * 512, 1144 * 512),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"0 8 crypt aes {KEY} 0 8:4 0 0", "between"),
        (f"0 8 crypt aes {KEY} 0 8:3 0 1 integrity:28:aead", "between"),
        ("0 8 linear 8:3 0", "linear is not understood"),
        ("0 8 integrity 8:3 0 28 J 0", "integrity is not understood"),
        (f"0 8 crypt aes {KEY} 0 8:3", "unexpected"),
        (f"0 eight crypt aes {KEY} 0 8:3 0", "unexpected"),
        ("0", "unexpected"),
    ],
)
def test_other_tables(text: str, why: str) -> None:
    with pytest.raises(ProgramFailed, match=why):
        parse_table(text, "8:3")


def mirror(
    folder: Path, level: str = "raid1", state: str = "in_sync", action: str = "idle"
) -> Path:
    """The files of /sys/block/md0/md that are looked at."""
    member = folder / "dev-sda2"
    member.mkdir()
    (folder / "level").write_text(f"{level}\n")
    (folder / "sync_action").write_text(f"{action}\n")
    (member / "state").write_text(f"{state}\n")
    (member / "offset").write_text("2048\n")
    return folder


def test_a_mirror_has_all_of_it(tmp_path: Path) -> None:
    assert opened._mirror(mirror(tmp_path, "raid1", "in_sync", "idle"), "sda2", 900) == (
        Piece(0, 900, 2048 * 512),
    )


@pytest.mark.parametrize(
    ("level", "state", "action", "why"),
    [
        ("raid5", "in_sync", "idle", "spreads over its disks"),
        ("raid1", "spare", "idle", "not in step"),
        ("raid1", "in_sync", "resync", "not in step"),
    ],
)
def test_other_arrays(tmp_path: Path, level: str, state: str, action: str, why: str) -> None:
    with pytest.raises(ProgramFailed, match=why):
        opened._mirror(mirror(tmp_path, level, state, action), "sda2", 900)


def test_a_device_of_pieces() -> None:
    pieces = [Extent(1 << 20, 4096), Extent(512, 1024)]
    assert mapper.table(Path("/dev/sda2"), pieces) == (
        "0 8 linear /dev/sda2 2048\n8 2 linear /dev/sda2 1\n"
    )
    with pytest.raises(ValueError, match="whole sectors"):
        mapper.table(Path("/dev/sda2"), [Extent(100, 512)])
