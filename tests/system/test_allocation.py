"""Maps of real filesystems: the mapped bytes alone, among garbage, are the same volume."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rescue.allocation.model import VolumeMap
from rescue.allocation.volume import map_volume
from rescue.core.extent import Extent, ExtentMap
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.devices.blockio import Source
from rescue.devices.discover import inspect
from tests.system import volumes

pytestmark = pytest.mark.root
START = 3 * MIB


def disk_of(volume: Path, disk: Path) -> Extent:
    """Put a volume into the middle of a larger disk file."""
    size = volume.stat().st_size
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={START // MIB}", "conv=sparse"])
    with disk.open("r+b") as file:
        file.truncate(START + size + 5 * MIB)
    return Extent(START, size)


def map_of(disk: Path, region: Extent) -> VolumeMap:
    with Source(disk) as source:
        return map_volume(source, inspect(disk), region)


def restored(disk: Path, region: Extent, mapped: VolumeMap, path: Path, filler: bytes) -> Path:
    """A volume file that has the mapped bytes of the disk, and the filler everywhere else."""
    with disk.open("rb") as source, path.open("wb") as target:
        for _ in range(0, region.length, MIB):
            target.write(filler * MIB)
        target.truncate(region.length)
        for extent in mapped.allocated:
            at = extent.start
            while at < extent.end:
                data = os.pread(source.fileno(), min(MIB, extent.end - at), at)
                os.pwrite(target.fileno(), data, at - region.start)
                at += len(data)
    return path


@pytest.mark.parametrize("name", list(volumes.KINDS))
def test_mapped_bytes_are_the_whole_volume(name: str, tmp_path: Path) -> None:
    kind = volumes.KINDS[name]
    volume, disk = tmp_path / "volume", tmp_path / "disk"
    before = volumes.make(kind, volume, tmp_path)
    assert len(before) > 100
    assert volumes.fault(kind, volume) == ""
    region = disk_of(volume, disk)
    mapped = map_of(disk, region)
    if kind.whole:
        assert mapped.method == "whole"
        assert mapped.allocated == ExtentMap.single(region.start, region.length)
        assert any("every sector captured" in note for note in mapped.notes)
    else:
        assert mapped.method == "partclone", mapped.notes
        assert mapped.allocated.total < region.length * 0.75
        assert mapped.state == "clean"
    assert not mapped.allocated.difference(ExtentMap.single(region.start, region.length))
    for filler in (b"\0", b"\xa5"):
        copy = restored(disk, region, mapped, tmp_path / "copy", filler)
        assert volumes.fault(kind, copy) == ""
        assert volumes.read(kind, copy, tmp_path) == before
    assert run(["losetup", "--associated", str(disk)]).text == ""


def test_swap_keeps_its_header_only(tmp_path: Path) -> None:
    for page in (4096, 65536):
        volume, disk = tmp_path / f"volume{page}", tmp_path / f"disk{page}"
        volume.write_bytes(os.urandom(8 * MIB))
        run(["mkswap", "--pagesize", str(page), "--label", "other swap", str(volume)])
        region = disk_of(volume, disk)
        mapped = map_of(disk, region)
        assert (mapped.method, mapped.fs, mapped.label) == ("swap", "swap", "other swap")
        assert mapped.allocated == ExtentMap.single(START, page)
        assert mapped.skipped == ((Extent(START + page, region.length - page), "swap pages"),)
        copy = restored(disk, region, mapped, tmp_path / "copy", b"\0")
        wanted = run(["blkid", "--probe", "--output", "udev", str(volume)]).text
        assert run(["blkid", "--probe", "--output", "udev", str(copy)]).text == wanted


def test_hibernated_swap_is_captured_whole(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(8 * MIB))
    run(["mkswap", str(volume)])
    with volume.open("r+b") as file:
        file.seek(4096 - 10)
        file.write(b"S1SUSPEND\0")
    mapped = map_of(volume, Extent(0, 8 * MIB))
    assert (mapped.method, mapped.state) == ("whole", "hibernated")


def test_empty_and_unknown_regions(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(2 * MIB))
    assert map_of(disk, Extent(MIB, 0)).method == "none"
    mapped = map_of(disk, Extent(MIB, MIB))
    assert (mapped.method, mapped.fs) == ("whole", "")
    assert mapped.allocated == ExtentMap.single(MIB, MIB)


@pytest.mark.parametrize("name", ["ext4", "ext3", "xfs", "btrfs"])
def test_a_filesystem_copied_while_mounted_is_captured_whole(name: str, tmp_path: Path) -> None:
    """Its journal holds changes that the bitmaps do not show yet, as after a power cut."""
    kind = volumes.KINDS[name]
    volume, cut = tmp_path / "volume", tmp_path / "cut"
    volumes.make(kind, volume, tmp_path)
    with volumes.mounted(kind, volume, tmp_path / "mount") as folder:
        for number in range(20):
            with (folder / f"new {number}").open("wb") as file:
                file.write(os.urandom(200_000))
                file.flush()
                os.fsync(file.fileno())
        run(["cp", "--sparse=always", str(volume), str(cut)])
    region = disk_of(cut, tmp_path / "disk")
    mapped = map_of(tmp_path / "disk", region)
    assert (mapped.method, mapped.state) == ("whole", "dirty"), mapped.notes
    # Unmounted, the same volume is clean again.
    region = disk_of(volume, tmp_path / "disk 2")
    mapped = map_of(tmp_path / "disk 2", region)
    assert (mapped.method, mapped.state) == ("partclone", "clean"), mapped.notes


@pytest.mark.parametrize("options", ["logbsize=256k", "logbsize=64k,inode64"])
def test_xfs_logs_of_every_kind_end_with_an_unmount(options: str, tmp_path: Path) -> None:
    """Log buffers of other sizes have headers of other lengths."""
    volume, point = tmp_path / "volume", tmp_path / "mount"
    volume.touch()
    os.truncate(volume, 400 * MIB)
    run(["mkfs.xfs", "-q", "-f", "-l", "size=64m,su=32768", str(volume)])
    point.mkdir()
    for turn in range(3):
        run(["mount", "-o", f"loop,{options}", str(volume), str(point)])
        try:
            for number in range(400):
                (point / f"{turn} {number}").write_bytes(b"x" * number)
            os.sync()
            for number in range(0, 400, 2):
                (point / f"{turn} {number}").unlink()
        finally:
            run(["umount", str(point)])
        mapped = map_of(volume, Extent(0, 400 * MIB))
        assert (mapped.method, mapped.state) == ("partclone", "clean"), (turn, mapped.notes)


def test_dirty_marks(tmp_path: Path) -> None:
    cases = (
        ("exfat", 106, 2, "whole"),
        ("fat16", 37, 1, "partclone"),
        ("fat32", 65, 1, "partclone"),
    )
    for name, place, bit, method in cases:
        kind = volumes.KINDS[name]
        volume = tmp_path / name
        volumes.make(kind, volume, tmp_path)
        with volume.open("r+b") as file:
            old = os.pread(file.fileno(), 1, place)[0]
            os.pwrite(file.fileno(), bytes([old | bit]), place)
        mapped = map_of(volume, Extent(0, volume.stat().st_size))
        assert (mapped.method, mapped.state) == (method, "dirty"), (name, mapped.notes)


def test_ntfs_marked_for_a_check_is_captured_whole(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volumes.make(volumes.KINDS["ntfs"], volume, tmp_path)
    run(["ntfsfix", str(volume)])  # marks the volume dirty, so that Windows checks it
    mapped = map_of(volume, Extent(0, volume.stat().st_size))
    assert (mapped.method, mapped.state) == ("whole", "dirty"), mapped.notes


def test_a_filesystem_smaller_than_its_partition(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    kind = volumes.KINDS["ext4"]
    before = volumes.make(kind, volume, tmp_path)
    with volume.open("r+b") as file:
        file.truncate(kind.size + 64 * MIB)
    region = disk_of(volume, tmp_path / "disk")
    mapped = map_of(tmp_path / "disk", region)
    assert mapped.method == "partclone"
    assert mapped.skipped == (
        (Extent(START + kind.size, 64 * MIB), "behind the end of the ext4 filesystem"),
    )
    copy = restored(tmp_path / "disk", region, mapped, tmp_path / "copy", b"\xa5")
    assert volumes.read(kind, copy, tmp_path) == before


def test_a_damaged_filesystem_is_captured_whole(tmp_path: Path) -> None:
    """Garbage where the structures were, the signatures left: never a traceback, never a loss."""
    for name in ("ext4", "xfs", "btrfs", "ntfs", "exfat", "fat32", "f2fs"):
        volume = tmp_path / name
        kind = volumes.KINDS[name]
        volumes.make(kind, volume, tmp_path)
        size = volume.stat().st_size
        with volume.open("r+b") as file:
            first = 512 if name in ("xfs", "ntfs", "exfat", "fat32") else 4608
            for start, end in ((first, 65536), (70000, size // 3)):
                file.seek(start)
                file.write(os.urandom(end - start))
        mapped = map_of(volume, Extent(0, size))
        if mapped.method == "whole":
            assert mapped.allocated == ExtentMap.single(0, size)
            assert mapped.notes
        else:  # partclone takes what no sound tree calls free as used
            assert not ExtentMap.single(0, size // 3).difference(mapped.allocated), name


def test_a_partition_of_a_loop_disk(tmp_path: Path) -> None:
    """A block device without partition nodes: a loop device on the loop device, then none left."""
    volume, disk = tmp_path / "volume", tmp_path / "disk"
    kind = volumes.KINDS["ext4"]
    before = volumes.make(kind, volume, tmp_path)
    region = disk_of(volume, disk)
    loop = run(["losetup", "--find", "--show", str(disk)]).text.strip()
    try:
        mapped = map_of(Path(loop), region)
        assert mapped.method == "partclone", mapped.notes
        copy = restored(disk, region, mapped, tmp_path / "copy", b"\xa5")
        assert volumes.read(kind, copy, tmp_path) == before
        assert run(["losetup", "--associated", loop]).text == ""
    finally:
        run(["losetup", "--detach", loop])


def test_a_volume_that_somebody_looks_at_is_still_mapped(tmp_path: Path) -> None:
    """The restore shell mounts each filesystem for a moment, to be read; partclone minds."""
    volume, point = tmp_path / "volume", tmp_path / "mount"
    kind = volumes.KINDS["ext4"]
    before = volumes.make(kind, volume, tmp_path)
    loop = run(["losetup", "--find", "--show", str(volume)]).text.strip()
    point.mkdir()
    try:
        run(["mount", "-o", "ro,noload", loop, str(point)])
        try:
            mapped = map_of(Path(loop), Extent(0, kind.size))
        finally:
            run(["umount", str(point)])
        assert mapped.method == "partclone", mapped.notes
        copy = restored(volume, Extent(0, kind.size), mapped, tmp_path / "copy", b"\xa5")
        assert volumes.read(kind, copy, tmp_path) == before
    finally:
        run(["losetup", "--detach", loop])


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_no_loop_device_outlives_a_killed_process(end: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(8 * MIB))
    script = f"""
import os, signal, sys
from pathlib import Path
from rescue.allocation.node import own_device
from rescue.core.extent import Extent
from rescue.devices.discover import inspect
with own_device(inspect(Path(sys.argv[1])), Extent({MIB}, {MIB})) as device:
    assert device.stat().st_rdev and Path("/sys/block", device.name, "loop/backing_file").exists()
    print(device, flush=True)
    os.kill(os.getpid(), signal.{end})
"""
    done = run([sys.executable, "-c", script, str(disk)], check=False)
    assert done.text.startswith("/dev/loop"), done.stderr
    assert done.status != 0
    assert run(["losetup", "--associated", str(disk)]).text == ""
