"""Whether what is mounted can change below: lines as the kernel prints them."""

from __future__ import annotations

import pytest

from rescue.allocation.node import mounted_read_only

READ = "36 35 8:3 / /run/rescue/places/sda3 ro,nosuid shared:7 - ext4 /dev/sda3 ro,norecovery\n"
BOUND = "37 35 8:3 / /home ro - ext4 /dev/sda3 rw,errors=remount-ro\n"
OTHER = "38 35 8:4 / /srv rw - xfs /dev/sda4 rw\n"
BTRFS = "39 35 0:41 /@ /mnt ro - btrfs /dev/sda5 ro,subvolid=256\n"


@pytest.mark.parametrize(
    ("table", "number", "name", "wanted"),
    [
        (READ + OTHER, "8:3", "/dev/sda3", True),
        (OTHER, "8:3", "/dev/sda3", False),
        # A read-only bind of what can be written elsewhere.
        (READ + BOUND, "8:3", "/dev/sda3", False),
        (BOUND, "8:3", "/dev/sda3", False),
        (BTRFS, "8:5", "/dev/sda5", True),
        ("nonsense\n1 2 8:3 / /x ro -\n", "8:3", "/dev/sda3", False),
        ("", "8:3", "/dev/sda3", False),
    ],
)
def test_only_read(table: str, number: str, name: str, wanted: bool) -> None:
    assert mounted_read_only(table, number, name) is wanted
