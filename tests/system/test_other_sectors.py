"""Onto disks with sectors of another size, and back: all volumes whole, mounted on such disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.devices import loop
from rescue.restore import fatfit, fatsector
from rescue.shell.facts import Found
from rescue.shell.world import ThisMachine
from tests.system import volumes
from tests.system.test_fat_rebuilt import Fat, fat
from tests.system.test_fit import (
    SWAP_UUID,
    Machine,
    build,
    cut_out,
    empty,
    full,
    parts,
    verify_table,
)
from tests.system.test_round_trip import digest, rescue

__all__ = ["fat"]
pytestmark = [pytest.mark.root]
NAMES = ("fat32", "ext4", "ext4-1k", "xfs", "btrfs", "f2fs", "swap", "ntfs")


@contextmanager
def disk_of(file: Path, sector: int, *region: object) -> Iterator[Path]:
    """A file as a disk with such sectors; or a part of it."""
    words = ["losetup", "--find", "--show", "--sector-size", str(sector), *map(str, region)]
    node = run([*words, file]).text.strip()
    try:
        run(["blockdev", "--setrw", node])  # a number may be read-only since an earlier use
        yield Path(node)
    finally:
        run(["losetup", "--detach", node])


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return build(tmp_path_factory.mktemp("sectors-gpt"), "gpt", NAMES)


@pytest.fixture(scope="module")
def dos(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    names = ("fat16", "ext4", "swap", "ext2", "exfat")
    return build(tmp_path_factory.mktemp("sectors-dos"), "dos", names)


def table_of(file: Path, sector: int) -> dict[int, tuple[int, int]]:
    with disk_of(file, sector) as disk:
        return parts(disk)


def mounts_there(file: Path, place: tuple[int, int], sector: int, folder: Path) -> None:
    """The kernel takes the filesystem on a disk with such sectors."""
    region = ("--offset", place[0], "--sizelimit", place[1])
    folder.mkdir(exist_ok=True)
    with disk_of(file, sector, *region) as disk:
        run(["mount", "-o", "ro", disk, folder])
        run(["umount", folder])


def check_there(machine: Machine, file: Path, sector: int, folder: Path) -> None:
    """Every volume as ``test_fit.check`` looks at it, by a table read with such sectors."""
    places = table_of(file, sector)
    frame = {4} if len(places) > len(machine.names) else set()  # the extended one
    numbers = sorted(set(places) - frame)
    for name, number in zip(machine.names, numbers, strict=True):
        volume = cut_out(file, places[number], folder / "one.volume")
        if name == "swap":
            assert SWAP_UUID in run(["swaplabel", volume]).text
        elif name in machine.files:
            kind = volumes.KINDS[name]
            assert volumes.fault(kind, volume) == "", name
            assert volumes.read(kind, volume, folder) == machine.files[name], name
        if name.startswith(("ext", "xfs", "btrfs")):
            mounts_there(file, places[number], sector, folder / "there")
        if name == "ntfs":
            with disk_of(file, sector, "--offset", places[number][0], "--sizelimit",
                         places[number][1]) as disk:  # fmt: skip
                kind = volumes.KINDS["ntfs"]
                assert volumes.read(kind, disk, folder) == machine.files[name]
                assert "is not clean" not in run(["ntfsfix", "--no-action", disk]).text
            data = volume.read_bytes()
            assert int.from_bytes(data[28:32], "little") in (0, places[number][0] // sector)
            copy = int.from_bytes(data[40:48], "little") * sector
            assert data[copy : copy + 512] == data[:512], "the copy of the boot sector"
        if name.startswith(("fat", "ntfs")):
            assert int.from_bytes(volume.read_bytes()[11:13], "little") == sector
        volume.unlink()


def test_to_sectors_of_4096_and_back(gpt: Machine, tmp_path: Path) -> None:
    large = full(tmp_path / "large.raw", gpt.disk.stat().st_size + 4 * MIB)
    with disk_of(large, 4096) as disk:
        words = ["--undo-file", tmp_path / "undo", "--erase", disk]
        plan = rescue("restore", gpt.image, disk, "--dry-run").stdout
        assert "sectors of 512 bytes become sectors of 4096" in plan
        assert "partition 3: " in plan and "copy of all files" in plan
        assert "that Windows starts from it has not" in plan
        assert "outcome: complete" in rescue("restore", gpt.image, disk, *words).stdout
        verify_table(disk, "gpt")
    assert large.open("rb").read(520)[512:] == bytes(8), "a header where 512 would have one"
    check_there(gpt, large, 4096, tmp_path)
    ids = [run(["blkid", "-p", "-s", "PTUUID", "-o", "value", d]).text for d in (gpt.disk,)]
    image = tmp_path / "large.rescue"
    with disk_of(large, 4096) as disk:
        ids.append(run(["blkid", "-p", "-s", "PTUUID", "-o", "value", disk]).text)
        rescue("capture", disk, image)
    assert ids[0] == ids[1]
    back = full(tmp_path / "back.raw", large.stat().st_size + 4 * MIB)
    with disk_of(back, 512) as disk:
        rescue("restore", image, disk, "--undo-file", tmp_path / "undo2", "--erase", disk)
    verify_table(back, "gpt")
    check_there(gpt, back, 512, tmp_path)
    assert back.open("rb").read(4104)[4096:] == bytes(8)


def test_a_file_with_named_sectors_that_grows(gpt: Machine, tmp_path: Path) -> None:
    """Fit and other sectors at once; a FAT gets more clusters and other ones."""
    target = tmp_path / "new.raw"
    size = gpt.disk.stat().st_size + 400 * MIB
    empty(target, size)
    words = ["--sector-size", 4096, "--fit", "1,2,4", gpt.image, target, "--erase", target]
    rescue("restore", *words)
    old, new = parts(gpt.disk), table_of(target, 4096)
    assert all(new[n][1] > old[n][1] + 30 * MIB for n in (1, 2, 4))
    check_there(gpt, target, 4096, tmp_path)


def test_what_cannot_be_there_is_refused_and_can_be_left_out(dos: Machine, tmp_path: Path) -> None:
    target = full(tmp_path / "extended.raw", dos.disk.stat().st_size)
    before = digest(target, 0, 1 << 40)
    with disk_of(target, 4096) as disk:
        words = ["restore", dos.image, disk, "--undo-file", tmp_path / "undo", "--erase", disk]
        refused = rescue(*words, ok=11).stderr
        assert "partition 6: its exFAT is made for sectors of 512 bytes" in refused
        assert "--leave-out 6" in refused and "Traceback" not in refused
        assert digest(target, 0, 1 << 40) == before
        rescue(*words, "--sector-size", 512, ok=2)
        done = rescue(*words, "--leave-out", 6)
        assert "outcome: complete" in done.stdout
    old, new = parts(dos.disk), table_of(target, 4096)
    assert old == new, "places are the same in bytes"
    start, _ = new[6]
    with target.open("rb") as file:
        file.seek(start)
        assert file.read(MIB) == bytes(MIB)
        file.seek(start + 8 * MIB)
        assert file.read(MIB) == b"\xa5" * MIB, "what is left out is not written"
    spared = Machine(dos.disk, dos.image, dos.names, {k: v for k, v in dos.files.items()
                                                      if k != "exfat"})  # fmt: skip
    check_there(spared, target, 4096, tmp_path)


def test_the_shell_is_told_what_the_command_says(dos: Machine, gpt: Machine) -> None:
    """Before a target is chosen: what has to change, what cannot be there, and why."""
    shell = ThisMachine()
    told = shell.sectors(Found(None, str(dos.image)), b"", 4096)
    assert told.left.keys() == {6} and "exFAT" in told.left[6] and not told.why
    assert told.changed == {1, 5} and any("BIOS" in note for note in told.notes)
    told = shell.sectors(Found(None, str(gpt.image)), b"", 4096)
    numbers = {name: number for number, name in enumerate(NAMES, 1)}
    assert not told.left and not told.why
    assert {numbers["fat32"], numbers["ext4-1k"], numbers["ntfs"]} <= told.changed
    assert not {numbers["ext4"], numbers["swap"], numbers["btrfs"]} & told.changed
    assert told.bounds[numbers["ntfs"]].fixed, "it is told of the sectors, and keeps its size"


def test_leaving_out_on_a_disk_of_the_same_kind(dos: Machine, tmp_path: Path) -> None:
    target = full(tmp_path / "same.raw", dos.disk.stat().st_size)
    rescue("restore", dos.image, target, "--leave-out", "5,6", "--erase", target)
    assert parts(target) == parts(dos.disk)
    start, _ = parts(target)[5]
    with target.open("rb") as file:
        file.seek(start)
        assert file.read(MIB) == bytes(MIB)
    rescue("restore", dos.image, target, "--leave-out", "9", "--erase", target, ok=2)
    rescue("restore", dos.image, target, "--leave-out", "5", "-p", 1, "--erase", target, ok=2)


@pytest.mark.parametrize("sector", [1024, 4096])
def test_a_fat_laid_out_anew(fat: Fat, tmp_path: Path, sector: int) -> None:
    """Also shorter and longer; label, serial number and files stay, and fsck finds nothing."""
    data = fat.path.read_bytes()
    for change in (0, -20 * MIB, 40 * MIB):
        length = len(data) + change
        made = fatsector.remake(lambda at, n: data[at : at + n], length, sector, 12345)
        area = bytearray(b"\xa5" * length)
        for source, count, target in made.copies:
            area[target : target + count] = data[source : source + count]
        for offset, patch in made.patches:
            area[offset : offset + len(patch)] = patch
        assert len(area) == length, "it wrote behind the end"
        path = tmp_path / "volume"
        path.write_bytes(area)
        assert fatfit.shape_of(area[:512]).sector == sector
        assert int.from_bytes(area[28:32], "little") == 12345
        assert volumes.fault(fat.kind, path) == ""
        assert volumes.read(fat.kind, path, tmp_path) == fat.files
        words = run(["blkid", "-p", "-o", "export", path]).text
        assert "LABEL=AT\\ THE\\ END" in words or "LABEL=AT THE END" in words
        assert "UUID=1234-ABCD" in words


def test_a_loop_device_whose_number_was_read_only_before(tmp_path: Path) -> None:
    """The kernel keeps that flag with the number, and mkfs believes it."""
    file = empty(tmp_path / "volume", 16 * MIB)
    free = Path(run(["losetup", "--find"]).text.strip())
    run(["blockdev", "--setro", free])
    try:
        with loop.scratch_device(file, 512) as node:
            assert run(["blockdev", "--getro", node]).text.strip() == "0"
            run(["mke2fs", "-q", node])
    finally:
        run(["blockdev", "--setrw", free])
