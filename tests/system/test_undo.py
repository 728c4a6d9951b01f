"""A restore over somebody else's disk, and how far ``rescue undo`` brings that disk back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.system.test_fit import Machine, build, cut_out, empty, parts
from tests.system.test_round_trip import digest, rescue, table

pytestmark = [pytest.mark.root]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The disk that nobody meant to lose: MBR, logical partitions."""
    return build(tmp_path_factory.mktemp("other"), "dos", ("ntfs", "fat16", "ext2", "ext4", "swap"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("mine"), "gpt", ("fat32", "ext4")).image


def identities(disk: Path, folder: Path) -> dict[int, str]:
    """Type, label and UUID of the filesystem in each partition."""
    found = {}
    for number, place in parts(disk).items():
        volume = cut_out(disk, place, folder / "volume")
        found[number] = run(["blkid", "--probe", "--output", "export", volume], check=False).text
        volume.unlink()
    return {number: words.split("\n", 1)[-1] for number, words in found.items()}


def test_tables_and_superblocks_come_back(other: Machine, image: Path, tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk.raw", tmp_path / "kept.undo"
    run(["cp", "--sparse=always", other.disk, disk])
    before = table(disk), identities(disk, tmp_path), digest(disk, 0, MIB)
    kinds = [w for words in before[1].values() for w in words.splitlines() if w.startswith("TYPE=")]
    assert len(kinds) == 5
    done = rescue("restore", "--json", "--undo-file", kept, image, disk, "--erase", disk)
    assert json.loads(done.stdout)["undo_file"] == str(kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "label: gpt" in run(["sfdisk", "--dump", disk]).text

    told = rescue("undo", "--dry-run", kept, disk)
    assert "stays lost" in told.stdout and "partition 5" in told.stdout
    assert "label: gpt" in run(["sfdisk", "--dump", disk]).text
    rescue("undo", kept, disk, ok=11)  # nobody confirmed it
    rescue("undo", kept, disk, "--erase", disk)
    assert (table(disk), identities(disk, tmp_path), digest(disk, 0, MIB)) == before
    place = parts(disk)[5]
    volume = cut_out(disk, place, tmp_path / "volume")
    assert "Filesystem UUID" in run(["dumpe2fs", "-h", volume]).text


def test_what_undo_refuses(other: Machine, image: Path, tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk.raw", tmp_path / "kept.undo"
    run(["cp", "--sparse=always", other.disk, disk])
    rescue("restore", "--undo-file", kept, image, disk, "--erase", disk)
    whole = kept.read_bytes()
    now = digest(disk, 0, disk.stat().st_size)
    for at in (0, 15, 40, len(whole) // 2, len(whole) - 1):
        kept.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
        rescue("undo", kept, disk, "--erase", disk, ok=2 if at == 0 else 20)
    kept.write_bytes(whole[: len(whole) // 2])
    rescue("undo", kept, disk, "--erase", disk, ok=20)
    kept.write_bytes(whole)
    rescue("undo", image, disk, "--erase", disk, ok=2)
    rescue("undo", tmp_path / "none", disk, "--erase", disk, ok=10)
    assert digest(disk, 0, disk.stat().st_size) == now
    larger = empty(tmp_path / "larger.raw", disk.stat().st_size + MIB)
    done = rescue("undo", kept, larger, "--erase", larger, ok=11)
    assert "is of a disk with" in done.stderr and not any(larger.read_bytes()[:MIB])
    rescue("restore", "--undo-file", kept, image, disk, "--erase", disk, ok=2)  # it exists


def test_it_stands_beside_the_image_and_a_blank_disk_needs_none(
    image: Path, tmp_path: Path
) -> None:
    here = tmp_path / "pc.rescue"
    run(["cp", image, here])
    disk = empty(tmp_path / "disk.raw", 400 * MIB)
    rescue("restore", here, disk, "--erase", disk)
    assert not list(tmp_path.glob("*.undo"))
    rescue("restore", "--write-all", here, disk, "--erase", disk)
    [kept] = tmp_path.glob("*.undo")
    assert kept.name.startswith("pc.rescue.") and kept.stat().st_size < 4 * MIB
    rescue("verify", here)


def test_an_image_on_a_disc_is_restored_without_an_undo_file(
    other: Machine, image: Path, tmp_path: Path
) -> None:
    """A place that cannot be written: whoever has only that disc must be able to restore."""
    disk, place = tmp_path / "disk.raw", tmp_path / "disc"
    run(["cp", "--sparse=always", other.disk, disk])
    place.mkdir()
    run(["mount", "--bind", image.parent, place])
    try:
        run(["mount", "-o", "remount,bind,ro", place])
        done = rescue("restore", place / image.name, disk, "--erase", disk)
    finally:
        run(["umount", place])
    assert "no undo file: cannot write" in done.stderr
    assert "label: gpt" in run(["sfdisk", "--dump", disk]).text
