"""Logical volumes made by LVM's own tools: only what is used inside them is captured.

The kernel needs no device mapper for it: volumes are made without being activated, and their
content is put where their extents lie. What needs one (several pieces, snapshots, pools, LUKS) is
tested in a guest of the project's own medium.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rescue.allocation import lvm
from rescue.core import process
from rescue.core.extent import Extent, ExtentMap
from rescue.core.process import run
from rescue.core.units import MIB
from tests.system import volumes
from tests.system.test_allocation import map_of, restored
from tests.system.test_round_trip import rescue

pytestmark = pytest.mark.root
START = 8 * MIB
SIZE = 900 * MIB
GROUP = "tested"
_CONFIG = (
    "devices{use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source=none "
    'filter=["a|^%s$|","r|.*|"]} backup{backup=0 archive=0}'
)


def lvm2(node: str, *words: object) -> None:
    """One of LVM's commands, with nothing but this device to see."""
    quiet = {"LVM_SUPPRESS_FD_WARNINGS": "1"}
    verb, *rest = map(str, words)
    run(["lvm", verb, "--config", _CONFIG % node, "--driverloaded", "n", *rest], env=quiet)


@contextmanager
def shown(disk: Path, region: Extent) -> Iterator[str]:
    """A loop device of a part of a disk file."""
    words = ["losetup", "--find", "--show", "--offset", str(region.start)]
    loop = run([*words, "--sizelimit", str(region.length), str(disk)]).text.strip()
    try:
        yield loop
    finally:
        run(["losetup", "--detach", loop])


@dataclass(frozen=True)
class Group:
    """A disk file with a partition that holds a group.

    Attributes:
        files: hashes of the files of each volume.
        places: of each volume in one piece, on the disk.
    """

    disk: Path
    region: Extent
    files: dict[str, volumes.Hashes]
    places: dict[str, Extent]


