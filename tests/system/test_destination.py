"""A destination that is full, fails, is read-only, is gone, or was never there."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.image import parts, split
from tests.torture.calling import ROOT, change, digest, digests, make_disk, must, start


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    make_disk(path, 40, 21)
    return path


def test_any_call_may_fail(tmp_path: Path) -> None:
    """Every Nth write, fsync, close, link, … in turn; ``ci/torture destination`` does more ways."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.destination", "--small", "--mib", "3",
         "--folder", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tries: whole" in done.stdout
    assert done.stderr.count(": held") == 6  # three trials, two ways each


@contextmanager
def mounted(file: Path, point: Path, *options: str) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    run(["mount", "-o", ",".join(["loop", *options]), str(file), str(point)])
    try:
        yield point
    finally:
        run(["umount", "--lazy", str(point)], check=False)


def ext4(path: Path, mib: int) -> Path:
    with path.open("wb") as file:
        file.truncate(mib * MIB)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", str(path)])
    return path


@pytest.mark.root
def test_a_full_disk(disk: Path, tmp_path: Path) -> None:
    """It stops at once; when there is room it goes on; the earlier image is as it was."""
    old = tmp_path / "old.raw"
    make_disk(old, 4, 22)
    with mounted(ext4(tmp_path / "store.ext4", 24), tmp_path / "store") as store:
        must(0, "capture", "--all-sectors", old, store / "old.rescue")
        before = digest(store / "old.rescue")
        (store / "ballast").write_bytes(os.urandom(4 * MIB))
        image = store / "x.rescue"
        called = must(10, "capture", "--all-sectors", disk, image)
        assert "error: no room left for" in called.err and "hint: make room" in called.err
        assert "outcome: incomplete" in called.err and "--resume" in called.err
        must(22, "verify", image)
        called = must(10, "capture", "--all-sectors", "--resume", disk, image)
        assert "no room left" in called.err
        run(["umount", str(store)])
        run(["e2fsck", "-f", "-p", str(tmp_path / "store.ext4")], check=False)
        os.truncate(tmp_path / "store.ext4", 80 * MIB)
        run(["resize2fs", str(tmp_path / "store.ext4")])
        with mounted(tmp_path / "store.ext4", store):
            must(0, "capture", "--all-sectors", "--resume", disk, image)
            must(0, "restore", image, tmp_path / "back.raw")
            assert digest(store / "old.rescue") == before
    assert filecmp.cmp(tmp_path / "back.raw", disk, shallow=False)


@pytest.mark.root
def test_a_read_only_disk(disk: Path, tmp_path: Path) -> None:
    with mounted(ext4(tmp_path / "store.ext4", 16), tmp_path / "store", "ro") as store:
        called = must(10, "capture", "--all-sectors", disk, store / "x.rescue")
        assert "read-only" in called.err
        assert not (store / "x.rescue").exists()


@pytest.mark.root
def test_a_disk_that_turns_read_only(disk: Path, tmp_path: Path) -> None:
    """ext4 does so after its first error: an image that was begun stays and is incomplete."""
    for _ in range(5):
        with mounted(ext4(tmp_path / "store.ext4", 96), tmp_path / "store") as store:
            image = store / "x.rescue"
            child = start("capture", "--all-sectors", disk, image, checkpoint=0.01)
            try:
                while child.poll() is None and not image.exists():
                    time.sleep(0.001)
                # As after an error; a plain "remount,ro" is refused while a file is written.
                run(["mount", "-o", "remount,abort", str(store)])
                _, errors = child.communicate(timeout=120)
            finally:
                child.kill()
                child.wait()
            text = errors.decode()
            if child.returncode == 0:
                continue  # it was faster
            assert child.returncode == 10, text
            assert sum(line.startswith("error:") for line in text.splitlines()) == 1, text
            must(22, "verify", image)
            called = must(10, "capture", "--all-sectors", "--resume", disk, image)
            assert "read-only" in called.err
            return
    raise AssertionError("every capture was faster than the remount")


def test_a_folder_that_is_not_there(disk: Path, tmp_path: Path) -> None:
    called = must(10, "capture", "--all-sectors", disk, tmp_path / "nowhere" / "x.rescue")
    assert "no such file or directory" in called.err
    assert not (tmp_path / "nowhere").exists()
    file = tmp_path / "file"
    file.write_bytes(b"not a folder")
    must(10, "capture", "--all-sectors", disk, file / "x.rescue")
    assert file.read_bytes() == b"not a folder"


