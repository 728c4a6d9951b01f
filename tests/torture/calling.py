"""The command ``rescue``, called in this process, and made disks to call it with.

A round of torture needs a dozen calls; starting an interpreter for each would cost more than what
they do. Whatever must be killed runs in a process of its own (``driver``).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rescue.cli import main
from rescue.core.units import MIB
from rescue.image import writer

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("driver.py")


@dataclass(frozen=True)
class Called:
    """How a call ended."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that say what went wrong."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]


class Wrong(AssertionError):
    """The project did what it must never do."""


def rescue(*words: object) -> Called:
    """Run a command line as ``rescue`` does, here and now; whatever it is, it may not be a bug."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.run([str(word) for word in words])
    called = Called(int(status), out.getvalue(), err.getvalue())
    check_manners(called, words)
    return called


def check_manners(called: Called, words: object) -> None:
    """One clear line for every failure, never a traceback."""
    if called.status == 1 or "Traceback" in called.err + called.out:
        raise Wrong(f"{words}: a bug: {called.err}")
    wanted = 0 if called.status in (0, 3) else 1
    if len(called.errors) != wanted:
        raise Wrong(f"{words}: status {called.status} and not {wanted} error lines: {called.err}")


def must(status: int, *words: object) -> Called:
    """``rescue`` with the one status that is right."""
    called = rescue(*words)
    if called.status != status:
        raise Wrong(f"{words}: status {called.status}, not {status}: {called.out}{called.err}")
    return called


@contextlib.contextmanager
def often(seconds: float) -> Iterator[None]:
    """Checkpoints every so many seconds, in this process."""
    before = writer.CHECKPOINT_SECONDS
    writer.CHECKPOINT_SECONDS = seconds
    try:
        yield
    finally:
        writer.CHECKPOINT_SECONDS = before


def start(
    *words: object, env: Mapping[str, str] | None = None, checkpoint: float = 5.0
) -> subprocess.Popen[bytes]:
    """Start a command line in a process of its own, with checkpoints every so many seconds."""
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(checkpoint), *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=env,
    )


def make_disk(path: Path, mib: int, seed: int) -> None:
    """A disk: text, noise, zeros and repeated chunks, one MiB at a time, and a crooked end."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        for number in range(mib):
            kind = rng.randrange(8)
            if kind < 4:
                file.write(rng.randbytes(MIB))
            elif kind < 6:
                file.write((f"line {number} of a text, {seed} " * 65536).encode()[:MIB])
            elif kind == 6:
                file.write(b"the same again ".ljust(64, b".") * (MIB // 64))
            else:
                file.truncate((number + 1) * MIB)
                file.seek((number + 1) * MIB)
        file.write(rng.randbytes(100 * 512))


def change(path: Path, seed: int, *, places: int = 20) -> None:
    """Write over a few places of a disk, some in the middle of a chunk, some whole ones."""
    rng = random.Random(seed)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(places):
            length = rng.choice((1, 512, 4096, 70_000, MIB))
            file.seek(rng.randrange(max(1, size - length)))
            file.write(rng.randbytes(min(length, size)))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {path.name: digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
