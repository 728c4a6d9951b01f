"""Partitions into free room: a new entry in the table that is there, and nothing else changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.system import volumes
from tests.system.test_fit import Machine, build, cut_out, full, parts, verify_table
from tests.system.test_other_sectors import disk_of, mounts_there
from tests.system.test_round_trip import RESCUE, digest, rescue

pytestmark = [pytest.mark.root]
NAMES = ("ext4", "fat16", "ntfs")
FAR = 1 << 40


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return build(tmp_path_factory.mktemp("into-free"), "gpt", NAMES)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return build(tmp_path_factory.mktemp("into-free-dos"), "dos", NAMES)


def divided(path: Path, size: int, *lines: str) -> Path:
    """A disk full of something, divided by sfdisk."""
    full(path, size)
    with path.open("r+b") as file:
        file.write(bytes(MIB))
        file.seek(size - MIB)
        file.write(bytes(MIB))
    run(["sfdisk", "--quiet", "--no-reread", path], input="\n".join(lines).encode())
    return path


def entries(disk: Path) -> dict[int, dict[str, object]]:
    """Number -> what sfdisk knows of a partition."""
    table = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]
    return {
        int(one["node"].removeprefix(str(disk))): {k: v for k, v in one.items() if k != "node"}
        for one in table["partitions"]
    }


def contents(disk: Path) -> dict[int, str]:
    return {n: digest(disk, start, start + length) for n, (start, length) in parts(disk).items()}


def whole(machine: Machine, disk: Path, name: str, number: int, folder: Path) -> None:
    """A restored partition is clean and holds every file."""
    volume = cut_out(disk, parts(disk)[number], folder / "one.volume")
    assert volumes.fault(volumes.KINDS[name], volume) == "", name
    assert volumes.read(volumes.KINDS[name], volume, folder) == machine.files[name], name
    volume.unlink()


def test_two_partitions_into_a_gpt(machine: Machine, tmp_path: Path) -> None:
    """Between others, with their own numbers, types, names; an identifier of its own on the way."""
    disk = divided(
        tmp_path / "disk", 700 * MIB, "label: gpt", "start=2048, size=20M, name=first",
        f"start={600 * 2048}, size=20M, name=last",
    )  # fmt: skip
    run(["sfdisk", "--part-label", machine.disk, "1", "root of it"], check=False)
    before, held = entries(disk), contents(disk)
    words = ["restore", machine.image, disk, "-p", 1, "-p", 3, "--into", "free"]
    plan = rescue(*words, "--dry-run").stdout
    assert "partition 1 becomes partition 3 of the target" in plan
    assert "partition 3 becomes partition 4 of the target" in plan
    done = rescue(*words, "--erase", disk, "--undo-file", tmp_path / "undo")
    assert "outcome: complete" in done.stdout
    now, source = entries(disk), entries(machine.disk)
    assert {n: now[n] for n in before} == before
    assert {n: contents(disk)[n] for n in before} == held
    for number, of, name in ((3, 1, "ext4"), (4, 3, "ntfs")):
        assert now[number]["type"] == source[of]["type"]
        assert now[number]["uuid"] == source[of]["uuid"]
        whole(machine, disk, name, number, tmp_path)
    verify_table(disk, "gpt")
    # Once more: that identifier is there already, so the new one has its own.
    rescue("restore", machine.image, disk, "-p", 2, "--into", "free@500M", "--erase", disk)
    rescue("restore", machine.image, disk, "-p", 2, "--into", "free", "--erase", disk)
    now = entries(disk)
    assert len({str(one["uuid"]) for one in now.values()}) == len(now) == 6
    assert now[5]["start"] == 500 * 2048 and now[5]["uuid"] == source[2]["uuid"]
    whole(machine, disk, "fat16", 5, tmp_path)
    whole(machine, disk, "fat16", 6, tmp_path)
    verify_table(disk, "gpt")
    # The table as it was comes back, and with it the disk as it was.
    rescue("undo", tmp_path / "undo", disk, "--erase", disk)
    assert entries(disk) == before and contents(disk) == held


def test_primary_and_logical_partitions(machine: Machine, old: Machine, tmp_path: Path) -> None:
    disk = divided(
        tmp_path / "disk", 900 * MIB, "label: dos", "start=2048, size=20M, type=83",
        f"start={400 * 2048}, size=480M, type=5", f"start={401 * 2048}, size=30M, type=83",
        f"start={450 * 2048}, size=10M, type=83",
    )  # fmt: skip
    before, held = entries(disk), contents(disk)
    words = ["--erase", disk, "--undo-file", tmp_path / "undo"]
    rescue("restore", old.image, disk, "-p", 1, "-p", 2, "--into", "free@480M", *words)
    rescue("restore", machine.image, disk, "-p", 3, "--into", "free@30M", *words[:2])
    now = entries(disk)
    assert {n: now[n] for n in before} == before
    same = contents(disk)
    assert {n: same[n] for n in before if n != 2} == {n: held[n] for n in before if n != 2}
    for number, name in ((7, "ext4"), (8, "fat16")):
        whole(old, disk, name, number, tmp_path)
    whole(machine, disk, "ntfs", 3, tmp_path)
    assert now[7]["type"] == entries(old.disk)[1]["type"] and now[3]["type"] == "83"
    assert int(str(now[7]["start"])) == 481 * 2048 and int(str(now[3]["start"])) == 30 * 2048
    verify_table(disk, "dos")
    # The kernel counts them so, too.
    with disk_of(disk, 512) as loop:
        run(["partx", "--add", loop])
        try:
            seen = run(["lsblk", "--noheadings", "--list", "-o", "NAME", loop]).text
            assert f"{loop.name}p8" in seen and f"{loop.name}p9" not in seen
        finally:
            run(["partx", "--delete", loop])


def test_the_first_logical_partition(old: Machine, tmp_path: Path) -> None:
    disk = divided(
        tmp_path / "disk", 300 * MIB, "label: dos", "start=2048, size=20M, type=83",
        f"start={40 * 2048}, size=250M, type=5",
    )  # fmt: skip
    words = ["--erase", disk, "--undo-file", tmp_path / "undo"]
    rescue("restore", old.image, disk, "-p", 1, "-p", 2, "--into", "free@41M", *words)
    assert set(entries(disk)) == {1, 2, 5, 6}
    whole(old, disk, "ext4", 5, tmp_path)
    whole(old, disk, "fat16", 6, tmp_path)
    verify_table(disk, "dos")


def test_into_a_gap_that_is_shorter_and_on_other_sectors(machine: Machine, tmp_path: Path) -> None:
    disk = full(tmp_path / "disk", 125 * MIB)
    with disk_of(disk, 4096) as loop:
        run(["sfdisk", "--quiet", loop], input=b"label: gpt\nstart=256, size=1M\n")
        words = ["restore", machine.image, loop, "--into", "free", "--erase", loop]
        assert "told of other sectors" in rescue(*words, "-p", 3, ok=11).stderr
        done = rescue(*words, "-p", 1, "--undo-file", tmp_path / "undo")
        assert "partition 1 becomes partition 2" in done.stderr
        verify_table(loop, "gpt")
        places = parts(loop)
    assert places[2][1] < parts(machine.disk)[1][1]
    volume = cut_out(disk, places[2], tmp_path / "one.volume")
    assert volumes.fault(volumes.KINDS["ext4"], volume) == ""
    assert volumes.read(volumes.KINDS["ext4"], volume, tmp_path) == machine.files["ext4"]
    mounts_there(disk, places[2], 4096, tmp_path / "there")


def test_what_is_refused(machine: Machine, old: Machine, tmp_path: Path) -> None:
    small = divided(tmp_path / "small", 60 * MIB, "label: gpt", "start=2048, size=20M")
    filled = divided(
        tmp_path / "filled", 600 * MIB, "label: dos", *(f"start={n}M, size=1M" for n in "2468")
    )  # fmt: skip
    broken = divided(tmp_path / "broken", 600 * MIB, "label: gpt", "start=2048, size=20M")
    with broken.open("r+b") as file:
        file.seek(1024)
        file.write(b"\xff" * 16)
    blank = full(tmp_path / "blank", 600 * MIB)
    for disk, image, place, why in (
        (small, machine.image, "free", "free room of the target is too small"),
        (filled, old.image, "free", "four primary partitions"),
        (broken, machine.image, "free", "two copies are not alike"),
        (blank, machine.image, "free", "no partition table"),
        (small, machine.image, "free@5M", "is not free"),
    ):
        before = digest(disk, 0, FAR)
        words = ["restore", image, disk, "-p", 1, "--into", place, "--erase", disk]
        done = rescue(*words, ok=11)
        assert why in done.stderr and "Traceback" not in done.stderr
        assert digest(disk, 0, FAR) == before
    words = ["restore", machine.image, small, "--erase", small]
    rescue(*words, "--into", "free", ok=2)
    rescue(*words, "-p", 1, "--into", "somewhere", ok=2)
    rescue(*words, "-p", 1, "--into", "free", "--fit", "all", ok=2)
    rescue("restore", machine.image, tmp_path / "new", "-p", 1, "--into", "free", ok=11)
    assert not (tmp_path / "new").exists()


def test_cut_off_the_disk_is_as_it_was(machine: Machine, tmp_path: Path) -> None:
    """Killed before the table is written: no partition came, none was touched; then it is begun
    again, and comes."""
    disk = divided(tmp_path / "disk", 500 * MIB, "label: gpt", "start=2048, size=20M")
    before, held = entries(disk), contents(disk)
    words = ["restore", machine.image, disk, "-p", 1, "--into", "free", "--erase", disk]
    front = digest(disk, 0, MIB)
    process = subprocess.Popen([RESCUE, *map(str, words)], stderr=subprocess.DEVNULL)
    # Killed when bytes of the image have arrived: the room was full of something else.
    deadline = time.monotonic() + 60
    with disk.open("rb") as file:
        while time.monotonic() < deadline and process.poll() is None:
            if os.pread(file.fileno(), 2, 22 * MIB + 1080) == b"\x53\xef":
                break
    process.send_signal(signal.SIGKILL)
    process.wait()
    if digest(disk, 0, MIB) == front:  # else it was too quick to be cut off, which is no failure
        assert entries(disk) == before
    assert {n: contents(disk)[n] for n in before} == held
    if entries(disk) == before:
        rescue(*words)
    assert set(entries(disk)) == {1, 2}
    whole(machine, disk, "ext4", 2, tmp_path)
    verify_table(disk, "gpt")
