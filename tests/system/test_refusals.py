"""Wrong targets and wrong images by the command: a reason, a way on, and not a byte written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.system.test_devices import loop_of, partitions_of
from tests.system.test_round_trip import RESCUE, digest, rescue

pytestmark = [pytest.mark.root]

SIZE = 64 * MIB


@dataclass(frozen=True)
class Bench:
    """An image of a small disk, and a folder."""

    image: Path
    folder: Path

    def target(self, name: str = "target", size: int = SIZE) -> Path:
        """A file full of something that must stay."""
        path = self.folder / name
        path.write_bytes(b"what stands here has to stay. " * (size // 30) + b"x" * (size % 30))
        return path

    def refused(self, code: int, said: str, *words: object, kept: Path | None = None) -> None:
        """The command ends with this code, one reason and a way on; ``kept`` is as it was."""
        before = digest(kept, 0, kept.stat().st_size) if kept else ""
        lines = rescue("restore", *words, ok=code).stderr.splitlines()
        (error,) = (line for line in lines if line.startswith("error: "))
        assert said in error, error
        assert any(line.startswith("hint: ") for line in lines), error
        assert (digest(kept, 0, kept.stat().st_size) if kept else "") == before


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a GPT disk with an ext4 and something unknown, which cannot be shrunk."""
    folder = tmp_path_factory.mktemp("refusals")
    disk, volume = folder / "disk", folder / "volume"
    for path, size in ((disk, SIZE), (volume, 20 * MIB)):
        with path.open("wb") as file:
            file.truncate(size)
    run(["sfdisk", "--quiet", disk], input=b"label: gpt\nstart=1M, size=20M\nstart=32M, size=30M\n")
    run(["mke2fs", "-q", "-F", "-t", "ext4", volume])
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc"])
    with disk.open("r+b") as file:
        file.seek(33 * MIB)
        file.write(os.urandom(8 * MIB))
    rescue("capture", disk, folder / "pc.rescue")
    return folder / "pc.rescue"


@pytest.fixture
def bench(image: Path, tmp_path: Path) -> Bench:
    return Bench(image, tmp_path)


