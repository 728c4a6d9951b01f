"""Whole disks by the commands as a person types them: capture, verify, restore, damage, refusal."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.system import volumes

pytestmark = [pytest.mark.root]
RESCUE = Path(sys.executable).parent / "rescue"


def rescue(*words: object, ok: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command; its exit code must be ``ok``, and nothing it prints may be a traceback."""
    command = [str(RESCUE), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == ok, (command, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    if ok not in (0, 3):
        assert sum(line.startswith("error:") for line in done.stderr.splitlines()) == 1, done.stderr
    return done


@dataclass(frozen=True)
class Made:
    """A disk file, and for each volume its kind, place and files."""

    disk: Path
    volumes: tuple[tuple[str, int, int], ...]
    files: dict[str, dict[str, str]]


def make_disk(folder: Path, label: str, names: list[str]) -> Made:
    """A partitioned disk file with a real filesystem full of files in each partition."""
    folder.mkdir(exist_ok=True)
    files: dict[str, dict[str, str]] = {}
    placed: list[tuple[str, int, int]] = []
    lines = [f"label: {label}", "first-lba: 2048"] if label == "gpt" else [f"label: {label}"]
    at = 2 * MIB
    sizes: list[int] = []
    for name in names:
        volume = folder / f"{name}.volume"
        files[name] = volumes.make(volumes.KINDS[name], volume, folder)
        sizes.append(volume.stat().st_size)
    if label == "gpt":
        for name, size in zip(names, sizes, strict=True):
            lines.append(f"start={at // 512}, size={size // 512}, name={name}")
            placed.append((name, at, size))
            at += size + 3 * MIB
    else:
        lines.append(f"start={at // 512}, size={sizes[0] // 512}, type=7, bootable")
        placed.append((names[0], at, sizes[0]))
        at += sizes[0] + MIB
        inside = sum(sizes[1:]) + (len(sizes) + 2) * 2 * MIB
        lines.append(f"start={at // 512}, size={inside // 512}, type=5")
        for name, size in zip(names[1:], sizes[1:], strict=True):
            at += MIB
            lines.append(f"start={at // 512}, size={size // 512}, type=83")
            placed.append((name, at, size))
            at += size + MIB
        at += 8 * MIB
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(at + 2 * MIB)
    run(["sfdisk", "--quiet", disk], input="\n".join(lines).encode())
    with disk.open("r+b") as file:  # boot code and what hides in the gap behind it
        file.write(bytes(range(1, 255)))
        file.seek(40 * 512)
        file.write(random.Random(1).randbytes(100_000))
    for name, start, _ in placed:
        volume = folder / f"{name}.volume"
        run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={start // MIB}",
             "conv=sparse,notrunc"])  # fmt: skip
        volume.unlink()
    return Made(disk, tuple(placed), files)


def check_volumes(made: Made, disk: Path, folder: Path) -> None:
    """Every volume of ``disk`` passes its own fsck and holds every file as it was."""
    for name, start, size in made.volumes:
        kind = volumes.KINDS[name]
        volume = folder / "one.volume"
        run(["dd", f"if={disk}", f"of={volume}", "bs=1M", f"skip={start // MIB}",
             f"count={-(-size // MIB)}", "conv=sparse"])  # fmt: skip
        os.truncate(volume, size)
        assert volumes.fault(kind, volume) == "", name
        assert volumes.read(kind, volume, folder) == made.files[name], name
        volume.unlink()


def table(disk: Path) -> str:
    return run(["sfdisk", "--dump", disk]).text.replace(str(disk), "DISK")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("gpt")
    return make_disk(folder, "gpt", ["ext4", "fat32", "ntfs", "xfs", "btrfs"])


@pytest.fixture(scope="module")
def msdos(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_disk(tmp_path_factory.mktemp("dos"), "dos", ["ntfs", "ext4", "fat16", "exfat"])


@pytest.fixture(scope="module")
def image(gpt: Made) -> Path:
    path = gpt.disk.parent / "disk.rescue"
    before = hashlib.file_digest(gpt.disk.open("rb"), "sha256").digest()
    rescue("capture", gpt.disk, path)
    assert hashlib.file_digest(gpt.disk.open("rb"), "sha256").digest() == before
    return path


def test_gpt_disk_comes_back(gpt: Made, image: Path, tmp_path: Path) -> None:
    rescue("verify", image)
    rescue("verify", "--deep", image)
    assert image.stat().st_size < gpt.disk.stat().st_blocks * 512
    back = tmp_path / "back.raw"
    rescue("restore", image, back)
    assert table(back) == table(gpt.disk)
    assert run(["sgdisk", "--verify", back]).text.count("No problems found") == 1
    with back.open("rb") as a, gpt.disk.open("rb") as b:
        assert a.read(2 * MIB) == b.read(2 * MIB)  # boot code, table and the gap, exactly
        for file in (a, b):
            file.seek(-33 * 512, os.SEEK_END)
        assert a.read() == b.read()  # the second copy of the table
    check_volumes(gpt, back, tmp_path)


def test_onto_a_disk_full_of_something_else(gpt: Made, image: Path, tmp_path: Path) -> None:
    """What was there does not shine through: not in a file, not in a filesystem's structures."""
    back = tmp_path / "back.raw"
    with back.open("wb") as file:
        for _ in range(-(-gpt.disk.stat().st_size // MIB)):
            file.write(b"\xa5" * MIB)
        file.truncate(gpt.disk.stat().st_size)
    rescue("restore", image, back, "--erase", back)
    assert table(back) == table(gpt.disk)
    check_volumes(gpt, back, tmp_path)


def test_a_larger_disk_has_its_second_table_at_its_end(
    gpt: Made, image: Path, tmp_path: Path
) -> None:
    back = tmp_path / "larger.raw"
    with back.open("wb") as file:
        file.truncate(gpt.disk.stat().st_size + 77 * MIB + 512)
    rescue("restore", image, back, "--erase", back)
    assert run(["sgdisk", "--verify", back]).text.count("No problems found") == 1
    assert run(["sfdisk", "--verify", back]).text.count("No errors detected") == 1
    lines = [line for line in table(gpt.disk).splitlines() if not line.startswith("last-lba")]
    assert [line for line in table(back).splitlines() if not line.startswith("last-lba")] == lines
    check_volumes(gpt, back, tmp_path)


def test_msdos_disk_with_logical_partitions_comes_back(msdos: Made, tmp_path: Path) -> None:
    image, back = tmp_path / "x.rescue", tmp_path / "back.raw"
    rescue("capture", msdos.disk, image)
    rescue("verify", "--deep", image)
    rescue("restore", image, back)
    assert table(back) == table(msdos.disk)
    check_volumes(msdos, back, tmp_path)


def test_one_partition(gpt: Made, image: Path, tmp_path: Path) -> None:
    """Only partition 3 is put back; the rest of the target stays as it is."""
    back = tmp_path / "back.raw"
    run(["cp", "--sparse=always", gpt.disk, back])
    _, start, size = gpt.volumes[2]
    with back.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * (4 * MIB))
    outside = [(0, start), (start + size, back.stat().st_size)]
    before = [digest(back, low, high) for low, high in outside]
    rescue("restore", image, back, "--partition", 3, "--erase", back)
    assert [digest(back, low, high) for low, high in outside] == before
    check_volumes(gpt, back, tmp_path)


def digest(path: Path, start: int, end: int) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (data := file.read(min(MIB, end - start))):
            hasher.update(data)
            start += len(data)
    return hasher.hexdigest()


def test_capture_of_one_partition_leaves_the_others_out(gpt: Made, tmp_path: Path) -> None:
    image = tmp_path / "x.rescue"
    rescue("capture", gpt.disk, image, "--partition", 1)
    shown = json.loads(rescue("show", "--json", image).stdout)
    ledger = shown["manifest"]["ledger"] if "manifest" in shown else shown["ledger"]
    assert len(ledger["skipped"]) == 4
    left_out = sum(item["length"] for item in ledger["skipped"])
    assert ledger["captured"] + ledger["free"] + left_out == ledger["size"]
    rescue("capture", gpt.disk, tmp_path / "y.rescue", "--partition", 9, ok=2)
    assert not (tmp_path / "y.rescue").exists()


def test_all_sectors_is_the_disk_bit_for_bit(msdos: Made, tmp_path: Path) -> None:
    image, back = tmp_path / "x.rescue", tmp_path / "back.raw"
    rescue("capture", "--all-sectors", msdos.disk, image)
    rescue("restore", image, back)
    run(["cmp", msdos.disk, back])


def test_one_flipped_byte_anywhere(image: Path, tmp_path: Path) -> None:
    """verify --deep exits 20 and says what is hurt; restore does not say success."""
    hurt = tmp_path / "hurt.rescue"
    run(["cp", image, hurt])
    size = hurt.stat().st_size
    rng = random.Random(7)
    places = [0, 4097, 8192, 8300, size - 1, size - 100, size - 2000]
    places += [rng.randrange(size) for _ in range(12)]
    for place in places:
        with hurt.open("r+b") as file:
            file.seek(place)
            old = file.read(1)
            file.seek(place)
            file.write(bytes([old[0] ^ 0x10]))
        done = rescue("verify", "--deep", hurt, ok=20)
        assert "damaged" in done.stderr or "not where" in done.stderr, (place, done.stderr)
        with hurt.open("r+b") as file:
            file.seek(place)
            file.write(old)
    rescue("verify", hurt)


def test_a_damaged_image_does_not_touch_an_existing_target(image: Path, tmp_path: Path) -> None:
    hurt, target = tmp_path / "hurt.rescue", tmp_path / "target.raw"
    run(["cp", image, hurt])
    with hurt.open("r+b") as file:
        file.seek(hurt.stat().st_size // 2)
        file.write(b"damage")
    size = json.loads(rescue("restore", "--dry-run", "--json", image, tmp_path / "n").stdout)
    with target.open("wb") as file:
        file.truncate(size.get("needed") or size["plan"]["needed"])
        file.seek(5 * MIB)
        file.write(b"precious")
    before = digest(target, 0, target.stat().st_size)
    rescue("restore", hurt, target, "--erase", target, ok=20)
    assert digest(target, 0, target.stat().st_size) == before
    new = tmp_path / "new.raw"
    done = rescue("restore", hurt, new, ok=20)
    assert "incomplete" in done.stderr or "damaged" in done.stderr
    assert "safe" not in done.stderr


def test_truncated_images(image: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.rescue"
    run(["cp", image, cut])
    size = cut.stat().st_size
    for length in (size - 1, size - 128, size // 2, 8192, 5000, 100):
        os.truncate(cut, length)
        for words in (("verify", "--deep"), ("show",)):
            done = subprocess.run([RESCUE, *words, cut], capture_output=True, text=True)
            assert done.returncode in (20, 22), (length, done.stderr)
            assert done.stderr.count("error:") == 1
        done = subprocess.run([RESCUE, "restore", cut, tmp_path / "t.raw"], capture_output=True)
        assert done.returncode in (20, 22)
        assert not (tmp_path / "t.raw").exists()


def test_wrong_identity_exits_11_and_writes_nothing(image: Path, gpt: Made, tmp_path: Path) -> None:
    target = tmp_path / "target.raw"
    with target.open("wb") as file:
        file.write(b"\x5a" * (gpt.disk.stat().st_size))
    before = digest(target, 0, target.stat().st_size)
    rescue("restore", image, target, "--erase", "wrong", ok=11)
    rescue("restore", image, target, ok=11)
    assert digest(target, 0, target.stat().st_size) == before
    short = tmp_path / "short.raw"
    short.write_bytes(b"\x5a" * MIB)
    rescue("restore", image, short, "--erase", short, ok=11)
    assert short.read_bytes() == b"\x5a" * MIB


def test_an_existing_image_is_not_written_over(gpt: Made, image: Path) -> None:
    before = digest(image, 0, image.stat().st_size)
    rescue("capture", gpt.disk, image, ok=2)
    assert digest(image, 0, image.stat().st_size) == before
