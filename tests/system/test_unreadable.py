"""Unreadable sectors: found exactly, recorded exactly, never passed off as zeros.

The source is a file of a FUSE filesystem (nbdfuse) over nbdkit, whose ddrescue filter fails every
read that touches a sector of its map.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.core import mapfile
from rescue.core.extent import ExtentMap
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.devices.blockio import Source
from tests.torture.calling import Called, change, digest, make_disk, must
from tests.torture.kill import half

pytestmark = pytest.mark.root
SECTOR = 512
PLACES = 100


@contextmanager
def failing(disk: Path, bad: ExtentMap, folder: Path) -> Iterator[Path]:
    """A file that shows ``disk`` and cannot read these bytes of it."""
    point, log, broken = folder / "fuse", folder / "fuse.log", folder / "broken.map"
    point.mkdir(exist_ok=True)
    broken.write_text(mapfile.text_of(bad, disk.stat().st_size))
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["nbdfuse", "--readonly", str(point), "[", "nbdkit", "--readonly", "--filter=ddrescue",
             "file", str(disk), f"ddrescue-mapfile={broken}", "]"],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not (point / "nbd").exists():
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield point / "nbd"
    finally:
        run(["umount", str(point)], check=False)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def bad_places(size: int, seed: int) -> ExtentMap:
    """100 random places of 1 to 9 sectors; the first and the last sector of the disk too."""
    rng = random.Random(seed)
    sectors = size // SECTOR
    pairs = [(0, SECTOR), (size - SECTOR, size), (3 * MIB - SECTOR, 3 * MIB + SECTOR)]
    for _ in range(PLACES - len(pairs)):
        start = rng.randrange(sectors - 9) * SECTOR
        pairs.append((start, start + rng.choice((1, 1, 1, 2, 3, 8, 9)) * SECTOR))
    return ExtentMap.of(pairs)


def failed_of(called: Called) -> ExtentMap:
    """The unreadable extents of a result in JSON."""
    data = json.loads(called.out)
    ledger = data["manifest"]["ledger"] if "manifest" in data else data["ledger"]
    return ExtentMap.of((one["start"], one["start"] + one["length"]) for one in ledger["failed"])


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    make_disk(path, 48, 31)
    with path.open("r+b") as file:  # no holes: what lies in one cannot be unreadable
        for at in range(0, path.stat().st_size, MIB):
            file.seek(at)
            if not any(file.read(64)):
                file.seek(at)
                file.write(random.Random(at).randbytes(min(MIB, path.stat().st_size - at)))
    return path


@pytest.fixture(scope="module")
def bad(disk: Path) -> ExtentMap:
    return bad_places(disk.stat().st_size, 32)


def expected(disk: Path, bad: ExtentMap, path: Path) -> str:
    """Digest of the disk with zeros in the bad places."""
    shutil.copyfile(disk, path)
    with path.open("r+b") as file:
        for extent in bad:
            file.seek(extent.start)
            file.write(bytes(extent.length))
    value = digest(path)
    path.unlink()
    return value


def test_exactly_the_bad_sectors(disk: Path, bad: ExtentMap, tmp_path: Path) -> None:
    image, back, found = tmp_path / "x.rescue", tmp_path / "back.raw", tmp_path / "found.map"
    with failing(disk, bad, tmp_path) as source:
        with Source(source) as opened, pytest.raises(OSError):
            opened.pread(SECTOR, bad.starts[5])  # the source does fail
        called = must(
            3, "capture", "--all-sectors", "--json", "--retry", 2, "--mapfile", found, source, image
        )
    assert failed_of(called) == bad
    shown = must(0, "show", "--json", image)
    assert failed_of(shown) == bad
    # ddrescue takes our mapfile, and lists the very sectors as bad.
    listed = run(["ddrescuelog", "--sector-size=512", "--list-blocks=-", str(found)]).text.split()
    assert [int(word) for word in listed] == [
        number for start, end in bad.pairs() for number in range(start // SECTOR, end // SECTOR)
    ]

    told = must(3, "verify", image).out
    assert "safe to rely on: no" in told and "could not be read" in told
    must(3, "verify", "--deep", image)
    restored = must(3, "restore", image, back)
    assert "complete with unreadable sectors" in restored.out + restored.err
    assert digest(back) == expected(disk, bad, tmp_path / "expected.raw")
    plan = json.loads(must(0, "restore", "--dry-run", "--json", image, tmp_path / "n").out)
    assert sum(one["length"] for one in plan["unreadable"]) == bad.total

    # What could not be read is in the map of a salvage too: nobody takes it for data.
    must(20, "salvage", image, tmp_path / "saved.raw")
    assert mapfile.read(tmp_path / "saved.raw.map") == bad


def test_ddrescue_does_the_digging(disk: Path, bad: ExtentMap, tmp_path: Path) -> None:
    """GNU ddrescue reads the disk; its copy and its mapfile make the image."""
    copy, found, image = tmp_path / "copy.raw", tmp_path / "dd.map", tmp_path / "x.rescue"
    few = ExtentMap.of(list(bad.pairs())[::12])
    with failing(disk, few, tmp_path) as source:
        run(["ddrescue", "--idirect", "--no-trim", "--no-scrape", "--quiet",
             str(source), str(copy), str(found)], check=False)  # fmt: skip
        coarse = mapfile.read(found)  # not trimmed: more than what is really bad
        assert coarse.total > few.total and not few.difference(coarse)
        called = must(
            3, "capture", "--all-sectors", "--json", "--mapfile", found, copy, tmp_path / "c.rescue"
        )
        assert failed_of(called) == coarse
        run(["ddrescue", "--idirect", "--retry-passes=1", "--quiet",
             str(source), str(copy), str(found)], check=False)  # fmt: skip
    assert mapfile.read(found) == few
    before = found.read_bytes()
    called = must(3, "capture", "--all-sectors", "--json", "--mapfile", found, copy, image)
    assert failed_of(called) == few
    assert found.read_bytes() == before, "a mapfile that was given is never changed"
    must(3, "restore", image, tmp_path / "back.raw")
    assert digest(tmp_path / "back.raw") == expected(disk, few, tmp_path / "expected.raw")


def test_incremental(disk: Path, bad: ExtentMap, tmp_path: Path) -> None:
    """A child of such an image knows its own bad sectors, not its parent's."""
    first, second, third = (tmp_path / name for name in ("1.rescue", "2.rescue", "3.rescue"))
    few = ExtentMap.of(list(bad.pairs())[::20])
    with failing(disk, few, tmp_path) as source:
        called = must(3, "capture", "--all-sectors", "--json", source, first)
        assert failed_of(called) == few
        called = must(3, "capture", "--all-sectors", "--json", "--parent", first, source, second)
        assert failed_of(called) == few
    must(0, "capture", "--all-sectors", "--json", "--parent", second, disk, third)
    must(3, "restore", second, tmp_path / "2.raw")
    must(0, "restore", third, tmp_path / "3.raw")
    assert digest(tmp_path / "3.raw") == digest(disk)
    assert digest(tmp_path / "2.raw") == expected(disk, few, tmp_path / "expected.raw")


