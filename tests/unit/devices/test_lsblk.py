"""Parsing lsblk: recorded and composed machines; no process is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble
from rescue.devices.discover import parse_lsblk
from rescue.devices.model import Disk, Use

MACHINES = Path(__file__).parents[2] / "fixtures" / "lsblk"


def machine(name: str) -> dict[str, Disk]:
    text = (MACHINES / f"{name}.json").read_text()
    return {disk.path.name: disk for disk in parse_lsblk(text)}


def test_virtual_machine() -> None:
    disks = machine("virtual-machine")
    assert list(disks) == ["vda"]
    disk = disks["vda"]
    assert (disk.size, disk.sector_size, disk.physical_sector_size) == (274877906944, 512, 4096)
    assert (disk.transport, disk.model, disk.rotational) == ("virtio", "", True)
    assert disk.uses == (Use("mounted", Path("/dev/vda"), "/"),)


def test_laptop_with_luks_and_lvm() -> None:
    disks = machine("laptop-luks-lvm")
    disk = disks["nvme0n1"]
    assert disk.identity == "S5GXNX0R123456K"
    assert disk.model == "Samsung SSD 980 PRO 500GB"
    root = Path("/dev/nvme0n1p3")
    assert disk.uses == (
        Use("mounted", Path("/dev/nvme0n1p1"), "/boot/efi"),
        Use("mounted", Path("/dev/nvme0n1p2"), "/boot"),
        Use("holder", root, "/dev/mapper/nvme0n1p3_crypt (crypt)"),
        Use("holder", Path("/dev/mapper/nvme0n1p3_crypt"), "/dev/mapper/vg-root (lvm)"),
        Use("mounted", Path("/dev/mapper/vg-root"), "/"),
        Use("holder", Path("/dev/mapper/nvme0n1p3_crypt"), "/dev/mapper/vg-swap_1 (lvm)"),
        Use("swap", Path("/dev/mapper/vg-swap_1")),
    )
    stick = disks["sda"]
    assert (stick.model, stick.removable, stick.transport) == ("SanDisk Ultra Fit", True, "usb")
    assert stick.uses == (Use("mounted", Path("/dev/sda1"), "/media/a b\tc"),)


def test_server_with_raid() -> None:
    disks = machine("server-raid")
    # An empty card reader is no disk; a DVD is one to be looked at.
    assert list(disks) == ["sda", "sdb", "sdc", "sr0"]
    for name in ("sda", "sdb"):
        member = Path(f"/dev/{name}1")
        assert disks[name].uses == (
            Use("holder", member, "/dev/md0 (raid1)"),
            Use("mounted", Path("/dev/md0"), "/srv"),
        )
        assert disks[name].model == "WDC WD40EFRX-68N32N0"
    assert disks["sdc"].identity == "0x5000c500a0000003"
    assert (disks["sdc"].sector_size, disks["sdc"].uses) == (4096, ())
    assert disks["sr0"].node_type == "rom"


def test_rescue_media() -> None:
    """Debian 13's lsblk on the media themselves, with one disk of each transport."""
    disks = machine("rescue-media")
    assert list(disks) == ["loop0", "loop1", "sda", "sdb", "sdc", "sdd", "vda", "vdb", "nvme0n1"]
    assert [(d.transport, d.identity) for name, d in disks.items() if name[:4] != "loop"] == [
        ("", "SCSI01"),
        ("sata", "SATA01"),
        ("usb", "1-0000:00:01.0-1"),
        ("usb", "USB01"),
        ("virtio", "CODE"),
        ("virtio", "VIRTIO01"),
        ("nvme", "NVME01"),
    ]
    assert all(disk.read_only for disk in disks.values())
    assert disks["sda"].sector_size == 4096
    assert disks["sda"].model == "QEMU HARDDISK"
    assert [use.detail for use in disks["sdc"].uses] == ["/run/live/medium"]
    assert [name for name, disk in disks.items() if not disk.uses] == [
        *("sda", "sdb", "sdd", "vdb", "nvme0n1")
    ]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"blockdevices": 3}', '{"blockdevices": [{}]}', '{"blockdevices": [7]}'],
)
def test_something_else_is_one_clear_error(text: str) -> None:
    with pytest.raises(DiskTrouble, match="lsblk printed something unexpected"):
        parse_lsblk(text)


def disk(**changes: object) -> Disk:
    values: dict[str, object] = {
        "path": Path("/dev/sdz"),
        "kind": "block",
        "size": 1 << 30,
        "sector_size": 512,
        "physical_sector_size": 512,
    }
    return Disk(**{**values, **changes})  # type: ignore[arg-type]


def test_identity_is_serial_then_wwn_then_path() -> None:
    assert disk(serial="S1", wwn="0x5").identity == "S1"
    assert disk(wwn="0x5").identity == "0x5"
    assert disk().identity == "/dev/sdz"
    assert disk(kind="file", path=Path("a.img"), node_type="file").identity == "a.img"


def test_matches_serial_and_wwn_in_any_case_but_no_path() -> None:
    known = disk(serial="Ab-1", wwn="0x5000C500")
    for identity in ("ab-1", " AB-1 ", "0x5000c500"):
        assert known.matches(identity)
    for identity in ("", " ", "ab", "ab-12", "/dev/sdz", "sdz"):
        assert not known.matches(identity)


def test_matches_path_of_files_and_nameless_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = disk(kind="file", path=Path("a.img"), node_type="file")
    for identity in ("a.img", "./a.img", str(tmp_path / "a.img")):
        assert file.matches(identity)
    assert not file.matches("b.img")
    assert disk().matches("/dev/sdz")
    assert disk(node_type="loop", path=Path("/dev/loop3")).matches("/dev/loop3")
