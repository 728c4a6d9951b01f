"""A capture that was killed goes on, or says clearly why it cannot."""

from __future__ import annotations

import filecmp
import random
import shutil
import time
from pathlib import Path

import pytest

from rescue.core.units import MIB
from rescue.image import codec
from rescue.image.container import parse_segment
from rescue.image.header import BODY_START
from rescue.image.partreader import PartReader
from rescue.image.record import HEADER_SIZE, Type
from rescue.image.scan import records
from tests.torture.calling import change, digest, make_disk, must, start
from tests.torture.kill import KINDS, half, torture


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Twelve rounds over all kinds of images; ``ci/torture kill`` does 200 with larger disks."""
    bench = torture(tmp_path, 12, 40, seed=4, quiet=True)
    assert bench.events["killed"] >= 12 - bench.events["too late"] > 0
    assert bench.events["resumed"] > 0, bench.events
    assert set(bench.seconds) == {kind.name for kind in KINDS}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    make_disk(path, 64, 3)
    return path


def test_goes_on_where_it_was(disk: Path, tmp_path: Path) -> None:
    """What was stored before the kill is not stored again."""
    image, back = tmp_path / "x.rescue", tmp_path / "back.raw"
    half(disk, image)
    with PartReader(image) as parts:
        ends = [one.position + one.head.total for one in records(parts)
                if one.head.type is Type.INDEX]  # fmt: skip
    before = image.read_bytes()[: BODY_START + ends[-1]]
    must(0, "capture", "--all-sectors", "--resume", disk, image)
    assert image.read_bytes()[: len(before)] == before
    must(2, "capture", "--all-sectors", "--resume", disk, image)  # nothing to resume
    must(0, "restore", image, back)
    assert filecmp.cmp(back, disk, shallow=False)


def test_a_source_that_changed_is_refused(disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "x.rescue"
    half(disk, image)
    original, before = tmp_path / "original.raw", digest(image)
    shutil.copyfile(disk, original)

    with disk.open("r+b") as file:  # one byte that was captured already
        file.seek(MIB // 2)
        byte = file.read(1)
        file.seek(MIB // 2)
        file.write(bytes([byte[0] ^ 1]))
    called = must(2, "capture", "--all-sectors", "--resume", disk, image)
    assert "the source changed since" in called.err
    assert digest(image) == before, "a refusal wrote to the image"

    with disk.open("ab") as file:
        file.write(bytes(MIB))
    called = must(2, "capture", "--all-sectors", "--resume", disk, image)
    assert "another size" in called.err

    other = tmp_path / "other.raw"
    make_disk(other, 64, 99)
    must(2, "capture", "--all-sectors", "--resume", other, image)
    assert digest(image) == before
    must(0, "capture", "--all-sectors", "--resume", original, image)
    must(0, "verify", "--deep", image)


def test_another_parent_is_refused(disk: Path, tmp_path: Path) -> None:
    first, second, image = (tmp_path / name for name in ("first", "second", "x.rescue"))
    must(0, "capture", "--all-sectors", disk, first)
    must(0, "capture", "--all-sectors", disk, second)
    change(disk, 5, places=200)
    half(disk, image, "--parent", first)
    for words in ((), ("--parent", second)):
        called = must(2, "capture", "--all-sectors", "--resume", *words, disk, image)
        assert "another parent" in called.err
    must(0, "capture", "--all-sectors", "--resume", "--parent", first, disk, image)
    must(0, "restore", image, tmp_path / "back.raw")
    assert filecmp.cmp(tmp_path / "back.raw", disk, shallow=False)


def test_an_image_that_is_being_written_is_left_alone(disk: Path, tmp_path: Path) -> None:
    """Two processes that write one image would destroy it: the second one is told."""
    image = tmp_path / "x.rescue"
    half(disk, image)
    child = start("capture", "--all-sectors", "--resume", disk, image)
    try:
        child.send_signal(19)  # SIGSTOP, at whatever it does: it has the image open or will
        time.sleep(0.05)
        while child.poll() is None and not is_open(child.pid, image):
            child.send_signal(18)
            time.sleep(0.002)
            child.send_signal(19)
            time.sleep(0.002)
        assert child.poll() is None
        called = must(2, "capture", "--all-sectors", "--resume", disk, image)
        assert "another process" in called.err
        child.send_signal(18)
        assert child.wait(timeout=120) == 0
    finally:
        child.kill()
        child.communicate()
    must(0, "verify", "--deep", image)


def is_open(pid: int, path: Path) -> bool:
    """Whether a process holds the file open for writing (fdinfo flags, O_RDWR)."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if entry.readlink() == path:
                info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
                flags = int(info.split("flags:")[1].split()[0], 8)
                if flags & 3 == 2:
                    return True
        except OSError:
            continue
    return False


def test_cut_anywhere(disk: Path, tmp_path: Path) -> None:
    """A power cut may cut the file anywhere: it is gone on with, or there is nothing to go on."""
    image, cut = tmp_path / "x.rescue", tmp_path / "cut.rescue"
    half(disk, image)
    size = image.stat().st_size
    rng = random.Random(6)
    places = [100, 8192, 8300, size - 1, *(rng.randrange(8192, size) for _ in range(6))]
    for place in places:
        shutil.copyfile(image, cut)
        with cut.open("r+b") as file:
            file.truncate(place)
        if place < 9000:
            must(20, "capture", "--all-sectors", "--resume", disk, cut)
        else:
            must(0, "capture", "--all-sectors", "--resume", disk, cut)
            must(0, "restore", cut, tmp_path / "back.raw")
            assert filecmp.cmp(tmp_path / "back.raw", disk, shallow=False)
            (tmp_path / "back.raw").unlink()
        cut.unlink()


def test_no_key_and_counter_twice(tmp_path: Path) -> None:
    """Each process that writes to a sealed image has a key of its own: AES-GCM depends on it."""
    disk, image, key = tmp_path / "disk.raw", tmp_path / "x.rescue", tmp_path / "key"
    make_disk(disk, 110, 4)
    public = must(0, "key", "new", key).out.strip()
    half(disk, image, "--recipient", public, more_than=6 * MIB)
    half(disk, image, "--key-file", key, "--resume", more_than=2 * MIB)
    must(23, "capture", "--all-sectors", "--resume", disk, image)
    must(2, "capture", "--all-sectors", "--resume", "--recipient", public, disk, image)
    must(0, "capture", "--all-sectors", "--resume", "--key-file", key, disk, image)
    used: set[tuple[int, int, int]] = set()
    salts: dict[int, bytes] = {}
    with PartReader(image) as parts:
        for found in records(parts):
            head = found.head
            if head.type is Type.SEGMENT:
                content = codec.decompress(head.coding, found.block[HEADER_SIZE:], head.content)
                assert head.segment not in salts
                salts[head.segment] = parse_segment(content).salt
            if head.sealed:
                assert (head.segment, head.type, head.number) not in used
                used.add((head.segment, head.type, head.number))
    assert len(salts) == len(set(salts.values())) == 3, salts
    assert {1, 3} <= {segment for segment, _, _ in used} <= set(salts)
    must(0, "verify", "--deep", image, "--key-file", key)
    must(0, "restore", image, tmp_path / "back.raw", "--key-file", key)
    assert filecmp.cmp(tmp_path / "back.raw", disk, shallow=False)
