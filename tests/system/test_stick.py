"""Sticks: made, refused, renewed, cut in the middle of it, and checked; real tools look at them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.iso.opened import reader
from builder.usb import plan, work
from builder.usb.layout import SECTOR, Stick
from builder.usb.payload import load, open_iso
from builder.verify import verify
from rescue.core.progress import Silent
from rescue.core.units import MIB
from rescue.devices.discover import inspect, list_disks
from rescue.devices.table import read_layout

PROJECT = Path(__file__).resolve().parents[2]
BUILDER = [sys.executable, "-m", "builder.cli.main"]
SIZE = 1280 * MIB
pytestmark = pytest.mark.timeout(1200)


def builder(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BUILDER, *map(str, words)], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def good(*words: str | Path) -> subprocess.CompletedProcess[str]:
    done = builder(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def tool(*words: str | Path, status: int = 0) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def digest(path: Path, start: int = 0, length: int = 1 << 60) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while length and (block := file.read(min(1 << 22, length))):
            hasher.update(block)
            length -= len(block)
    return hasher.hexdigest()


@contextmanager
def loop_of(path: Path, *options: str) -> Iterator[Path]:
    node = tool("losetup", "--find", "--show", *options, path).strip()
    try:
        yield Path(node)
    finally:
        tool("losetup", "--detach", node)


@contextmanager
def data_of(path: Path, *options: str) -> Iterator[Path]:
    """The data partition as a loop device of its own."""
    part = read_layout(inspect(path)).partition(5)
    assert part is not None
    place = ("--offset", str(part.start), "--sizelimit", str(part.length))
    with loop_of(path, *place, *options) as node:
        yield node


@pytest.fixture(scope="module")
def isos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Two media that differ."""
    folder = tmp_path_factory.mktemp("isos")
    found = []
    for name in ("one", "two"):
        recipe = folder / f"{name}.toml"
        recipe.write_text(f'menu_title = "Rescue {name}"\n')
        found.append(folder / f"{name}.iso")
        good("iso", found[-1], "--recipe", recipe)
    yield found[0], found[1]
    for path in found:
        path.unlink()