@pytest.mark.root
def test_a_disk_that_is_unplugged(disk: Path, tmp_path: Path) -> None:
    """A FUSE filesystem whose server dies in the middle of a write: ENOTCONN from then on."""
    volume, store = tmp_path / "store.ntfs", tmp_path / "store"
    with volume.open("wb") as file:
        file.truncate(96 * MIB)
    run(["mkfs.ntfs", "-q", "-F", "-f", str(volume)])
    store.mkdir()
    server = subprocess.Popen(["ntfs-3g", "-o", "no_detach", str(volume), str(store)])
    try:
        while not os.path.ismount(store):
            time.sleep(0.01)
            assert server.poll() is None
        image = store / "x.rescue"
        child = start("capture", "--all-sectors", disk, image, checkpoint=0.01)
        try:
            while child.poll() is None and not image.exists():
                time.sleep(0.001)
            server.kill()
            server.wait()
            _, errors = child.communicate(timeout=120)
        finally:
            child.kill()
            child.wait()
    finally:
        server.kill()
        server.wait()
        run(["umount", "--lazy", str(store)], check=False)
    text = errors.decode()
    assert child.returncode == 10, text
    assert sum(line.startswith("error:") for line in text.splitlines()) == 1, text
    assert "Traceback" not in text and "safe to rely on" not in text


def test_left_over_files_go(disk: Path, tmp_path: Path) -> None:
    """A capture killed before its image had a name leaves a file that the next one removes."""
    image = tmp_path / "store" / "x.rescue"
    image.parent.mkdir()
    left = image.with_name("x.rescue.0a1b2c3d.new")
    left.write_bytes(b"RESCUE\x1a\n" + bytes(8184))
    foreign = [
        image.with_name("x.rescue.0a1b2c3d.newer"),
        image.with_name("x.rescue.00000000.new"),
        image.with_name("y.rescue.0a1b2c3d.new"),
    ]
    for path in foreign:
        path.write_bytes(b"not an image: a person's own file")
    before = {path.name: digest(path) for path in foreign}
    must(0, "capture", "--all-sectors", disk, image)
    assert not left.exists()
    after = digests(image.parent)
    assert after.pop(image.name)
    assert after == before


def test_parts(disk: Path, tmp_path: Path) -> None:
    """Each part is exactly as large as asked for, private, and found by arithmetic."""
    image, back = tmp_path / "x.rescue", tmp_path / "back.raw"
    must(0, "capture", "--all-sectors", "--part-size", "3M", disk, image)
    files = sorted(tmp_path.glob("x.rescue*"))
    assert len(files) > 5
    assert [path.name for path in files[:3]] == ["x.rescue", "x.rescue.002", "x.rescue.003"]
    assert {path.stat().st_size for path in files[:-1]} == {3 * MIB}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    must(0, "verify", "--deep", image)
    must(0, "restore", image, back)
    assert filecmp.cmp(back, disk, shallow=False)
    back.unlink()
    files[2].rename(tmp_path / "away")
    called = must(22, "verify", image)
    assert f"{files[2]} is missing" in called.err
    files[3].rename(files[2])
    must(20, "verify", image)
    files[2].rename(files[3])
    (tmp_path / "away").rename(files[2])
    must(0, "verify", image)
    must(2, "verify", files[1])
    files[-1].unlink()
    must(22, "verify", image)


def test_a_fat_destination_is_split_by_itself(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT32 cannot hold a file of 4 GiB; what the kernel says of the folder decides."""
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mountinfo = (
        f"21 1 0:99 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        f"36 21 {number} / /mnt rw,noatime shared:7 - vfat /dev/sdb1 rw,fmask=0022\n"
    )
    assert split.type_in(mountinfo, device) == "vfat"
    assert split.type_in(mountinfo, os.makedev(0, 99)) == "ext4"
    assert split.type_in(mountinfo, os.makedev(9, 9)) == ""
    assert split.filesystem_of(tmp_path) not in ("", "vfat")

    monkeypatch.setattr(split, "filesystem_of", lambda _folder: split.type_in(mountinfo, device))
    monkeypatch.setitem(split.NAMED, "fat32", 2 * MIB)  # so that the parts of a test are small
    image = tmp_path / "x.rescue"
    must(0, "capture", "--all-sectors", disk, image)
    assert image.stat().st_size == 2 * MIB
    assert parts.part_path(image, 9).exists()
    # What is asked for counts when it is smaller, and is bounded when it is larger.
    assert split.capacity_for(image, "1G") == 2 * MIB - 8192
    must(0, "restore", image, tmp_path / "back.raw")
    assert filecmp.cmp(tmp_path / "back.raw", disk, shallow=False)


def test_level_auto(disk: Path, tmp_path: Path) -> None:
    image, back = tmp_path / "x.rescue", tmp_path / "back.raw"
    must(0, "capture", "--all-sectors", "--level", "auto", disk, image)
    must(0, "restore", image, back)
    assert filecmp.cmp(back, disk, shallow=False)
    change(disk, 1)
    for wrong in ("0", "20", "fast", "-1", "٣"):
        must(2, "capture", "--all-sectors", f"--level={wrong}", disk, tmp_path / "y.rescue")
    assert not (tmp_path / "y.rescue").exists()