@contextmanager
def mounted(node: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    run(["mount", node, folder])
    try:
        yield folder
    finally:
        run(["umount", folder])


def test_disks_in_use(bench: Bench) -> None:
    """Mounted, swapped on, a backing file, read-only, one of its partitions; the image on it."""
    disk = bench.target()
    run(["mke2fs", "-q", "-F", disk])
    with loop_of(disk) as node, mounted(node, bench.folder / "mount") as root:
        bench.refused(11, "is mounted on", bench.image, node, "--erase", node)
        shutil.copy(bench.image, root / "pc.rescue")
        os.sync()
        for target in (node, disk):
            said = f"{target} holds {root}/pc.rescue, which is to be read"
            bench.refused(11, said, root / "pc.rescue", target, "--erase", target)
        assert (root / "pc.rescue").read_bytes() == bench.image.read_bytes()
    run(["e2fsck", "-f", "-n", disk])
    with loop_of(disk) as node:
        said = "is the backing file of"
        bench.refused(11, said, bench.image, disk, "--erase", disk, kept=disk)
    with loop_of(disk, "--read-only") as node:
        bench.refused(11, "is read-only", bench.image, node, "--erase", node, kept=disk)
    run(["mkswap", disk])
    with loop_of(disk) as node:
        run(["swapon", node])
        try:
            bench.refused(11, "is used as swap", bench.image, node, "--erase", node)
        finally:
            run(["swapoff", node])
    run(["sfdisk", "--quiet", disk], input=b"label: gpt\nsize=50M\n")
    with loop_of(disk) as node, partitions_of(node):
        part = Path(f"{node}p1")
        said = "is a partition, not a whole disk"
        bench.refused(11, said, bench.image, part, "--erase", part, kept=disk)


def test_the_source_of_a_running_capture(bench: Bench) -> None:
    """Its capture goes on undisturbed, and when it has ended the disk is free."""
    disk = bench.target(size=96 * MIB)
    captured = bench.folder / "source.rescue"
    words = [str(RESCUE), "capture", "--level", "19", str(disk), str(captured)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        until = time.monotonic() + 30
        while not captured.exists() and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGSTOP)  # it is at work for as long as this takes
        try:
            assert child.poll() is None, "it was over too soon for this to show anything"
            said = "is in use by another program"
            bench.refused(11, said, bench.image, disk, "--erase", disk, kept=disk)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        assert child.wait() == 0
    rescue("verify", "--deep", captured)
    rescue("restore", bench.image, disk, "--erase", disk)


def test_what_is_no_disk(bench: Bench) -> None:
    folder, pipe, link, empty = (bench.folder / n for n in ("folder", "pipe", "link", "empty"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to("nothing")
    empty.touch()
    for code, said, target in (
        (11, "is a folder, not a disk", folder),
        (11, "is neither a disk nor a plain file", pipe),
        (11, "is neither a disk nor a plain file", Path("/dev/null")),
        (11, "is a link that leads nowhere", link),
        (11, "is an empty file", empty),
        (10, "there is no disk", Path("/dev/no-such-disk")),
        (10, "there is no directory", bench.folder / "none" / "disk.raw"),
    ):
        bench.refused(code, said, bench.image, target, "--erase", target)
        assert target in (Path("/dev/null"), link) or target.exists() is (code == 11)
    assert empty.stat().st_size == 0


def test_the_wrong_one(bench: Bench) -> None:
    """Too small with the number that is needed, unconfirmed, confirmed as another one."""
    small, disk = bench.target("small", 40 * MIB), bench.target()
    words = [bench.image, small, "--erase", small]
    bench.refused(11, f"it has {40 * MIB} bytes", *words, kept=small)
    bench.refused(11, "is too small", *words, "--fit", "all", kept=small)
    assert "fits on disks from" in rescue("restore", *words, "--fit", "all", ok=11).stderr
    bench.refused(11, "everything on it would be lost", bench.image, disk, kept=disk)
    for erase in ("WD-1234", small, "", "y"):
        said = f"the identity of {disk} is"
        bench.refused(11, said, bench.image, disk, "--erase", erase, kept=disk)
    itself = [bench.image, bench.image, "--erase", bench.image]
    bench.refused(11, "is what is to be read", *itself, kept=bench.image)


def test_a_file_that_this_user_may_not_write(bench: Bench) -> None:
    disk = bench.target()
    disk.chmod(0o444)
    for path in (bench.folder, *bench.folder.parents):
        if not path.stat().st_mode & 0o001:  # as many levels as pytest and its workers made
            path.chmod(0o755)
    image = bench.folder / "pc.rescue"
    shutil.copy(bench.image, image)
    image.chmod(0o444)
    before = digest(disk, 0, SIZE)
    command = ["setpriv", "--reuid", "65534", "--clear-groups", str(RESCUE), "restore"]
    if subprocess.run([*command[:-1], "--version"], capture_output=True).returncode:
        pytest.skip("an ordinary user cannot reach this installation")
    done = subprocess.run(
        [*command, str(image), str(disk), "--erase", str(disk)], capture_output=True, text=True
    )
    assert (done.returncode, "may not be written" in done.stderr) == (11, True), done.stderr
    assert "hint: " in done.stderr and digest(disk, 0, SIZE) == before


def spoil(change: Callable[[bytes], bytes]) -> Callable[[Bench], Path]:
    def make(bench: Bench) -> Path:
        path = bench.folder / "spoiled.rescue"
        path.write_bytes(change(bench.image.read_bytes()))
        return path

    return make


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (spoil(flipped), 20, "is damaged in 1 place; nothing was written"),
        (spoil(lambda data: data[: len(data) // 2]), 22, "its capture never finished"),
        (spoil(lambda data: data[:5000]), 20, "is cut short inside its header"),
        (spoil(lambda data: b"x" * len(data)), 20, "this is not a Rescue image"),
        (spoil(lambda _data: b""), 20, "this is not a Rescue image"),
        (lambda bench: bench.folder / "none.rescue", 10, "no such file"),
        (lambda bench: bench.folder, 10, "is a directory"),
    ],
    ids=["damaged", "never finished", "cut short", "another file", "empty", "missing", "folder"],
)
def test_images_that_cannot_be_used(
    bench: Bench, make: Callable[[Bench], Path], code: int, said: str
) -> None:
    disk = bench.target()
    bench.refused(code, said, make(bench), disk, "--erase", disk, kept=disk)


def test_images_without_their_key_part_or_parent(bench: Bench) -> None:
    disk, source = bench.target(), bench.folder / "source"
    source.write_bytes(os.urandom(8 * MIB))
    right, wrong = bench.folder / "right", bench.folder / "wrong"
    right.write_text("correct horse\n")
    wrong.write_text("battery staple\n")
    to = [disk, "--erase", disk]
    sealed = bench.folder / "sealed.rescue"
    rescue("capture", "--encrypt", "--passphrase-file", right, source, sealed)
    bench.refused(23, "is encrypted", sealed, *to, kept=disk)
    bench.refused(23, "no key slot", sealed, *to, "--passphrase-file", wrong, kept=disk)
    split = bench.folder / "split.rescue"
    rescue("capture", "--part-size", "2M", source, split)
    parts = sorted(bench.folder.glob("split.rescue*"))
    assert len(parts) > 2
    hidden = parts[1].rename(bench.folder / "hidden")
    bench.refused(22, parts[1].name, split, *to, kept=disk)
    shutil.copy(parts[2], parts[1])
    bench.refused(20, "is part 3, not part 2", split, *to, kept=disk)
    hidden.rename(parts[1])
    child = bench.folder / "child.rescue"
    rescue("capture", "--parent", split, source, child)
    away = bench.folder / "away"
    away.mkdir()
    alone = Path(shutil.copy(child, away))
    bench.refused(22, "the parent of", alone, *to, kept=disk)
    rescue("capture", source, away / "split.rescue")  # of its name, and not it
    bench.refused(22, "the parent of", alone, *to, kept=disk)
    rescue("restore", alone, away / "whole.raw", "--look-in", bench.folder)
    assert (away / "whole.raw").read_bytes() == source.read_bytes()
