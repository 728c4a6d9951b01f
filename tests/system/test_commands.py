"""The commands as a person starts them: broken input gives one error line and the right code.

Show 7 of the first milestone: missing files, directories in place of files, no permission, an image
of random bytes, a disk of zero length. Nothing hangs, nothing is made, nothing has a traceback.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

RESCUE = [sys.executable, "-m", "rescue.cli.main"]
# Root may read everything; without these two capabilities it is held to a file's mode.
HELD_TO_MODES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def rescue(*words: str | Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``rescue`` without a terminal; a command that hangs fails the test."""
    return subprocess.run(
        [*before, *RESCUE, *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], status: int) -> None:
    """One error line, at most one hint after it, this status, no traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "Traceback" not in said
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    behind = lines[lines.index(errors[0]) + 1 :]
    assert len(behind) <= 1
    assert all(line.startswith("hint: ") for line in behind)
    assert not errors[0].endswith(".")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small disk with a table and something in it."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    path.write_bytes(b"")
    os.truncate(path, 24 << 20)
    subprocess.run(["sfdisk", "--quiet", path], input=b"label: gpt\nsize=4M\nsize=8M\n", check=True)
    with path.open("r+b") as file:
        file.seek(2 << 20)
        file.write(random.Random(1).randbytes(2 << 20))
    return path


@pytest.fixture(scope="module")
def image(disk: Path) -> Path:
    """An image of it."""
    path = disk.with_name("good.rescue")
    done = rescue("capture", disk, path)
    assert done.returncode == 0, done.stderr
    return path


BROKEN = {
    "missing": 10,
    "folder": 10,
    "fifo": 10,
    "random": 20,
    "empty": 20,
    "a disk": 20,
    "cut": 22,
    "/dev/null": 20,
}


def broken(kind: str, folder: Path, disk: Path, image: Path) -> Path:
    """Something in the place of an image."""
    path = folder / f"{kind.strip('/').replace('/', '-')}.rescue"
    if kind.startswith("/"):
        return Path(kind)
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "random":
        path.write_bytes(random.Random(2).randbytes(200_000))
    elif kind == "empty":
        path.touch()
    elif kind == "cut":
        path.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    elif kind == "a disk":
        return disk
    return path


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize(
    "words", [["show"], ["verify"], ["verify", "--deep"], ["restore"], ["restore", "--dry-run"]]
)
def test_what_stands_in_the_place_of_an_image(
    words: list[str], kind: str, tmp_path: Path, disk: Path, image: Path
) -> None:
    given = broken(kind, tmp_path, disk, image)
    target = [tmp_path / "new.raw"] if words[0] == "restore" else []
    assert_refused(rescue(*words, given, *target), BROKEN[kind])
    assert not (tmp_path / "new.raw").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "zero length", "/dev/null"])
def test_what_stands_in_the_place_of_a_disk(kind: str, tmp_path: Path, image: Path) -> None:
    path = tmp_path / "disk.raw"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero length":
        path.touch()
    elif kind == "/dev/null":
        path = Path(kind)
    assert_refused(rescue("capture", path, tmp_path / "x.rescue"), 10)
    assert not (tmp_path / "x.rescue").exists()
    if kind != "missing":  # a target file that is missing is made
        assert_refused(rescue("restore", image, path, "--erase", path), 11)


@pytest.mark.root
def test_without_permission(tmp_path: Path, disk: Path, image: Path) -> None:
    closed_image, closed_disk, folder = (tmp_path / name for name in ("i", "d.raw", "closed"))
    closed_image.write_bytes(image.read_bytes())
    closed_disk.write_bytes(disk.read_bytes())
    folder.mkdir()
    closed_image.chmod(0)
    closed_disk.chmod(0)
    folder.chmod(0o555)
    for words in (
        ("show", closed_image),
        ("verify", closed_image),
        ("verify", "--deep", closed_image),
        ("restore", closed_image, tmp_path / "new.raw"),
        ("capture", closed_disk, tmp_path / "x.rescue"),
        ("restore", image, closed_disk, "--erase", closed_disk),
        ("capture", disk, folder / "x.rescue"),
        ("restore", image, folder / "new.raw"),
        ("job", closed_image),
    ):
        assert_refused(rescue(*words, before=HELD_TO_MODES), 10)
    assert closed_disk.stat().st_size == disk.stat().st_size


def test_targets_that_are_not_confirmed(tmp_path: Path, disk: Path, image: Path) -> None:
    target = tmp_path / "target.raw"
    before = random.Random(3).randbytes(24 << 20)
    target.write_bytes(before)
    for erase in (["--erase", "wrong"], ["--erase", ""], []):
        assert_refused(rescue("restore", image, target, *erase), 11)
        assert target.read_bytes() == before
    done = rescue("restore", image, target, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == before
    done = rescue("restore", image, target, "--erase", target)
    assert done.returncode == 0, done.stderr
    assert "outcome: complete" in done.stdout
    head = 4 << 20
    assert target.read_bytes()[1 << 20 : head] == disk.read_bytes()[1 << 20 : head]


def test_the_image_is_no_target(image: Path) -> None:
    before = image.read_bytes()
    assert_refused(rescue("restore", image, image, "--erase", image), 11)
    assert image.read_bytes() == before


def test_an_interrupted_capture_says_so_and_is_incomplete(tmp_path: Path) -> None:
    source, made = tmp_path / "large.raw", tmp_path / "x.rescue"
    noise = random.Random(4).randbytes(1 << 20)
    with source.open("wb") as file:
        for _ in range(600):
            file.write(noise[::-1])
            noise = noise[1:] + noise[:1]
    child = subprocess.Popen(
        [*RESCUE, "capture", "--level", "19", "--all-sectors", str(source), str(made)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (made.exists() and made.stat().st_size > 3 << 20):
        assert time.monotonic() < until, "the capture did not begin"
        assert child.poll() is None, "the capture ended before it could be interrupted"
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert said.splitlines()[-1] == "error: stopped by SIGTERM"
    assert "outcome: incomplete" in said
    assert "Traceback" not in said
    assert_refused(rescue("verify", made), 22)


def test_a_reader_that_goes_away_is_no_error() -> None:
    child = subprocess.Popen(
        [*RESCUE, "disks", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    said = child.stderr.read()
    assert child.wait(60) == 141
    assert said == ""
    child.stderr.close()


def test_help_comes_at_once() -> None:
    """Nothing heavy is imported before a verb runs; that, and not a clock, is what can be held."""
    code = (
        "import sys, rescue.cli.main, rescue.cli.verbs; "
        "print(*sorted(n for n in sys.modules if n.split('.')[0] in "
        "{'blake3', 'zstandard', 'cryptography', 'parted', 'rich', 'pydantic', 'asyncio'} or "
        "n.startswith(('rescue.image', 'rescue.capture', 'rescue.restore', 'rescue.verify'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
