"""Times whole commands as the kernel accounts them: wall clock, processor, peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One finished run; seconds and bytes."""

    wall: float
    processor: float
    memory: int
    out: int


@dataclass
class Job:
    """One command that is timed.

    Attributes:
        name: row in the table.
        command: for the shell.
        output: file or folder whose bytes count; removed before every run.
        source: what it reads; brought into memory before every run.
        needs: keys of the jobs whose outputs it reads.
        keep: leave the output for other jobs; others are removed at once.
        before, after: run untimed before and after every run.
        counted: says how many bytes a run wrote, where that is not the size of the output.
        whole: what those are compared with.
    """

    name: str
    command: str
    output: Path | None = None
    source: Path | None = None
    needs: tuple[str, ...] = ()
    keep: bool = False
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    counted: Callable[[], int] | None = None
    whole: int = 0
    statuses: tuple[int, ...] = (0,)
    runs: list[Run] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def spread(self) -> str:
        """Smallest and largest."""
        walls = [run.wall for run in self.runs]
        return f"{min(walls):.2f}-{max(walls):.2f}"

    @property
    def memory(self) -> int:
        """Largest peak of a single process, bytes."""
        return max(run.memory for run in self.runs)

    @property
    def processor(self) -> float:
        """Median processor seconds, user and system."""
        return statistics.median(run.processor for run in self.runs)

    @property
    def out(self) -> int:
        """Bytes that the last run wrote."""
        return self.runs[-1].out


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size if path.exists() else 0


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    subprocess.run(["rm", "-rf", "--", str(path)], check=True)


def warm(path: Path) -> None:
    """Read the data of a file, without its holes."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(4 << 20)
        at, size = 0, path.stat().st_size
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # only a hole is left
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.preadv(file.fileno(), [memoryview(buffer)[: end - at]], at)


def run(job: Job) -> Run:
    """Run a job once."""
    if job.output is not None:
        remove(job.output)
    if job.source is not None:
        warm(job.source)
    if job.before is not None:
        job.before()
    os.sync()
    done = subprocess.run(
        [sys.executable, "-I", Path(__file__).with_name("clock.py"), job.command],
        capture_output=True,
        text=True,
        check=False,
    )
    if job.after is not None:
        job.after()
    took = json.loads(done.stdout) if done.returncode == 0 else {"status": done.returncode}
    if took["status"] not in job.statuses:
        sys.exit(f"error: {job.name} failed with {took['status']}: {done.stderr[-500:]}")
    out = job.counted() if job.counted else size_of(job.output) if job.output else 0
    if job.output is not None and not job.keep:
        remove(job.output)  # or it would push the sources out of memory
    result = Run(took["wall"], took["processor"], took["memory"], out)
    print(
        f"  {job.name:<44} {result.wall:8.2f} s  {out / 1e6:10.1f} MB", file=sys.stderr, flush=True
    )
    return result
