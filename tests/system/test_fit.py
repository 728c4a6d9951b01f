"""Onto disks of other sizes: filesystems pass their own fsck, hold every file, fill their room."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.system import volumes
from tests.system.test_round_trip import digest, rescue, table

pytestmark = [pytest.mark.root]
# Neither may become shorter than about 300 MiB.
LARGER = {"xfs": 640 * MIB, "btrfs": 512 * MIB}
SIZE = 1 << 40  # further than any disk here
SWAP_UUID = "0123abcd-1111-2222-3333-444455556666"


@dataclass(frozen=True)
class Machine:
    """A disk file with one filesystem of each kind, its image, and what its files hash to."""

    disk: Path
    image: Path
    names: tuple[str, ...]
    files: dict[str, dict[str, str]]


def parts(disk: Path) -> dict[int, tuple[int, int]]:
    """Number -> start and length in bytes, as sfdisk reads the table."""
    table = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]
    size = table.get("sectorsize", 512)
    found = {}
    for entry in table["partitions"]:
        number = int(re.findall(r"\d+$", entry["node"])[0])
        found[number] = (entry["start"] * size, entry["size"] * size)
    return found


def cut_out(disk: Path, place: tuple[int, int], volume: Path) -> Path:
    """One partition as a file of its own."""
    run(["dd", f"if={disk}", f"of={volume}", "bs=1M", f"skip={place[0]}", f"count={place[1]}",
         "iflag=skip_bytes,count_bytes", "conv=sparse"])  # fmt: skip
    os.truncate(volume, place[1])
    return volume


def build(folder: Path, label: str, names: tuple[str, ...]) -> Machine:
    """A partitioned disk with a filesystem of each of these kinds, and its image."""
    files: dict[str, dict[str, str]] = {}
    sizes: list[int] = []
    for name in names:
        volume = folder / f"{name}.volume"
        if name == "swap":
            volume.touch()
            os.truncate(volume, 80 * MIB)
            run(["mkswap", "--uuid", SWAP_UUID, "--label", "rest", volume])
        else:
            kind = volumes.KINDS[name]
            kind = replace(kind, size=LARGER.get(name, kind.size))
            files[name] = volumes.make(kind, volume, folder)
        sizes.append(volume.stat().st_size)
    at, lines, starts = MIB, [f"label: {label}"], []
    for number, size in enumerate(sizes, 1):
        if label == "dos" and number == 4:
            rest = sum(sizes[3:]) + (len(sizes) - 2) * MIB
            lines.append(f"start={at // 512}, size={rest // 512}, type=5")
        if label == "dos" and number >= 4:
            at += MIB
        lines.append(f"start={at // 512}, size={size // 512}")
        starts.append(at)
        at += size
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, at + 2 * MIB)
    run(["sfdisk", "--quiet", disk], input="\n".join(lines).encode())
    for name, start in zip(names, starts, strict=True):
        volume = folder / f"{name}.volume"
        run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={start // MIB}",
             "conv=sparse,notrunc"])  # fmt: skip
    for name in names:
        (folder / f"{name}.volume").unlink()
    image = folder / "disk.rescue"
    rescue("capture", disk, image)
    return Machine(disk, image, names, files)


def check(machine: Machine, disk: Path, folder: Path) -> None:
    """Every volume is clean, holds every file, has its UUID, and is as long as its partition."""
    places = parts(disk)
    numbers = [n for n in sorted(places) if not is_extended(disk, n)]
    for name, number in zip(machine.names, numbers, strict=True):
        volume = cut_out(disk, places[number], folder / "one.volume")
        if name == "swap":
            words = run(["swaplabel", volume]).text
            assert SWAP_UUID in words and "rest" in words
        else:
            kind = volumes.KINDS[name]
            assert volumes.fault(kind, volume) == "", name
            assert volumes.read(kind, volume, folder) == machine.files[name], name
        assert filesystem_size(name, volume) > places[number][1] - 17 * MIB, name
        volume.unlink()


def is_extended(disk: Path, number: int) -> bool:
    table = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]
    return any(
        entry["node"].endswith(str(number)) and entry["type"] in ("5", "f")
        for entry in table["partitions"]
    )


def filesystem_size(name: str, volume: Path) -> int:
    """Bytes that the filesystem itself says it has."""
    head = volume.open("rb").read(70 << 10)
    if name.startswith("ext"):
        return int.from_bytes(head[1028:1032], "little") * (1024 << head[1048])
    if name == "ntfs":
        return int.from_bytes(head[40:48], "little") * 512
    if name == "xfs":
        return int.from_bytes(head[8:16], "big") * int.from_bytes(head[4:8], "big")
    if name == "btrfs":
        return int.from_bytes(head[0x10070:0x10078], "little")
    if name.startswith("fat"):
        total = int.from_bytes(head[19:21], "little") or int.from_bytes(head[32:36], "little")
        return total * int.from_bytes(head[11:13], "little")
    if name == "swap":
        return (int.from_bytes(head[1028:1032], "little") + 1) * 4096
    if name == "f2fs":
        return int.from_bytes(head[1024 + 36 : 1024 + 44], "little") * 4096
    raise AssertionError(name)


def verify_table(disk: Path, label: str) -> None:
    if label == "gpt":
        assert "No problems found" in run(["sgdisk", "--verify", disk]).text
    assert "No errors detected" in run(["sfdisk", "--verify", disk]).text


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    names = ("fat32", "ext4", "ntfs", "xfs", "btrfs", "f2fs", "swap")
    return build(tmp_path_factory.mktemp("fit-gpt"), "gpt", names)


@pytest.fixture(scope="module")
def dos(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    names = ("ntfs", "fat16", "ext2", "ext4", "swap")
    return build(tmp_path_factory.mktemp("fit-dos"), "dos", names)


def empty(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def full(path: Path, size: int) -> Path:
    """A disk that was used: nothing on it reads as zero."""
    with path.open("wb") as file:
        for _ in range(size // MIB + 1):
            file.write(b"\xa5" * MIB)
        file.truncate(size)
    return path


def test_all_named_partitions_grow(gpt: Machine, tmp_path: Path) -> None:
    back = full(tmp_path / "back.raw", gpt.disk.stat().st_size + 1000 * MIB)
    done = rescue("restore", "--fit", "1,2,3,4,5,6,7", gpt.image, back, "--erase", back)
    assert "outcome: complete" in done.stdout
    old, new = parts(gpt.disk), parts(back)
    assert all(new[n][1] > old[n][1] + 30 * MIB for n in old)
    verify_table(back, "gpt")
    check(gpt, back, tmp_path)


def test_logical_partitions_grow(dos: Machine, tmp_path: Path) -> None:
    back = full(tmp_path / "back.raw", dos.disk.stat().st_size + 300 * MIB)
    rescue("restore", "--fit", "1,2,6", dos.image, back, "--erase", back)
    verify_table(back, "dos")
    check(dos, back, tmp_path)


def test_a_smaller_disk(gpt: Machine, tmp_path: Path) -> None:
    """Everything that can gives room: shrunk in overlays, rebuilt, or copied file by file."""
    size = gpt.disk.stat().st_size * 65 // 100 // MIB * MIB
    back = full(tmp_path / "back.raw", size)
    before = gpt.image.read_bytes()
    rescue("restore", gpt.image, back, "--erase", back, ok=11)
    assert back.read_bytes()[:MIB] == b"\xa5" * MIB
    done = rescue("restore", "--fit", "1,2,3,4,5,7", gpt.image, back, "--erase", back)
    assert "outcome: complete" in done.stdout
    old, new = parts(gpt.disk), parts(back)
    assert sum(new[n][1] < old[n][1] for n in old) >= 5, new
    verify_table(back, "gpt")
    check(gpt, back, tmp_path)
    assert gpt.image.read_bytes() == before


def test_one_partition_into_another(gpt: Machine, dos: Machine, tmp_path: Path) -> None:
    """Longer, shorter and at other places, on a disk of another kind; all else stays as it is."""
    disk = tmp_path / "other.raw"
    run(["cp", "--sparse=always", dos.disk, disk])
    before, places = table(disk), parts(disk)
    for name, number, into in (("ext4", 2, 1), ("fat32", 1, 5), ("ntfs", 3, 3)):
        outside = [digest(disk, 0, places[into][0]), digest(disk, sum(places[into]), SIZE)]
        done = rescue(
            "restore", "--partition", number, "--into", into, gpt.image, disk, "--erase", disk
        )
        assert "outcome: complete" in done.stdout
        assert outside == [digest(disk, 0, places[into][0]), digest(disk, sum(places[into]), SIZE)]
        volume = cut_out(disk, places[into], tmp_path / "one.volume")
        kind = volumes.KINDS[name]
        assert volumes.fault(kind, volume) == "", name
        assert volumes.read(kind, volume, tmp_path) == gpt.files[name], name
        assert filesystem_size(name, volume) > places[into][1] - MIB, name
        volume.unlink()
    assert table(disk) == before
    words = ["restore", gpt.image, disk, "--erase", disk]
    now = digest(disk, 0, SIZE)
    assert "too small" in rescue(*words, "--partition", 4, "--into", 2, ok=11).stderr
    assert "f2fs cannot be shrunk" in rescue(*words, "--partition", 6, "--into", 2, ok=11).stderr
    assert "no partition 9" in rescue(*words, "--partition", 2, "--into", 9, ok=11).stderr
    rescue(*words, "--into", 2, ok=2)
    assert digest(disk, 0, SIZE) == now


@contextmanager
def loop_of(disk: Path) -> Iterator[Path]:
    loop = run(["losetup", "--find", "--show", disk]).text.strip()
    try:
        yield Path(loop)
    finally:
        run(["losetup", "--detach", loop])


@pytest.mark.parametrize("option", ["--trim", "--wipe-free"])
def test_free_space_is_cleared_and_nothing_else(dos: Machine, tmp_path: Path, option: str) -> None:
    size = dos.disk.stat().st_size + 60 * MIB
    disk = full(tmp_path / "full.raw", size)
    with loop_of(disk) as loop:
        words = ["--undo-file", tmp_path / "undo", "--erase", loop]
        done = rescue("restore", "--fit", "5", option, dos.image, loop, *words)
    assert "of free space were" in done.stdout
    verify_table(disk, "dos")
    check(dos, disk, tmp_path)
    if option == "--trim":
        assert disk.stat().st_blocks * 512 < size * 3 // 4
    # What is free in the first partition holds nothing of before; the grown one was left alone.
    start, length = parts(disk)[1]
    with disk.open("rb") as file:
        file.seek(start)
        left = file.read(length).count(b"\xa5" * MIB)
    assert left == 0
