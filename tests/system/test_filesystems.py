"""``rescue verify --filesystems``: every filesystem in an image judged by its own checker.

Whole ones, broken ones, and ones whose journal must be replayed first; the image is never written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rescue.core.errors import Exit
from rescue.core.process import run
from rescue.core.units import MIB
from tests.system import breaking
from tests.system.test_round_trip import Made, make_disk, rescue

pytestmark = [pytest.mark.root]
NAMES = ["ext4", "fat32", "ntfs", "xfs", "btrfs", "exfat", "f2fs"]
ON_NODE = {"ext4": breaking.ext4, "xfs": breaking.xfs, "btrfs": breaking.btrfs}
ON_BYTES = {
    "fat32": breaking.fat32,
    "ntfs": breaking.ntfs,
    "exfat": breaking.exfat,
    "f2fs": breaking.f2fs,
}
SAID = {
    "ext4": "ref count",
    "fat32": "free cluster",
    "ntfs": "Cluster accounting failed",
    "xfs": "nlinks",
    "btrfs": "errors found",
    "exfat": "checksum",
    "f2fs": "link",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A disk with one filesystem of each kind, full of files."""
    return make_disk(tmp_path_factory.mktemp("disk"), "gpt", NAMES)


@contextmanager
def part_of(disk: Path, start: int, size: int) -> Iterator[Path]:
    """A volume of a disk file as a device that may be written."""
    where = ["--offset", str(start), "--sizelimit", str(size)]
    node = Path(run(["losetup", "--find", "--show", *where, disk]).text.strip())
    run(["blockdev", "--setrw", node])
    try:
        yield node
    finally:
        run(["losetup", "--detach", node])


def verdict(image: Path, ok: int = 0) -> dict[str, Any]:
    """What ``verify --filesystems`` says; neither it nor any checker may change the image."""
    before = (image.stat().st_mtime_ns, image.read_bytes())
    done = rescue("verify", "--filesystems", "--json", image, ok=ok)
    assert (image.stat().st_mtime_ns, image.read_bytes()) == before
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_whole_filesystems_are_proven(made: Made, tmp_path: Path) -> None:
    image = tmp_path / "pc.rescue"
    rescue("capture", made.disk, image)
    found = verdict(image)
    assert [one["result"] for one in found["filesystems"]] == ["whole"] * len(NAMES), found
    assert found["safe_to_rely_on"]
    assert "7 filesystems are whole" in found["because"]
    text = rescue("verify", "--filesystems", image).stdout
    assert text.count(" is whole") == len(NAMES)
    assert text.splitlines()[-1].startswith("safe to rely on: yes, because ")


def test_each_broken_one_is_named_with_its_checkers_words(made: Made, tmp_path: Path) -> None:
    disk, image = tmp_path / "broken.raw", tmp_path / "pc.rescue"
    run(["cp", "--sparse=always", made.disk, disk])
    for name, start, size in made.volumes:
        if name in ON_NODE:
            with part_of(disk, start, size) as node:
                ON_NODE[name](node)
        else:
            fd = os.open(disk, os.O_RDWR)
            ON_BYTES[name](fd, start)
            os.close(fd)
    rescue("capture", disk, image)
    found = verdict(image, ok=Exit.UNSOUND)
    assert found["ok"], "the bytes are as they were read"
    assert not found["safe_to_rely_on"]
    for name, one in zip(NAMES, found["filesystems"], strict=True):
        assert one["result"] == "errors", one
        assert SAID[name] in one["words"], one
    done = rescue("verify", "--filesystems", image, ok=Exit.UNSOUND)
    assert done.stdout.splitlines()[-1].startswith("safe to rely on: no, because there are errors")
    rescue("verify", "--deep", image)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_journal_is_replayed_beside_the_image(kind: str, tmp_path: Path) -> None:
    """A filesystem as a power cut leaves it: whole once its journal is replayed, as at a start."""
    live, disk, image = tmp_path / "live.raw", tmp_path / "pc.raw", tmp_path / "pc.rescue"
    with live.open("wb") as file:
        file.truncate(400 * MIB)
    run([f"mkfs.{kind}", "-q", live])
    folder = tmp_path / "mounted"
    folder.mkdir()
    run(["mount", "-o", "loop", live, folder])
    try:
        for number in range(300):
            (folder / f"{number}").write_bytes(os.urandom(5000))
        run(["sync", "-f", folder])
        for number in range(0, 300, 2):
            (folder / f"{number}").unlink()
        fd = os.open(folder / "1", os.O_WRONLY)
        os.fsync(fd)  # the journal is on the disk, most of what it tells of is not
        os.close(fd)
        run(["cp", "--sparse=always", live, disk])
    finally:
        run(["umount", folder])
    rescue("capture", disk, image)
    found = verdict(image)
    assert found["filesystems"] == [
        {
            "partition": 0,
            "fs": kind,
            "label": "",
            "result": "whole",
            "words": "once its journal was replayed, as at any start",
        }
    ]


def test_a_damaged_image_is_not_looked_into(made: Made, tmp_path: Path) -> None:
    image = tmp_path / "pc.rescue"
    rescue("capture", made.disk, image)
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    found = verdict(image, ok=Exit.DAMAGED)
    assert "filesystems" not in found
