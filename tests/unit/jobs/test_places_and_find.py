"""Labels, serial numbers and WWNs lead to one disk, or to an error that says why they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, UsageError
from rescue.devices.model import Disk, Use
from rescue.jobs import describe
from rescue.jobs.find import find, find_disk, label_patiently
from rescue.jobs.model import DiskName, parse_job
from rescue.jobs.places import (
    Filesystem,
    Place,
    add_blkid,
    by_label,
    parse_lsblk,
    without_bare_disks,
)

LSBLK = {
    "blockdevices": [
        {
            "name": "sda",
            "path": "/dev/sda",
            "type": "disk",
            "size": 1000,
            "fstype": None,
            "label": None,
            "partlabel": None,
            "uuid": None,
            "mountpoints": [None],
            "children": [
                {
                    "name": "sda1",
                    "path": "/dev/sda1",
                    "type": "part",
                    "size": 400,
                    "fstype": "ext4",
                    "label": "root",
                    "partlabel": "Linux",
                    "uuid": "u1",
                    "mountpoints": ["/"],
                },
                {
                    "name": "sda2",
                    "path": "/dev/sda2",
                    "type": "part",
                    "size": 500,
                    "fstype": "crypto_LUKS",
                    "label": None,
                    "partlabel": "home",
                    "uuid": "u2",
                    "mountpoints": [],
                    "children": [
                        {
                            "name": "home",
                            "path": "/dev/mapper/home",
                            "type": "crypt",
                            "size": 490,
                            "fstype": "xfs",
                            "label": "home",
                            "partlabel": None,
                            "uuid": "u3",
                            "mountpoints": ["[SWAP]"],
                        }
                    ],
                },
            ],
        },
        {
            "name": "sdb",
            "path": "/dev/sdb",
            "type": "disk",
            "size": 2000,
            "fstype": "exfat",
            "label": "STORE",
            "partlabel": None,
            "uuid": "u4",
            "mountpoints": [None],
        },
        {"name": "sr0", "path": "/dev/sr0", "type": "rom", "size": 5, "fstype": "iso9660"},
        {"name": "sdc", "path": "/dev/sdc", "type": "disk", "size": 0, "fstype": None},
    ]
}
NODES = parse_lsblk(json.dumps(LSBLK))
FILESYSTEMS = without_bare_disks(NODES)


def disk(name: str, serial: str = "", wwn: str = "", **more: object) -> Disk:
    """A disk with what these tests look at."""
    made = Disk(Path("/dev") / name, "block", 1000, 512, 512, serial=serial, wwn=wwn)
    return Disk(**{**{k: getattr(made, k) for k in Disk.__slots__}, **more})  # type: ignore[arg-type]


DISKS = (disk("sda", "MACHINE01", "0x5000A"), disk("sdb", "STORE01"))


def test_lsblk_becomes_nodes_that_know_their_disk() -> None:
    assert [str(one.node) for one in NODES] == [
        "/dev/sda",
        "/dev/sda1",
        "/dev/sda2",
        "/dev/mapper/home",
        "/dev/sdb",
    ]
    assert {str(one.disk) for one in NODES[:4]} == {"/dev/sda"}
    root, locked, home, store = FILESYSTEMS
    assert root.mounted == Path("/")
    assert home.mounted is None, "swap is no place"
    assert (root.mountable, locked.mountable, store.mountable) == (True, False, True)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"blockdevices": [{}]}', '{"blockdevices": 1}'])
def test_what_is_not_from_lsblk(text: str) -> None:
    with pytest.raises(DiskTrouble, match="lsblk printed something unexpected"):
        parse_lsblk(text)


def test_blkid_fills_what_lsblk_left_out() -> None:
    bare = NODES[0]
    text = "DEVNAME=/dev/sda\nLABEL=my\\ disk\nTYPE=ntfs\nPART_ENTRY_NAME=a\\x20b\nUUID=77\n"
    full = add_blkid(bare, text)
    assert (full.kind, full.label, full.partition_label, full.uuid) == (
        "ntfs",
        "my disk",
        "a b",
        "77",
    )
    assert add_blkid(NODES[1], text).label == "root", "lsblk's own word stays"
    assert add_blkid(bare, "") == bare


def test_labels() -> None:
    assert by_label("STORE", FILESYSTEMS).node == Path("/dev/sdb")
    assert by_label("home", FILESYSTEMS).node == Path("/dev/mapper/home"), "filesystems come first"
    assert by_label("Linux", FILESYSTEMS).node == Path("/dev/sda1")
    with pytest.raises(DiskTrouble, match="no filesystem or partition has the label 'nobody'"):
        by_label("nobody", FILESYSTEMS)
    with pytest.raises(DiskTrouble, match="not clear: /dev/sdb, /dev/sdb"):
        by_label("STORE", (*FILESYSTEMS, FILESYSTEMS[-1]))


def test_disks_by_serial_wwn_and_label() -> None:
    for name in (
        DiskName("serial", "machine01"),
        DiskName("wwn", "0X5000a"),
        DiskName("label", "root"),
    ):
        assert find_disk(name, DISKS, FILESYSTEMS).path == Path("/dev/sda")
    with pytest.raises(DiskTrouble, match="there is no disk with serial GONE"):
        find_disk(DiskName("serial", "GONE"), DISKS, FILESYSTEMS)
    with pytest.raises(DiskTrouble, match="not clear: /dev/sda, /dev/sda"):
        find_disk(DiskName("serial", "MACHINE01"), (*DISKS, DISKS[0]), FILESYSTEMS)


def test_an_empty_serial_never_matches() -> None:
    nameless = (disk("sdd"),)
    with pytest.raises(DiskTrouble):
        find_disk(DiskName("wwn", "0x0"), nameless, FILESYSTEMS)


CAPTURE = """
action = "capture"
source = { serial = "MACHINE01" }
image = { label = "STORE", path = "pc.rescue" }
"""


def test_a_job_finds_disk_and_store() -> None:
    found = find(parse_job(CAPTURE), DISKS, FILESYSTEMS)
    assert found.disk == DISKS[0]
    assert found.store is not None
    assert found.store.node == Path("/dev/sdb")
    assert "source: /dev/sda" in " ".join(found.lines(parse_job(CAPTURE)))


def test_an_image_never_lies_on_the_disk_of_the_job() -> None:
    with pytest.raises(UsageError, match="the very disk that would be captured"):
        find(parse_job(CAPTURE.replace("STORE", "root")), DISKS, FILESYSTEMS)
    with pytest.raises(UsageError, match="cannot be made on the boot medium"):
        find(parse_job(CAPTURE.replace("STORE", "medium")), DISKS, FILESYSTEMS)


RESTORE = """
action = "restore"
target = { serial = "MACHINE01" }
image = { label = "STORE", path = "pc.rescue" }
erase = "MACHINE01"
"""


def test_a_key_is_found_and_never_lies_on_what_is_erased() -> None:
    job = parse_job(RESTORE + 'key_file = { label = "STORE", path = "pc.key" }')
    found = find(job, DISKS, FILESYSTEMS)
    (key,) = found.keys
    assert key.filesystem is not None
    assert key.filesystem.node == Path("/dev/sdb")
    said = found.lines(job)
    assert "key in STORE:pc.key, on /dev/sdb" in said
    assert any("lies beside it" in line for line in said)
    on_medium = parse_job(RESTORE + 'passphrase_file = { label = "medium", path = "words" }')
    found = find(on_medium, DISKS, FILESYSTEMS)
    assert found.keys[0].filesystem is None
    assert "passphrase in medium:words, on the boot medium" in found.lines(on_medium)
    assert not any("lies beside it" in line for line in found.lines(on_medium))
    with pytest.raises(UsageError, match=r"the key in root:pc\.key lies on /dev/sda, the very"):
        find(
            parse_job(RESTORE + 'key_file = { label = "root", path = "pc.key" }'),
            DISKS,
            FILESYSTEMS,
        )
    with pytest.raises(DiskTrouble, match="no filesystem or partition has the label 'GONE'"):
        find(parse_job(RESTORE + PASSWORD.replace("KEYS", "GONE")), DISKS, FILESYSTEMS)


PASSWORD = 'passphrase_file = { label = "KEYS", path = "words" }'


def test_slow_disks_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [(), (), FILESYSTEMS]
    monkeypatch.setattr("rescue.jobs.find.list_filesystems", lambda: seen.pop(0))
    monkeypatch.setattr("rescue.jobs.find.settle", lambda: None)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    said: list[str] = []
    assert label_patiently("STORE", said.append, wait=30).node == Path("/dev/sdb")
    assert len(said) == 1
    assert "waiting up to 30 s: no filesystem or partition has the label 'STORE'" in said[0]
    with pytest.raises(DiskTrouble):
        monkeypatch.setattr("rescue.jobs.find.list_filesystems", lambda: ())
        label_patiently("STORE", said.append, wait=0)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "/../etc/passwd"])
def test_paths_stay_inside_their_place(path: str, tmp_path: Path) -> None:
    place = Place(FILESYSTEMS[-1], tmp_path, True)
    with pytest.raises(UsageError, match="leads out of the filesystem"):
        place.file(path)


def test_paths_inside_a_place(tmp_path: Path) -> None:
    place = Place(FILESYSTEMS[-1], tmp_path, True)
    assert place.file("/images/pc.rescue") == tmp_path / "images" / "pc.rescue"


def test_disks_in_words() -> None:
    used = disk("sda", "MACHINE01", uses=(Use("mounted", Path("/dev/sda1"), "/"),), read_only=True)
    rows = describe.disk_lines([used, DISKS[1]], FILESYSTEMS)
    words = [" ".join(row) for row in rows]
    assert "MACHINE01" in words[1]
    assert 'sda1: ext4 "root", 400 B' in words[1]
    assert any("/dev/sda1 is mounted on /" in line for line in words)
    assert any("read-only" in line for line in words)
    unknown = Filesystem(Path("/dev/x"), Path("/dev/x"), 1024, "", "", "data", "", None)
    assert describe.volume_words(unknown) == 'no known filesystem, named "data", 1.0 KiB'