def test_killed_and_gone_on_with(disk: Path, bad: ExtentMap, tmp_path: Path) -> None:
    """What was found unreadable before a kill is known after it."""
    image = tmp_path / "x.rescue"
    few = ExtentMap.of(list(bad.pairs())[::10])
    with failing(disk, few, tmp_path) as source:
        half(source, image, more_than=10 * MIB)
        called = must(3, "capture", "--all-sectors", "--json", "--resume", source, image)
    assert failed_of(called) == few
    must(3, "restore", image, tmp_path / "back.raw")
    assert digest(tmp_path / "back.raw") == expected(disk, few, tmp_path / "expected.raw")


@pytest.mark.parametrize("kind", ["whole", "sealed", "incremental"])
def test_a_disk_that_dies_meanwhile(disk: Path, bad: ExtentMap, tmp_path: Path, kind: str) -> None:
    """Sectors that were captured before the kill and are lost after it are in the image."""
    image, key, first = tmp_path / "x.rescue", tmp_path / "key", tmp_path / "1.rescue"
    options: tuple[object, ...] = ()
    opening: tuple[object, ...] = ()
    if kind == "sealed":
        options = ("--recipient", must(0, "key", "new", key).out.strip())
        opening = ("--key-file", key)
    if kind == "incremental":
        older = tmp_path / "older.raw"
        shutil.copyfile(disk, older)
        change(older, 3, places=300)
        must(0, "capture", "--all-sectors", older, first)
        options = ("--parent", first)
    few = ExtentMap.of(list(bad.pairs())[::3])
    with failing(disk, ExtentMap(), tmp_path) as source:
        half(source, image, *options, more_than=4 * MIB)
    again = ("--parent", first) if kind == "incremental" else opening
    with failing(disk, few, tmp_path) as source:
        words = ("capture", "--all-sectors", "--json", "--resume", *again, source, image)
        found = failed_of(must(3, *words))
    assert not found.difference(few)
    assert found.total < few.total, "nothing of what was captured before was kept"
    must(3, "verify", "--deep", image, *opening)
    must(3, "restore", image, tmp_path / "back.raw", *opening)
    assert digest(tmp_path / "back.raw") == expected(disk, found, tmp_path / "expected.raw")


def test_a_disk_that_dies_and_changed(disk: Path, tmp_path: Path) -> None:
    """A lost sector is no excuse for another change in the same chunk."""
    image, other = tmp_path / "x.rescue", tmp_path / "other.raw"
    with failing(disk, ExtentMap(), tmp_path) as source:
        half(source, image, more_than=4 * MIB)
    before = digest(image)
    shutil.copyfile(disk, other)
    with other.open("r+b") as file:
        file.seek(300_000)
        file.write(b"changed")
    with failing(other, ExtentMap.single(100 * SECTOR, SECTOR), tmp_path) as source:
        called = must(2, "capture", "--all-sectors", "--resume", source, image)
    assert "the source changed since, at byte 0" in called.err
    assert digest(image) == before


def test_nothing_but_bad_sectors(tmp_path: Path) -> None:
    """A disk of which nothing can be read makes no image that looks like one of zeros."""
    disk, image = tmp_path / "disk.raw", tmp_path / "x.rescue"
    disk.write_bytes(os.urandom(MIB))
    with failing(disk, ExtentMap.single(MIB // 2, MIB // 2), tmp_path) as source:
        called = must(3, "capture", "--all-sectors", "--json", source, image)
    assert failed_of(called) == ExtentMap.single(MIB // 2, MIB // 2)
    with failing(disk, ExtentMap.single(0, MIB), tmp_path) as source:
        called = must(10, "capture", source, tmp_path / "y.rescue")
        assert "partition table" in called.err and "--all-sectors" in called.err
        assert not (tmp_path / "y.rescue").exists()
        called = must(3, "capture", "--all-sectors", "--json", source, tmp_path / "y.rescue")
    assert failed_of(called) == ExtentMap.single(0, MIB)
