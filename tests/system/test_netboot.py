"""A netboot folder made for real, and looked at by other people's tools."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from rescue.core.process import run
from tests.boot import media

pytestmark = pytest.mark.timeout(1200)
BUILDER = [sys.executable, "-m", "builder.cli.main", "netboot"]


def builder(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BUILDER, *map(str, words)],
        cwd=media.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def iso() -> Path:
    return media.ensure_iso()


@pytest.fixture(scope="module")
def folder(iso: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("netboot") / "served"
    done = builder(made, "--iso", iso, "--url", "http://192.0.2.1:8080")
    assert done.returncode == 0, done.stderr
    assert "memory:" in done.stdout
    yield made
    run(["rm", "-rf", made])


def build_of(folder: Path) -> Path:
    (info,) = folder.glob("*/.disk/info")
    return info.parent.parent


def test_everything_has_its_sum(folder: Path) -> None:
    own = build_of(folder)
    assert "FAILED" not in run(["sha256sum", "--check", "sha256sums.txt"], cwd=own).text
    listed = {line.split("  ")[1] for line in (own / "sha256sums.txt").read_text().splitlines()}
    there = {str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()}
    assert there - listed == {"sha256sums.txt"}
    assert {"vmlinuz", "initrd.img", "live/base.squashfs", "live/top.squashfs"} <= listed


def test_what_firmware_starts_is_signed(folder: Path) -> None:
    for name in ("shimx64.efi", "grubx64.efi", "mmx64.efi"):
        # The certificate table of a PE file: a signature is there (its truth is shim's business).
        data = (folder / name).read_bytes()
        header = int.from_bytes(data[0x3C:0x40], "little")
        place, length = (
            int.from_bytes(data[header + at : header + at + 4], "little") for at in (168, 172)
        )
        assert 0 < place < place + length <= len(data), name
    # GRUB's own start for a BIOS that loads it by TFTP: at most what lies below 640 KiB.
    assert 100_000 < (folder / "netboot.pxe").stat().st_size < 400_000


def test_the_initial_memory_disk_brings_network_and_sums(folder: Path, tmp_path: Path) -> None:
    own = build_of(folder)
    data = (own / "initrd.img").read_bytes()
    starts = [at for at in range(0, len(data), 512) if data[at : at + 4] == b"\x28\xb5\x2f\xfd"]
    added = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data[starts[-1] :])).read()
    subprocess.run(["cpio", "-id", "--quiet"], input=added, cwd=tmp_path, check=True)
    (modules,) = (tmp_path / "usr/lib/modules").iterdir()
    for name in ("e1000e", "igb", "r8169", "virtio_net", "bnx2x", "mlx5_core"):
        assert list(modules.rglob(f"{name}.ko*")), name
    assert (modules / "modules.dep.bin").is_file()
    for line in (tmp_path / "conf/rescue-fetch").read_text().splitlines():
        digest, size, path = line.split(" ", 2)
        content = (own / path).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), str(len(content))) == (digest, size)
    script = tmp_path / "usr/lib/live/boot/9991-rescue-fetch.sh"
    run(["sh", "-n", script])


def test_again_with_another_address_and_after_a_kill(folder: Path, iso: Path) -> None:
    own = build_of(folder)
    stray = folder / f"{own.name}.partial"
    stray.mkdir()
    (stray / "half").write_bytes(b"x")
    done = builder(folder, "--iso", iso, "--url", "http://192.0.2.9")
    assert done.returncode == 0, done.stderr
    assert not stray.exists()
    assert build_of(folder) == own
    assert "http://192.0.2.9/" in (folder / "boot.ipxe").read_text()
    assert not list(folder.rglob("*.partial"))


def test_an_interruption_leaves_no_half_of_a_build(iso: Path, tmp_path: Path) -> None:
    out = tmp_path / "served"
    with subprocess.Popen(
        [*BUILDER, str(out), "--iso", str(iso)],
        cwd=media.ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "copy the layers" in line:
                os.killpg(running.pid, signal.SIGINT)
                break
        said = running.stderr.read()
        assert running.wait() == 130, said
        assert "error: interrupted" in said
    assert not list(out.rglob("*")), list(out.rglob("*"))


def test_what_cannot_be_served_is_refused(iso: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    plain = tmp_path / "plain"
    plain.write_text("x")
    for words, said in (
        ([full, "--iso", iso], "holds other things"),
        ([plain, "--iso", iso], "is not a folder"),
        ([tmp_path / "new", "--iso", plain], "not a sealed ISO"),
        ([tmp_path / "new", "--iso", iso, "--url", "https://x"], "not an address"),
        ([tmp_path / "new", "--iso", iso, "--recipe", plain], "--recipe and --cache"),
    ):
        done = builder(*words)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "hint: " in done.stderr or "--recipe" in done.stderr
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
