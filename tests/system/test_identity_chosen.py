"""New identifiers for chosen partitions, without some of them, and on a disk with other sectors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.boot.identifiers import identifiers
from tests.system import volumes
from tests.system.test_fit import cut_out, parts, verify_table
from tests.system.test_identity import (
    Machine,
    build,
    finish,
    identifier,
    volume_of,
    with_files,
    write,
)
from tests.system.test_other_sectors import disk_of
from tests.system.test_round_trip import digest, rescue

pytestmark = [pytest.mark.root]

KINDS = ("fat32", "ext4", "ntfs", "swap")
RESUME = "etc/initramfs-tools/conf.d/resume"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("chosen")
    made = build(folder, "gpt", KINDS)
    with_files("ext4", folder / "ext4.volume", folder, lambda root: write(root, files(made)))
    with_files("fat32", folder / "fat32.volume", folder, lambda root: write(root, {
        "loader/entries/a.conf": f"options root=UUID={made.ids['ext4']}\n"}))  # fmt: skip
    return finish(made)


def files(machine: Machine) -> dict[str, str | bytes]:
    """What a system says of its disks."""
    ids = machine.ids
    return {
        "etc/fstab": f"UUID={ids['ext4']} / ext4\nUUID={ids['fat32']} /boot/efi vfat\n"
        f"UUID={ids['swap']} none swap\nUUID={ids['ntfs']} /data ntfs\n",
        RESUME: f"RESUME=UUID={ids['swap']}\n",
        "boot/grub/grub.cfg": f"linux /vmlinuz root=UUID={ids['ext4']} resume=UUID={ids['swap']}\n",
    }


def text_in(volume: Path, folder: Path) -> dict[str, str]:
    with volumes.mounted(volumes.KINDS["ext4"], volume, folder / "look", read_only=True) as root:
        names = ("etc/fstab", RESUME, "boot/grub/grub.cfg")
        return {name: (root / name).read_text() for name in names}


def followed(machine: Machine, fresh: dict[str, str]) -> dict[str, str]:
    """The files with every identifier that became another one."""
    found = {}
    for name, content in files(machine).items():
        text = str(content)
        for kind, new in fresh.items():
            text = text.replace(machine.ids[kind], new)
        found[name] = text
    return found


def test_without_the_swap(machine: Machine, tmp_path: Path) -> None:
    back = tmp_path / "back.raw"
    words = ["restore", "--new-identity", "--leave-out", 4, machine.image, back]
    plan = rescue(*words, "--dry-run").stdout
    assert f"mkswap --uuid {machine.ids['swap']}" in plan
    assert "update-initramfs" not in plan, "the swap of the copy is none yet"
    rescue(*words)
    verify_table(back, "gpt")
    assert not identifiers(back) & identifiers(machine.disk)
    fresh = {}
    for kind in KINDS[:3]:
        volume = volume_of(machine, back, kind, tmp_path)
        fresh[kind] = identifier(volume)
        assert fresh[kind] and volumes.fault(volumes.KINDS[kind], volume) == "", kind
    assert text_in(tmp_path / "ext4.restored", tmp_path) == followed(machine, fresh)
    start, length = parts(back)[4]
    assert digest(back, start, start + MIB) == digest(back, start + length - MIB, start + length)
    volume = volume_of(machine, back, "swap", tmp_path)
    assert run(["blkid", "--probe", volume], check=False).stdout == b""


def test_on_sectors_of_4096(machine: Machine, tmp_path: Path) -> None:
    back = tmp_path / "back.raw"
    words = ["restore", "--new-identity", "--sector-size", 4096, machine.image, back]
    plan = rescue(*words, "--dry-run").stdout
    assert "not of partition 4. Run update-initramfs -u" in plan
    rescue(*words)
    with disk_of(back, 4096) as loop:
        verify_table(loop, "gpt")
        mine = identifiers(loop, 4096)
        assert not mine & identifiers(machine.disk)
        places = parts(loop)
        fresh = {}
        for number, kind in enumerate(KINDS, 1):
            volume = cut_out(back, places[number], tmp_path / f"{kind}.restored")
            fresh[kind] = identifier(volume)
            assert fresh[kind] and fresh[kind].lower() in mine, kind
            assert len(fresh[kind]) == len(machine.ids[kind])
    assert text_in(tmp_path / "ext4.restored", tmp_path) == followed(machine, fresh)
    entry = ["mtype", "-i", tmp_path / "fat32.restored", "::/loader/entries/a.conf"]
    assert fresh["ext4"] in run(entry).text


def test_beside_the_original_on_its_own_disk(machine: Machine, tmp_path: Path) -> None:
    """Two partitions into free room, one into another one; the first ones stay as they are."""
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(machine.disk.stat().st_size + 500 * MIB)
    rescue("restore", machine.image, disk, "--erase", disk)
    before = {n: digest(disk, start, start + length) for n, (start, length) in parts(disk).items()}
    words = ["restore", "--new-identity", machine.image, disk, "--erase", disk]
    plan = json.loads(rescue(*words, "-p", 2, "-p", 4, "--into", "free", "--dry-run",
                             "--json").stdout)  # fmt: skip
    asked = {(one["what"], one["partition"]) for one in plan["identity"]["ids"]}
    assert asked == {(what, n) for what in ("partition", "filesystem") for n in (2, 4)}
    done = rescue(*words, "-p", 2, "-p", 4, "--into", "free")
    assert "partition 2: etc/fstab, 2 identifiers changed" in done.stdout
    verify_table(disk, "gpt")
    places = parts(disk)
    now = {n: digest(disk, *(places[n][0], sum(places[n]))) for n in before}
    assert now == before, "what was there before has changed"
    table = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]["partitions"]
    assert len({one["uuid"] for one in table}) == len(table) == 6
    fresh = {}
    for kind, number in (("ext4", 5), ("swap", 6)):
        volume = cut_out(disk, places[number], tmp_path / f"{kind}.new")
        fresh[kind] = identifier(volume)
        assert fresh[kind] and fresh[kind] != machine.ids[kind], kind
    # What was not brought along is still named as it was: it is there.
    assert text_in(tmp_path / "ext4.new", tmp_path) == followed(machine, fresh)
    assert volumes.fault(volumes.KINDS["ext4"], tmp_path / "ext4.new") == ""
    # Into a partition that is there already: a new identifier, its entry stays.
    done = rescue(*words, "-p", 3, "--into", 5)
    assert "keeps its UUID" not in done.stdout + done.stderr
    volume = cut_out(disk, places[5], tmp_path / "ntfs.new")
    assert identifier(volume) not in ("", machine.ids["ntfs"], fresh["ext4"])
    assert volumes.fault(volumes.KINDS["ntfs"], volume) == ""
    again = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]["partitions"]
    assert again == table


def test_a_partition_at_its_own_place_is_no_second_one(machine: Machine, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    rescue("restore", machine.image, disk)
    whole = digest(disk, 0, disk.stat().st_size)
    words = ["restore", "--new-identity", machine.image, disk, "--erase", disk, "-p", 2]
    said = rescue(*words, ok=2).stderr
    assert "takes the place of it" in said and "hint: say --into N or --into free" in said
    assert digest(disk, 0, disk.stat().st_size) == whole