def group_of(tmp_path: Path, kinds: Sequence[str] = ("ext4", "xfs", "ntfs")) -> Group:
    """A GPT disk with one physical volume: filesystems, swap, room that nobody has."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    script = f"label: gpt\nstart={START // 512}, size={(SIZE - 10 * MIB) // 512}, type=lvm\n"
    run(["sfdisk", "--quiet", str(disk)], input=script.encode())
    region = Extent(START, SIZE - 10 * MIB)
    with shown(disk, region) as node:
        lvm2(node, "pvcreate", "--quiet", node)
        lvm2(node, "vgcreate", GROUP, node)
        lvcreate = ["lvcreate", "-an", "-Zn", "-Wn", "--yes", "--size"]
        lvm2(node, *lvcreate, f"{16 * MIB}b", "--name", "swap", GROUP)
        for name in kinds:
            lvm2(node, *lvcreate, f"{volumes.KINDS[name].size}b", "--name", name, GROUP)
        found = lvm.read(Path(node), region.length)
    places = {
        one.name: Extent(START + one.pieces[0].outer, one.pieces[0].length) for one in found.volumes
    }
    # Old content everywhere: what is not captured must not be needed.
    with disk.open("r+b") as file:
        everywhere = found.extents
        for at in range(everywhere.start, everywhere.end, 4 * MIB):
            os.pwrite(file.fileno(), b"\xa5" * (4 * MIB), START + at)
    files = {}
    for name in kinds:
        volume = tmp_path / f"{name}.volume"
        files[name] = volumes.make(volumes.KINDS[name], volume, tmp_path)
        put(volume, disk, places[name])
        volume.unlink()
    swap = tmp_path / "swap.volume"
    swap.write_bytes(os.urandom(places["swap"].length))
    run(["mkswap", str(swap)])
    put(swap, disk, places["swap"])
    return Group(disk, region, files, places)


def put(volume: Path, disk: Path, place: Extent) -> None:
    """Write a volume file to its place, which it fills."""
    assert volume.stat().st_size == place.length
    words = ["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={place.start // MIB}"]
    run([*words, "conv=notrunc"])


def taken(disk: Path, place: Extent, volume: Path) -> Path:
    """The volume at a place of a disk file, as a file."""
    words = ["dd", f"if={disk}", f"of={volume}", "bs=1M", f"skip={place.start // MIB}"]
    run([*words, f"count={place.length // MIB}", "conv=sparse"])
    return volume


def check(group: Group, disk: Path, scratch: Path) -> None:
    """Every filesystem on ``disk`` is whole and has its files."""
    for name, before in group.files.items():
        kind = volumes.KINDS[name]
        volume = taken(disk, group.places[name], scratch / "taken")
        assert volumes.fault(kind, volume) == "", name
        assert volumes.read(kind, volume, scratch) == before, name
        volume.unlink()


def test_used_bytes_of_logical_volumes(tmp_path: Path) -> None:
    group = group_of(tmp_path)
    mapped = map_of(group.disk, group.region)
    assert (mapped.fs, mapped.method, mapped.state) == ("LVM2_member", "stack", "clean"), mapped
    assert mapped.allocated.total < group.region.length / 2
    assert not mapped.allocated.difference(ExtentMap.single(START, group.region.length))
    (skipped,) = mapped.skipped
    swap = group.places["swap"]
    assert skipped == (Extent(swap.start + 4096, swap.length - 4096), "swap pages")
    for name in ("ext4", "xfs", "ntfs"):
        assert any(note.startswith(f"{GROUP}/{name}: {name}, ") for note in mapped.notes)
    copy = restored(group.disk, group.region, mapped, tmp_path / "copy", b"\x5a")
    whole = tmp_path / "whole"
    run(["cp", "--sparse=always", str(group.disk), str(whole)])
    put(copy, whole, group.region)
    check(group, whole, tmp_path)
    with shown(copy, Extent(0, group.region.length)) as node:
        lvm2(node, "vgck", GROUP)
        found = lvm.read(Path(node), group.region.length)
        assert [one.name for one in found.volumes] == ["swap", "ext4", "xfs", "ntfs"]
    assert run(["losetup", "--associated", str(group.disk)]).text == ""


def test_an_image_of_them_is_small_and_restores(tmp_path: Path) -> None:
    group = group_of(tmp_path, ("ext4", "xfs"))
    image, target = tmp_path / "g.rescue", tmp_path / "target"
    done = rescue("capture", "--json", group.disk, image)
    result = json.loads(done.stdout)
    assert result["outcome"] == "complete"
    told = json.loads(rescue("show", "--json", image).stdout)
    (volume,) = told["manifest"]["volumes"]
    assert (volume["fs"], volume["method"]) == ("LVM2_member", "stack")
    assert volume["captured"] < SIZE / 2
    rescue("restore", image, target, "--erase", target)
    check(group, target, tmp_path)


def test_a_volume_that_was_not_unmounted_is_whole_and_its_neighbours_are_not(
    tmp_path: Path,
) -> None:
    group = group_of(tmp_path, ("ext4", "xfs"))
    place = group.places["ext4"]
    with group.disk.open("r+b") as file:
        old = os.pread(file.fileno(), 1, place.start + 1024 + 0x60)[0]
        os.pwrite(file.fileno(), bytes([old | 4]), place.start + 1024 + 0x60)  # INCOMPAT_RECOVER
    mapped = map_of(group.disk, group.region)
    assert (mapped.method, mapped.state) == ("stack", "dirty")
    everything = ExtentMap.single(place.start, place.length)
    assert not everything.difference(mapped.allocated)
    assert mapped.allocated.total < group.region.length * 0.6
    (note,) = (n for n in mapped.notes if n.startswith(f"{GROUP}/ext4: "))
    assert "was not unmounted" in note
    assert "every sector captured" in note


def test_a_volume_in_pieces_is_never_taken_for_one_in_a_row(tmp_path: Path) -> None:
    """Where no device of its pieces can be made it is captured whole; elsewhere it is looked at."""
    group = group_of(tmp_path, ("ext4", "xfs"))
    with shown(group.disk, group.region) as node:
        lvm2(node, "lvextend", "--size", "+20M", f"{GROUP}/ext4")
        (volume,) = (
            v for v in lvm.read(Path(node), group.region.length).volumes if v.name == "ext4"
        )
    assert len(volume.pieces) == 2
    mapped = map_of(group.disk, group.region)
    assert mapped.method == "stack"
    if not Path("/dev/mapper/control").exists():
        for piece in volume.pieces:
            all_of_it = ExtentMap.single(START + piece.outer, piece.length)
            assert not all_of_it.difference(mapped.allocated)
    copy = restored(group.disk, group.region, mapped, tmp_path / "copy", b"\x5a")
    place = group.places["ext4"]
    back = taken(copy, Extent(place.start - START, place.length), tmp_path / "back")
    assert volumes.read(volumes.KINDS["ext4"], back, tmp_path) == group.files["ext4"]


def test_a_virtual_machines_disk_is_no_old_filesystem(tmp_path: Path) -> None:
    """A logical volume that was a filesystem once, and has a partition table now."""
    group = group_of(tmp_path, ("ext4",))
    place = group.places["ext4"]
    disk = tmp_path / "inner"
    disk.write_bytes(bytes(place.length))
    run(["sfdisk", "--quiet", str(disk)], input=b"label: dos\nstart=2048, type=83\n")
    with disk.open("rb") as source, group.disk.open("r+b") as target:
        os.pwrite(target.fileno(), source.read(512), place.start)
    mapped = map_of(group.disk, group.region)
    assert mapped.method == "stack"
    assert not ExtentMap.single(place.start, place.length).difference(mapped.allocated)
    assert any("a filesystem and a partition table" in note for note in mapped.notes)


def test_a_group_of_another_system_is_read(tmp_path: Path) -> None:
    group = group_of(tmp_path, ("ext4",))
    with shown(group.disk, group.region) as node:
        lvm2(node, "vgchange", "--yes", "--systemid", "elsewhere", GROUP)
    mapped = map_of(group.disk, group.region)
    assert mapped.method == "stack", mapped.notes
    assert any(note.startswith(f"{GROUP}/ext4: ext4, ") for note in mapped.notes)


@pytest.mark.parametrize("place", [4096, 4096 + 512, 1024])
def test_damaged_metadata_is_captured_whole(place: int, tmp_path: Path) -> None:
    """The header of the metadata area (4096), its text, and the label's second half."""
    group = group_of(tmp_path, ("ext4",))
    with group.disk.open("r+b") as file:
        os.pwrite(file.fileno(), os.urandom(MIB - place - 65536), START + place)
    mapped = map_of(group.disk, group.region)
    assert mapped.method == "whole", mapped.notes
    assert mapped.allocated == ExtentMap.single(START, group.region.length)
    assert "every sector captured" in mapped.notes[0]


def test_a_member_that_nobody_opened_is_captured_whole(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(b"LUKS\xba\xbe\0\1" + bytes(8 * MIB))
        file.truncate(64 * MIB)
    mapped = map_of(disk, Extent(0, 64 * MIB))
    assert (mapped.fs, mapped.method) == ("crypto_LUKS", "whole")
    assert mapped.notes == ("crypto_LUKS, every sector captured; less with --unlock",)


def test_without_lvm_everything_is_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = group_of(tmp_path, ("ext4",))
    start = process.run

    def run_without(command: Sequence[str | Path], **options: Any) -> process.Finished:
        named = "lvm-is-not-here" if command[0] == "lvm" else command[0]
        return start([named, *command[1:]], **options)

    monkeypatch.setattr("rescue.core.process.run", run_without)
    mapped = map_of(group.disk, group.region)
    assert mapped.method == "whole"
    assert "is not installed" in mapped.notes[0]
