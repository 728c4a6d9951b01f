"""A set of discs made for real: other people's tools take it apart, and the image is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.boot import media

pytestmark = pytest.mark.timeout(900)
JOB = """action = "restore"
target = { serial = "S1" }
erase = "S1"
image = { label = "medium", path = "rescue/images/pc.rescue" }
"""


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=media.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def good(*words: str | Path) -> str:
    done = command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def image_of(folder: Path, size: int) -> Path:
    """An image that cannot be made smaller."""
    disk = folder / "disk.raw"
    disk.write_bytes(os.urandom(size))
    good("rescue.cli.main", "capture", disk, folder / "pc.rescue")
    disk.unlink()
    (folder / "pc.toml").write_text(JOB)
    return folder / "pc.rescue"


def make(folder: Path, size: int) -> str:
    words: list[str | Path] = ["--include", folder / "pc.rescue", "--job", folder / "pc.toml"]
    return good("builder.cli.main", "iso", folder / "pc.iso", *words, "--media-size", str(size))


def test_an_image_goes_on_three_discs_and_is_whole(tmp_path: Path) -> None:
    system = media.ensure_iso().stat().st_size
    image = image_of(tmp_path, 2 * system + 40 * MIB)
    before = image.read_bytes()
    size = system + 30 * MIB
    said = make(tmp_path, size)
    assert image.read_bytes() == before
    discs = [tmp_path / name for name in ("pc.iso", "pc-2.iso", "pc-3.iso")]
    assert sorted(tmp_path.glob("*.iso")) == sorted(discs)
    assert "disc 3:" in said
    joined = tmp_path / "joined"
    joined.mkdir()
    for number, disc in enumerate(discs, start=1):
        assert disc.stat().st_size <= size
        assert "ok" in good("builder.cli.main", "verify", disc)
        out = tmp_path / f"disc{number}"
        run(["xorriso", "-osirrox", "on", "-indev", disc, "-extract", "/", out])
        assert "FAILED" not in run(["sha256sum", "--check", "sha256sums.txt"], cwd=out).text
        assert (out / "rescue/disc").read_text().split()[1:] == [str(number), "3"]
        for part in (out / "rescue/images").iterdir():
            part.rename(joined / part.name)
    listed = (tmp_path / "disc1/rescue/discs").read_text()
    assert [line.split()[0] for line in listed.splitlines()] == ["1", "2", "3"]
    assert {Path(word).name for word in listed.split() if "/" in word} == {
        part.name for part in joined.iterdir()
    }
    menu = (tmp_path / "disc1/boot/grub/grub.cfg").read_text()
    assert "toram rescue.discs=3\n" in menu
    good("rescue.cli.main", "verify", joined / "pc.rescue")
    run(["rm", "-rf", *tmp_path.glob("*.iso"), tmp_path / "disc1", tmp_path / "disc2", joined])


def test_what_fits_stays_one_disc(tmp_path: Path) -> None:
    image_of(tmp_path, 4 * MIB)
    said = make(tmp_path, 1 << 30)
    assert "disc 2:" not in said
    run(
        [
            "xorriso",
            "-osirrox",
            "on",
            "-indev",
            tmp_path / "pc.iso",
            "-extract",
            "/",
            tmp_path / "a",
        ]
    )
    assert (tmp_path / "a/rescue/images/pc.rescue").is_file()
    assert not (tmp_path / "a/rescue/discs").exists()
    assert "rescue.discs" not in (tmp_path / "a/boot/grub/grub.cfg").read_text()


def test_discs_that_are_too_small_and_sizes_that_are_none(tmp_path: Path) -> None:
    image_of(tmp_path, 4 * MIB)
    words: list[str | Path] = ["--include", tmp_path / "pc.rescue", "--media-size"]
    for size, said in (("50M", "the system takes"), ("huge", "not a size"), ("1M", "too small")):
        done = command("builder.cli.main", "iso", tmp_path / "pc.iso", *words, size)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "hint: " in done.stderr
    assert not list(tmp_path.glob("*.iso*"))


def test_an_encrypted_image_is_to_be_split_by_hand(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(os.urandom(60 * MIB))
    public = good("rescue.cli.main", "key", "new", tmp_path / "key").strip()
    made = tmp_path / "pc.rescue"
    good("rescue.cli.main", "capture", "--recipient", public, disk, made)
    size = media.ensure_iso().stat().st_size + 30 * MIB
    words: list[str | Path] = ["--include", made, "--media-size", str(size)]
    done = command("builder.cli.main", "iso", tmp_path / "pc.iso", *words)
    assert done.returncode == 30, done.stderr
    assert "could not be split" in done.stderr
    assert "hint: split it by hand: rescue merge" in done.stderr
    assert not list(tmp_path.glob("*.iso*"))