@pytest.fixture(scope="module")
def made(isos: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stick of the first medium; tests copy it. Before, it held something else everywhere."""
    stick = tmp_path_factory.mktemp("made") / "stick"
    with stick.open("wb") as file:
        file.truncate(SIZE)
        for at in (0, 68 * MIB, 1092 * MIB, 1180 * MIB, SIZE - 8 * MIB):
            file.seek(at)
            file.write(b"\xff" * (8 * MIB))
    good("usb", stick, "--iso", isos[0], "--erase", stick, "--data", "ext4")
    yield stick
    stick.unlink()


def copy(stick: Path, to: Path) -> Path:
    tool("cp", "--sparse=always", stick, to)
    return to


@pytest.fixture
def stick(made: Path, tmp_path: Path) -> Iterator[Path]:
    yield copy(made, tmp_path / "stick")
    (tmp_path / "stick").unlink()


def test_the_table_and_the_efi_partition_please_their_checkers(made: Path, tmp_path: Path) -> None:
    assert "No problems found" in tool("sgdisk", "-v", made)
    types = [part["type"] for part in json.loads(tool("sfdisk", "--json", made))[
        "partitiontable"]["partitions"]]  # fmt: skip
    assert types[0] == "21686148-6449-6E6F-744E-656564454649"
    assert types[1] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    efi = tmp_path / "efi"
    tool("dd", f"if={made}", f"of={efi}", "bs=1M", "skip=4", "count=64", "status=none")
    words = tool("fsck.vfat", "-n", "-v", efi)
    assert "Reclaimed" not in words
    assert "differ" not in words
    listing = tool("mdir", "-i", efi, "-b", "-/", "::")
    assert "::/EFI/BOOT/BOOTX64.EFI" in listing
    assert "gpt3 gpt4" in tool("mtype", "-i", efi, "::/boot/grub/grub.cfg")


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("exfat", ["fsck.exfat", "-n"]),
        ("ext4", ["e2fsck", "-f", "-n"]),
        ("ntfs", ["ntfsfix", "--no-action"]),
    ],
)
def test_the_data_partition_is_whole(
    isos: tuple[Path, Path], made: Path, stick: Path, kind: str, check: list[str]
) -> None:
    """Made over bytes that were something else, so that a zero mkfs left out would show."""
    if kind != "ext4":
        with stick.open("r+b") as file:
            for at in range(1092 * MIB, SIZE - 8 * MIB, 64 * MIB):
                file.seek(at)
                file.write(b"\xff" * (8 * MIB))
        good("usb", stick, "--iso", isos[0], "--erase", stick, "--data", kind)
    with data_of(stick, "--read-only") as node:
        tool(*check, node)
        found = tool("blkid", "-p", "-o", "export", node)
    assert f"TYPE={kind}" in found
    assert "LABEL=RESCUE-DATA" in found
    number = read_layout(inspect(stick)).partition(5)
    assert number is not None
    shown = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
    assert (number.type_id == shown) is (kind != "ext4")


@pytest.mark.root
def test_an_update_leaves_the_data_alone(isos: tuple[Path, Path], stick: Path) -> None:
    with data_of(stick) as node:
        where = stick.parent / "mounted"
        where.mkdir()
        tool("mount", node, where)
        try:
            (where / "image.rescue").write_bytes(random.Random(6).randbytes(64 * MIB))
        finally:
            tool("umount", where)
    data = read_layout(inspect(stick)).partition(5)
    assert data is not None
    before = digest(stick, data.start, data.length)
    first = digest(stick, 68 * MIB, 512 * MIB)
    done = good("usb", stick, "--update", "--iso", isos[1], "--erase", stick, "--json")
    answer = json.loads(done.stdout)
    assert (answer["exit"], answer["slot"], answer["written"]) == (0, "B", True)
    assert digest(stick, data.start, data.length) == before
    assert digest(stick, 68 * MIB, 512 * MIB) == first
    verdict = verify(stick, Silent())
    assert (verdict.damages, verdict.starts) == ((), "B")
    assert verdict.systems[0].build != verdict.systems[1].build
    # And once more: the other way round.
    good("usb", stick, "--update", "--iso", isos[0], "--erase", stick)
    assert verify(stick, Silent()).starts == "A"
    assert digest(stick, data.start, data.length) == before


def cut(
    steps: tuple[plan.Step, ...], sources: dict[str, work.Read], path: Path, dice: random.Random
) -> str:
    """Do what a power cut leaves: all before a barrier, some sectors of what follows it.

    Returns:
        Where it was cut.
    """
    barriers = [n for n, step in enumerate(steps) if isinstance(step, plan.Barrier)]
    chosen = dice.randrange(len(barriers))
    begin = barriers[chosen - 1] + 1 if chosen else 0
    with path.open("r+b") as file:
        for number, step in enumerate(steps[: barriers[chosen]]):
            if isinstance(step, plan.Barrier):
                continue
            unit = step.length if number < begin else SECTOR * dice.choice((1, 8, 2048))
            for at in range(0, step.length, min(unit, 4 * MIB)):
                if number >= begin and dice.random() < 0.5:
                    continue  # lost
                length = min(unit, 4 * MIB, step.length - at)
                data = (
                    step.data[at : at + length]
                    if isinstance(step, plan.Put)
                    else sources[step.source](length, step.start + at)
                )
                file.seek(step.at + at)
                file.write(data)
    return f"before barrier {chosen} of {len(barriers)}"


def test_a_power_cut_leaves_the_old_or_the_new_system(
    isos: tuple[Path, Path], stick: Path, tmp_path: Path
) -> None:
    """Twenty cuts at random places, each with random sectors lost, each on top of the last one."""
    dice = random.Random(20261124)
    starts = []
    for number in range(20):
        with open_iso(isos[1 - number % 2], Silent()) as opened:
            state = work.look(inspect(stick))
            assert state is not None
            assert state.active is not None
            with stick.open("rb") as file:
                mbr = file.read(SECTOR)
            payload = load(opened, state.stick)
            steps = plan.update(state.stick, payload, state.active, mbr)
            place = cut(steps, {"system": opened.read}, stick, dice)
        verdict = verify(stick, Silent())
        whole = [one.slot for one in verdict.systems if not one.damages]
        assert verdict.around == (), place
        assert verdict.starts in whole, place
        # And nobody can find half of the other one.
        assert whole == [one.slot for one in verdict.systems], place
        starts.append(verdict.starts)
    assert len(set(starts)) == 2, "no cut came after a switch"
    good("usb", stick, "--update", "--iso", isos[1], "--erase", stick)
    assert verify(stick, Silent()).damages == ()


def test_a_killed_update_leaves_the_old_or_the_new_system(
    isos: tuple[Path, Path], stick: Path
) -> None:
    dice = random.Random(6)
    for number in range(5):
        child = subprocess.Popen(
            [*BUILDER, "usb", stick, "--update", "--iso", isos[1 - number % 2], "--erase", stick],
            cwd=PROJECT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("write and read back"):
                break
        time.sleep(dice.random())
        child.kill()
        child.communicate()
        verdict = verify(stick, Silent())
        assert verdict.around == ()
        assert verdict.starts in [one.slot for one in verdict.systems if not one.damages]


def test_ctrl_c_says_what_is_on_the_stick_now(isos: tuple[Path, Path], tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.touch()
    os.truncate(fresh, SIZE)
    child = subprocess.Popen(
        [*BUILDER, "usb", str(fresh), "--iso", str(isos[0]), "--erase", str(fresh)],
        cwd=PROJECT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("write and read back"):
            child.send_signal(signal.SIGINT)
            break
    rest = child.stderr.read()
    assert child.wait() == 130, rest
    assert "error: interrupted" in rest
    assert "does not start; make it again" in rest
    assert read_layout(inspect(fresh)).label == "none"


def refused(*words: str | Path, code: int = 11) -> str:
    done = builder("usb", *words)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_wrong_targets_stay_untouched(isos: tuple[Path, Path], made: Path, tmp_path: Path) -> None:
    iso = ("--iso", isos[0])
    small = tmp_path / "small"
    small.write_bytes(b"precious" * 131072)
    assert "too small" in refused(small, *iso, "--erase", small)
    other = tmp_path / "other"
    other.touch()
    os.truncate(other, SIZE)
    with other.open("r+b") as file:
        file.write(b"precious" * 131072)
    before = digest(other)
    assert "--erase" in refused(other, *iso)
    assert f"not '{small}'" in refused(other, *iso, "--erase", small)
    assert "not a stick made by" in refused(other, *iso, "--erase", other, "--update")
    assert "no such file" in refused(tmp_path / "gone", *iso, "--erase", "x", code=10)
    assert "is what is to be read" in refused(isos[0], *iso, "--erase", isos[0])
    assert digest(other) == before
    assert small.read_bytes() == b"precious" * 131072
    bad = tmp_path / "bad.iso"
    tool("cp", isos[0], bad)
    with bad.open("r+b") as file:
        file.seek(100 * MIB)
        file.write(b"x" * 16)
    assert "differs from what was built" in refused(other, "--iso", bad, "--erase", other, code=20)
    assert "not a sealed ISO" in refused(other, "--iso", small, "--erase", other, code=2)
    bad.unlink()
    assert digest(other) == before


@pytest.mark.root
def test_disks_that_are_in_use_or_built_in_stay_untouched(
    isos: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "disk"
    file.touch()
    os.truncate(file, SIZE)
    tool("mkfs.ext4", "-q", "-F", file)
    iso = ("--iso", isos[0])
    before = digest(file)
    with loop_of(file) as node:
        assert "is not removable" in refused(node, *iso, "--erase", node)
        assert "is in use" in refused(file, *iso, "--erase", file)
        assert digest(file) == before
        where = tmp_path / "mounted"
        where.mkdir()
        tool("mount", "-o", "ro,noload", node, where)
        try:
            words = refused(node, *iso, "--erase", node, "--fixed")
            assert "is mounted on" in words
        finally:
            tool("umount", where)
        assert digest(file) == before
    with loop_of(file, "--sector-size", "4096") as node:
        assert "sectors of 4096" in refused(node, *iso, "--erase", node, "--fixed")
    for disk in list_disks():
        if any(use.what == "mounted" for use in disk.uses) and disk.node_type == "disk":
            words = refused(disk.path, *iso, "--erase", disk.identity, "--fixed")
            # The ISO may lie on that very disk, which is told first.
            assert "is in use" in words or f"holds {isos[0]}, which is to be read" in words
            break
    assert digest(file) == before


@pytest.mark.root
def test_a_loop_disk_becomes_a_stick(isos: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.touch()
    os.truncate(file, SIZE)
    with loop_of(file) as node:
        done = good("usb", node, "--iso", isos[0], "--erase", node, "--fixed", "--json")
        assert json.loads(done.stdout)["identity"] == str(node)
        answer = json.loads(good("verify", node, "--json").stdout)
    assert answer["damages"] == []
    assert answer["starts"] == "A"
    file.unlink()


def test_verify_names_what_differs(isos: tuple[Path, Path], stick: Path, tmp_path: Path) -> None:
    good("verify", isos[0])
    good("verify", stick)

    def spoil(path: Path, at: int) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def says(path: Path, words: str) -> None:
        done = builder("verify", path)
        assert done.returncode == 20, done.stdout + done.stderr
        assert words in done.stdout + done.stderr
        assert done.stderr.count("error: ") == 1
        assert "Traceback" not in done.stderr

    layout = Stick(SIZE, 512 * MIB)
    with open_iso(isos[0], Silent()) as opened:
        places = opened.places()
        seal = opened.seal
    kernel = places["live/vmlinuz"][0] + 5000
    # Each place is spoiled, told, and mended.
    for path, at, words in (
        (isos[0], kernel, "live/vmlinuz: differs"),
        (isos[0], 440, "the boot sector or a partition table differs"),
        (isos[0], seal.total - 100, "the boot sector or a partition table differs"),
        (isos[0], seal.size - 1, "the system differs"),
        (isos[0], 32768 + 900, "no seal that can be read"),
        (stick, layout.slot(0) + kernel, "slot A: live/vmlinuz: differs"),
        (stick, layout.core(0) + 5000, "GRUB's BIOS image differs"),
        (stick, layout.efi + layout.fat.place_of(200), "the EFI partition differs"),
        (stick, 100, "the boot sector differs"),
        (stick, SIZE - 500, "the backup GPT"),
    ):
        spoil(path, at)
        says(path, words)
        spoil(path, at)
    good("verify", stick)
    short = tmp_path / "short.iso"
    tool("cp", isos[0], short)
    os.truncate(short, seal.size - MIB)
    says(short, "differ")
    short.unlink()
    # As it lies on a stick that was written with dd: more bytes follow.
    with isos[0].open("rb") as file, open_iso(isos[0], Silent()) as opened:
        assert opened.read(100, 0) == reader(file.fileno())(100, 0)
    assert builder("verify", tmp_path / "gone").returncode == 10
    (tmp_path / "text").write_text("not a medium" * 5000)
    assert builder("verify", tmp_path / "text").returncode == 2


@pytest.mark.root
def test_who_may_not_read_a_stick_is_told_so(made: Path) -> None:
    """In words that say what to do, and not as a disk that is no stick."""
    made.chmod(0o600)
    for words in (["verify", made], ["usb", made, "--update", "--iso", made]):
        command = ["setpriv", "--reuid", "65534", "--clear-groups", *BUILDER, *map(str, words)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 10, done.stderr
        assert "permission denied" in done.stderr
        assert "hint: run this as root" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no disk was named"),
        (["--list", "/dev/null"], "--list goes alone"),
        (["x", "--data", "zfs"], "invalid value"),
        (["x", "--update", "--data", "ntfs"], "--update keeps the data partition"),
        (["x", "--iso", "y", "--recipe", "z"], "--iso names one"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    assert message in refused(*words, code=2).lower().replace("'--data'", "")


def test_the_list_shows_sticks_alone() -> None:
    """On a machine without any it says so; every disk that it shows can be pulled out."""
    answer = json.loads(good("usb", "--list", "--json").stdout)
    for one in answer["sticks"]:
        disk = inspect(one["path"])
        assert disk.removable or disk.transport == "usb"
