"""Real tables by sfdisk, sgdisk and parted; real loop devices; targets that are refused."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, TargetRefused
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.devices.blockio import Source
from rescue.devices.discover import inspect, list_disks
from rescue.devices.model import Layout
from rescue.devices.table import read_layout
from rescue.devices.target import SafeTarget, check, confirm

MBR = """label: dos
size=20M, type=83, bootable
size=30M, type=c
type=f
size=20M, type=83
size=10M, type=82
type=7
"""
GPT = """label: gpt
size=1M, type=21686148-6449-6E6F-744E-656564454649
size=20M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI ünd"
start=60M, size=30M, attrs="RequiredPartition,LegacyBIOSBootable,GUID:60"
size=5M, type=swap
"""


def digest(path: Path) -> str:
    """Of a file's blocks that are not zero and of where they lie; holes are not read."""
    hasher = hashlib.sha256()
    with Source(path) as source:
        for number in source.data_extents().numbers(65536):
            block = source.pread(65536, number * 65536)
            if block.count(0) != len(block):
                hasher.update(number.to_bytes(8, "little") + block)
    return hasher.hexdigest()


def sparse(path: Path, size: int = 200 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def partitioned(path: Path, script: str, size: int = 200 * MIB) -> Path:
    run(["sfdisk", "--quiet", str(sparse(path, size))], input=script.encode())
    return path


def layout_of(path: Path) -> Layout:
    """Read a layout, and see that not a byte of the disk changed by it."""
    before, times = digest(path), path.stat()
    layout = read_layout(inspect(path))
    assert digest(path) == before
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    return layout


@contextmanager
def loop_of(path: Path, *options: str) -> Iterator[Path]:
    node = run(["losetup", "--find", "--show", *options, str(path)]).text.strip()
    try:
        yield Path(node)
    finally:
        run(["losetup", "--detach", node])


@contextmanager
def partitions_of(loop: Path) -> Iterator[None]:
    """The partitions of a loop device as devices, with nodes where nothing else makes them."""
    made = []
    run(["partx", "--add", str(loop)])
    try:
        for known in Path("/sys/class/block").glob(f"{loop.name}p*"):
            node = loop.with_name(known.name)
            if not node.exists():  # neither devtmpfs nor udev
                major, minor = map(int, (known / "dev").read_text().split(":"))
                os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(major, minor))
                made.append(node)
        yield
    finally:
        run(["partx", "--delete", str(loop)])
        for node in made:
            node.unlink()


def as_sfdisk_says(path: Path, layout: Layout) -> None:
    """Every number that sfdisk tells is the layout's too."""
    table = json.loads(run(["sfdisk", "--json", str(path)]).text)["partitiontable"]
    unit = table["sectorsize"]
    assert layout.label == {"gpt": "gpt", "dos": "msdos"}[table["label"]]
    assert layout.sector_size == unit
    assert layout.disk_id == table["id"].lower().removeprefix("0x")
    theirs = {
        int(re.findall(r"\d+$", one["node"])[0]): (one["start"] * unit, one["size"] * unit)
        for one in table["partitions"]
    }
    assert {p.number: (p.start, p.length) for p in layout.partitions} == theirs
    for one, ours in zip(
        table["partitions"], sorted(layout.partitions, key=lambda p: p.number), strict=True
    ):
        assert ours.type_id == one["type"].lower().rjust(2, "0")
        if layout.label == "gpt":
            assert ours.uuid == one["uuid"].lower()
            assert ours.name == one.get("name", "")


def test_mbr_with_logical_partitions(tmp_path: Path) -> None:
    disk = partitioned(tmp_path / "disk", MBR)
    layout = layout_of(disk)
    as_sfdisk_says(disk, layout)
    assert [p.kind for p in layout.partitions] == ["primary", "primary", "extended"] + [
        "logical"
    ] * 3
    assert layout.partitions[0].flags == ("active",)
    # The table is all there is: with only its bytes copied, sfdisk sees the same table.
    assert len(layout.table_extents) == 4
    copy = only_tables(disk, layout, tmp_path / "copy")
    assert dump(copy) == dump(disk)


def only_tables(disk: Path, layout: Layout, copy: Path) -> Path:
    sparse(copy, disk.stat().st_size)
    with disk.open("rb") as source, copy.open("r+b") as target:
        for extent in layout.table_extents:
            data = os.pread(source.fileno(), extent.length, extent.start)
            os.pwrite(target.fileno(), data, extent.start)
    return copy


def dump(path: Path) -> str:
    return run(["sfdisk", "--dump", str(path)]).text.replace(str(path), "DISK")


def test_gpt(tmp_path: Path) -> None:
    disk = partitioned(tmp_path / "disk", GPT)
    layout = layout_of(disk)
    as_sfdisk_says(disk, layout)
    assert layout.warnings == ()
    assert layout.partitions[1].name == "EFI ünd"
    flagged = layout.partition(3)
    assert flagged is not None
    assert flagged.flags == ("required", "legacy-boot", "bit-60")
    size = disk.stat().st_size
    assert list(layout.table_extents.pairs()) == [(0, 17408), (size - 16896, size)]
    copy = only_tables(disk, layout, tmp_path / "copy")
    assert dump(copy) == dump(disk)
    assert "No problems found" in run(["sgdisk", "--verify", str(copy)]).text


@pytest.mark.root
def test_gpt_with_sectors_of_4096(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk")
    with loop_of(disk, "--sector-size", "4096") as loop:
        run(["sfdisk", "--quiet", "--no-reread", str(loop)], input=GPT.encode())
        layout = read_layout(inspect(loop))
        as_sfdisk_says(loop, layout)
        assert layout.sector_size == 4096
    with loop_of(disk) as loop, pytest.raises(DiskTrouble, match="for sectors of 4096 bytes"):
        read_layout(inspect(loop))
    # The file behind it does not tell its sector size, but the place of the table does.
    assert layout_of(disk) == layout
    size = disk.stat().st_size
    assert list(layout.table_extents.pairs()) == [(0, 24576), (size - 20480, size)]


def flip(path: Path, *places: int) -> None:
    with path.open("r+b") as file:
        for place in places:
            at = place if place >= 0 else path.stat().st_size + place
            old = os.pread(file.fileno(), 1, at)[0]
            os.pwrite(file.fileno(), bytes([old ^ 0xFF]), at)


def test_damaged_and_misplaced_gpt_copies(tmp_path: Path) -> None:
    disk = partitioned(tmp_path / "disk", GPT)
    sound = layout_of(disk)
    flip(disk, -500)
    damaged = layout_of(disk)
    assert damaged.partitions == sound.partitions
    assert "backup GPT" in damaged.warnings[0]
    flip(disk, -500, 600)
    damaged = layout_of(disk)
    assert damaged.partitions == sound.partitions
    assert "primary GPT" in damaged.warnings[0]
    flip(disk, 600)
    with disk.open("r+b") as file:
        file.truncate(300 * MIB)
    grown = layout_of(disk)
    assert grown.partitions == sound.partitions
    assert "not at the end" in grown.warnings[0]
    assert grown.table_extents == sound.table_extents
    flip(disk, 600, 200 * MIB - 500)
    with pytest.raises(DiskTrouble, match="damaged") as caught:
        layout_of(disk)
    assert "--all-sectors" in caught.value.hint


def test_a_disk_cut_short(tmp_path: Path) -> None:
    disk = partitioned(tmp_path / "disk", GPT)
    with disk.open("r+b") as file:
        file.truncate(100 * MIB)
    assert "backup GPT" in layout_of(disk).warnings[0]
    with disk.open("r+b") as file:
        file.truncate(80 * MIB)
    with pytest.raises(DiskTrouble, match=r"partition 3 .* outside the disk") as caught:
        layout_of(disk)
    assert "--all-sectors" in caught.value.hint


def test_no_table(tmp_path: Path) -> None:
    plain = sparse(tmp_path / "plain")
    assert layout_of(plain).label == "none"
    for maker in (
        ["mkfs.ext4", "-q", "-F"],
        ["mkfs.vfat"],
        ["mkfs.ntfs", "-q", "-F", "-f"],
        ["mkfs.exfat"],
        ["mkfs.xfs", "-q", "-f"],
    ):
        volume = sparse(tmp_path / "volume", 400 * MIB)
        run([*maker, str(volume)])
        layout = layout_of(volume)
        assert (layout.label, layout.partitions, len(layout.table_extents)) == ("none", (), 0)
        volume.unlink()
    random = tmp_path / "random"
    random.write_bytes(os.urandom(MIB))
    assert layout_of(random).label == "none"
    tiny = tmp_path / "tiny"
    tiny.write_bytes(b"x")
    assert layout_of(tiny).label == "none"
    mac = sparse(tmp_path / "mac")
    run(["parted", "--script", str(mac), "mklabel", "mac", "mkpart", "a", "1MiB", "20MiB"])
    assert "mac partition table" in layout_of(mac).warnings[0]


def test_what_is_no_disk_is_one_clear_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    for path, words in (
        (tmp_path / "missing", "no such file"),
        (tmp_path, "directory"),
        (Path("/dev/null"), "neither"),
        (tmp_path / "fifo", "neither"),
        (tmp_path / "empty", "zero length"),
    ):
        with pytest.raises(DiskTrouble, match=words) as caught:
            inspect(path)
        assert "\n" not in caught.value.message
        with pytest.raises(DiskTrouble, match=words):
            Source(path)


def test_data_extents_leave_the_holes_out(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk", 64 * MIB)
    with disk.open("r+b") as file:
        os.pwrite(file.fileno(), b"x" * 4096, 8 * MIB)
        os.fsync(file.fileno())
    with Source(disk) as source:
        found = source.data_extents()
        assert found.contains(8 * MIB)
        assert found.total < MIB
        assert source.pread(10, 8 * MIB - 5) == b"\0" * 5 + b"x" * 5
        assert len(source.pread(100, 64 * MIB - 10)) == 10
        buffer = memoryview(bytearray(100))
        assert source.read_into(buffer, 64 * MIB - 10) == 10


@pytest.mark.root
def test_a_disk_is_read_anew_after_its_partition_was_written(tmp_path: Path) -> None:
    """The kernel keeps one cache for the disk and another for each partition."""
    disk = partitioned(tmp_path / "disk", GPT)
    with loop_of(disk) as loop, partitions_of(loop), Source(loop) as keeps_the_cache:
        assert keeps_the_cache.pread(4096, 60 * MIB) == bytes(4096)
        with open(f"{loop}p3", "r+b", buffering=0) as partition:
            partition.write(b"x" * 4096)
            os.fsync(partition.fileno())
        with Source(loop) as source:
            assert source.pread(4096, 60 * MIB) == b"x" * 4096


@pytest.mark.root
def test_uses_of_loop_devices_and_their_files(tmp_path: Path) -> None:
    disk, point = sparse(tmp_path / "disk"), tmp_path / "mount"
    run(["mkfs.ext4", "-q", "-F", str(disk)])
    point.mkdir()
    assert inspect(disk).uses == ()
    with loop_of(disk) as loop:
        assert [str(use) for use in inspect(disk).uses] == [f"{disk} is the backing file of {loop}"]
        assert inspect(loop).backing == disk
        assert inspect(loop).uses == ()
        run(["mount", str(loop), str(point)])
        try:
            assert [use.what for use in inspect(disk).uses] == ["loop device", "mounted"]
            listed = {one.path: one for one in list_disks()}
            assert [use.detail for use in listed[loop].uses] == [str(point)]
        finally:
            run(["umount", str(point)])


def refused(path: Path, words: str, **arguments: object) -> None:
    """Both ``check`` and ``confirm`` refuse, and the bytes stay as they were."""
    given: dict[str, object] = {"erase": str(path), "needed": MIB, **arguments}
    before = digest(path) if path.is_file() else ""
    for ask in (check, confirm):
        with pytest.raises(TargetRefused, match=words) as caught:
            ask(path, **given)  # type: ignore[operator]
        assert caught.value.exit_code == 11
        assert caught.value.hint
    assert (digest(path) if path.is_file() else "") == before


def test_a_new_file_is_made_sparse_and_locked(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with confirm(path, erase=None, needed=10 << 30) as target:
        assert target.created
        assert target.size == path.stat().st_size == 10 << 30
        assert path.stat().st_blocks == 0
        assert path.stat().st_mode & 0o777 == 0o600
        os.pwrite(target.fd, b"data", 5 << 30)
        target.flush()
        assert not target.reread_partitions()
        with path.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert target.fd == -1
    target.close()


def test_an_existing_file_needs_its_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(2 * MIB))
    refused(path, "would be lost", erase=None)
    refused(path, "not 'wrong'", erase="wrong")
    refused(path, "not ''", erase=" ")
    refused(path, "too small", needed=2 * MIB + 1)
    refused(path, "is what is to be read", keep=[path])
    (tmp_path / "link").symlink_to(path)
    os.link(path, tmp_path / "hard")
    for name in ("link", "hard"):
        refused(path, "to be read", keep=[tmp_path / "other", tmp_path / name])
    before = digest(path)
    monkeypatch.chdir(tmp_path)
    assert check("disk", erase=str(path), needed=1) is not None
    with confirm("disk", erase=str(path), needed=2 * MIB) as target:
        assert not target.created
        assert os.pread(target.fd, MIB, 0) == path.read_bytes()[:MIB]
    assert digest(path) == before


def test_a_name_without_a_disk_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match="there is no disk"):
        confirm("/dev/no-such-disk", erase=None, needed=MIB)
    with pytest.raises(DiskTrouble, match="no directory"):
        confirm(tmp_path / "a" / "b", erase=None, needed=MIB)
    with pytest.raises(TargetRefused, match="does not exist"):
        confirm(tmp_path / "new", erase="S4EVN", needed=MIB)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_program_has_locked(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk")
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TargetRefused, match="another program"):
            confirm(path, erase=str(path), needed=MIB)


def test_only_confirm_makes_a_target(tmp_path: Path) -> None:
    disk = inspect(sparse(tmp_path / "disk"))
    with pytest.raises(TypeError):
        SafeTarget(object(), 0, disk, created=False, made_writable=False)


@pytest.mark.root
def test_disks_that_are_refused(tmp_path: Path) -> None:
    path, point = sparse(tmp_path / "disk"), tmp_path / "mount"
    run(["mkfs.ext4", "-q", "-F", str(path)])
    point.mkdir()
    with loop_of(path) as loop:
        refused(path, "is in use: .* is the backing file of")
        refused(loop, "would be lost", erase=None)
        refused(loop, "not '/dev/sda'", erase="/dev/sda")
        refused(loop, "too small", needed=1 << 40)
        refused(loop, "to be read", keep=[loop])
        refused(loop, "to be read", keep=[path])
        run(["mount", str(loop), str(point)])
        try:
            refused(loop, "is mounted on")
        finally:
            run(["umount", str(point)])
        with confirm(loop, erase=str(loop), needed=MIB) as target:
            os.pwrite(target.fd, b"x" * 512, 0)
            target.flush()
            with pytest.raises(TargetRefused, match="in use by the kernel"):
                confirm(loop, erase=str(loop), needed=MIB)
    with loop_of(path, "--read-only") as loop:
        refused(loop, "is read-only")


@pytest.mark.root
def test_the_disk_that_holds_the_image_through_three_layers(tmp_path: Path) -> None:
    """image -> filesystem -> loop -> file on a filesystem -> loop: that last one is refused."""
    outer, inner = sparse(tmp_path / "outer"), tmp_path / "one" / "inner"
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    run(["mkfs.ext4", "-q", "-F", str(outer)])
    run(["mount", "-o", "loop", str(outer), str(one)])
    try:
        run(["mkfs.ext4", "-q", "-F", str(sparse(inner, 50 * MIB))])
        run(["mount", "-o", "loop", str(inner), str(two)])
        try:
            image = two / "image"
            image.write_bytes(b"image")
            refused(outer, "in use")
            from rescue.devices.below import everything_below, overwritten_with

            assert overwritten_with(outer) <= everything_below(image)
            assert overwritten_with(inner) <= everything_below(image)
            other = sparse(tmp_path / "other", 20 * MIB)
            assert not overwritten_with(other) & everything_below(image)
        finally:
            run(["umount", str(two)])
    finally:
        run(["umount", str(one)])


@pytest.mark.root
def test_an_image_on_a_btrfs_of_two_disks(tmp_path: Path) -> None:
    """btrfs tells device numbers that no table knows, and only one of its members."""
    from rescue.devices.below import everything_below, overwritten_with

    point = tmp_path / "mount"
    point.mkdir()
    first, second = sparse(tmp_path / "first"), sparse(tmp_path / "second")
    with loop_of(first) as one, loop_of(second) as two:
        run(["mkfs.btrfs", "-q", "-f", str(one), str(two)])
        run(["btrfs", "device", "scan", str(one), str(two)])
        run(["mount", str(one), str(point)])
        try:
            run(["btrfs", "subvolume", "create", str(point / "sub")])
            image = point / "sub" / "image"
            image.write_bytes(b"image")
            for disk in (one, two, first, second):
                assert overwritten_with(disk) & everything_below(image), disk
            refused(one, "is mounted on")
            refused(two, "is mounted on")
        finally:
            run(["umount", str(point)])


@pytest.mark.root
def test_a_partition_is_no_disk(tmp_path: Path) -> None:
    disk = partitioned(tmp_path / "disk", GPT)
    with loop_of(disk) as loop, partitions_of(loop):
        refused(Path(f"{loop}p2"), "is a partition, not a whole disk")
        layout = read_layout(inspect(loop))
        assert layout.partition(2) is not None
