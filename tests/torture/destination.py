"""A destination that fails at the Nth call, for every N until one passes.

``shim.c`` is compiled and preloaded; each try runs in a fork that arms it, so that Python starts
only once. Whatever fails and wherever: never a false success, never a hang, one clear line with
exit code 10, the earlier images untouched, and when there is room again the work goes on.

    ci/torture destination [--small] [--only TRIAL]... [--mib N]
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import filecmp
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rescue.core.process import run
from tests.torture.calling import (
    ROOT,
    Called,
    Wrong,
    change,
    check_manners,
    digests,
    make_disk,
    must,
    often,
    rescue,
)

PATIENCE = 120.0
ONCE, FULL, SHORT, GONE = range(4)
WAYS = (
    ("an error once", errno.EIO, ONCE),
    ("no room once", errno.ENOSPC, ONCE),
    ("no room from then on", errno.ENOSPC, FULL),
    ("half a write, then no room", errno.ENOSPC, SHORT),
    ("gone from then on", errno.EIO, GONE),
)
SMALL_WAYS = (WAYS[0], WAYS[3])
SMALL = ("whole", "split", "keys")


@dataclass(frozen=True)
class Tried:
    """One try: how the command ended, and how many calls there were and failed."""

    called: Called
    calls: int
    failed: int


def compile_shim(folder: Path) -> Path:
    """Build the shim; its path."""
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source])
    return library


class Failing:
    """Runs command lines against a folder that fails."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._shim = ctypes.CDLL(str(library))
        self._folder = os.fsencode(folder)

    def run(self, words: list[object], number: int, error: int, mode: int) -> Tried:
        """A command line, in a fork of this process, with the Nth call failing.

        Raises:
            Wrong: it hangs or dies.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            status = 1
            try:
                self._shim.shim_arm(self._folder, ctypes.c_long(number), error, mode)
                with often(0.0):
                    called = _quietly(words)
                self._shim.shim_calls.restype = ctypes.c_long
                self._shim.shim_failed.restype = ctypes.c_long
                counts = self._shim.shim_calls(), self._shim.shim_failed()
                answer = [called.status, called.out, called.err, *counts]
                os.write(writing, json.dumps(answer).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        try:
            data = self._answer(reading, words, number)
        finally:
            os.close(reading)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        status, out, err, calls, failed = json.loads(data)
        return Tried(Called(status, out, err), calls, failed)

    @staticmethod
    def _answer(reading: int, words: list[object], number: int) -> bytes:
        data = b""
        until = time.monotonic() + PATIENCE
        while True:
            ready, _, _ = select.select([reading], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise Wrong(f"{words}: hangs when call {number} fails")
            piece = os.read(reading, 65536)
            if not piece:
                break
            data += piece
        if not data:
            raise Wrong(f"{words}: died when call {number} failed")
        return data


def _quietly(words: list[object]) -> Called:
    """As ``rescue``, but what is wrong is judged by the parent."""
    try:
        return rescue(*words)
    except Wrong as error:
        return Called(1, "", str(error))


def _nothing() -> None:
    """What most trials need before them."""


@dataclass(frozen=True)
class Trial:
    """A command line, what it finds, what is judged then, and how many calls it has at least."""

    words: list[object]
    judge: Callable[[Tried, int], None]
    prepare: Callable[[], None] = _nothing
    calls: int = 10


@dataclass
class Bench:
    """The disks, the images that must stay as they are, and the sweep over every N."""

    folder: Path
    failing: Failing
    mib: int
    tries: Counter[str]

    def __post_init__(self) -> None:
        self.store = self.folder / "store"
        self.disk, self.old = self.folder / "disk.raw", self.folder / "old.raw"
        self.key = self.folder / "key"
        self.store.mkdir()
        make_disk(self.old, self.mib, 8)
        shutil.copyfile(self.old, self.disk)
        change(self.disk, 9, places=4)
        self.public = must(0, "key", "new", self.key).out.strip()
        must(0, "capture", "--all-sectors", self.old, self.store / "base")
        self.image = self.store / "image"
        self.remember()

    def remember(self) -> None:
        """What is in the folder now must stay as it is."""
        self.before = digests(self.store)

    def sweep(self, name: str, trial: Trial, way: tuple[str, int, int]) -> None:
        """Let each call fail in turn until the command is through without meeting a failure."""
        kind, error, mode = way
        number = 0
        while True:
            number += 1
            trial.prepare()
            tried = self.failing.run(trial.words, number, error, mode)
            self.tries[name] += 1
            try:
                check_manners(tried.called, trial.words)
                if not tried.failed and tried.called.status != 0:
                    raise Wrong(f"status {tried.called.status} though nothing failed")
                if tried.called.status not in (0, 10):
                    raise Wrong(f"status {tried.called.status}")
                trial.judge(tried, mode)
                self.tidy()
            except Wrong as wrong:
                raise Wrong(
                    f"{name}, {kind}, call {number} of {tried.calls}: {wrong}; "
                    f"it said: {tried.called.err.strip()}"
                ) from wrong
            if not tried.failed:
                break
        if number <= trial.calls:
            raise Wrong(f"{name}: only {number} calls were seen, which cannot be all")

    def capture(self, words: list[object], prepare: Callable[[], None] = _nothing) -> Trial:
        """The trial of a command line that makes the image, or goes on with it."""
        return Trial(words, lambda tried, mode: self.judge(tried, words, mode), prepare)

    def judge(self, tried: Tried, words: list[object], mode: int) -> None:
        """What a capture left, and that it goes on."""
        called = tried.called
        leftovers = [path for path in self.store.iterdir() if path.name.endswith(".new")]
        if leftovers and mode != GONE:
            raise Wrong(f"{leftovers} is left over")
        for path in leftovers:
            path.unlink()
        if called.status == 0:
            self.prove()
        elif self.image.exists():
            shown = rescue("show", self.image)
            if shown.status == 0 and mode == GONE:
                self.prove()  # the disk went away behind the last byte: nobody could take it back
            elif shown.status != 22:
                raise Wrong(f"what is left is not called incomplete: status {shown.status}")
            else:
                must(0, *self.going_on(words))
                self.prove()
        else:
            must(0, *words)
            self.prove()

    @staticmethod
    def going_on(words: list[object]) -> list[object]:
        """The command line that goes on with what another one began."""
        kept = [word for word in words if word not in ("--recipient", "--resume")]
        return [*(w for w in kept if not str(w).startswith("rescue-public-key-")), "--resume"]

    def prove(self) -> None:
        """The image is whole and holds the disk."""
        back = self.folder / "back.raw"
        must(0, "restore", self.image, back, "--key-file", self.key)
        if not filecmp.cmp(back, self.disk, shallow=False):
            raise Wrong("what is restored is not the source")
        back.unlink()
        must(0, "verify", self.image)

    def tidy(self) -> None:
        """Remove what a try left; the earlier images must be as they were."""
        for path in self.store.iterdir():
            if path.name not in self.before:
                path.unlink()
        if digests(self.store) != self.before:
            raise Wrong("an earlier image was changed")


def captures(bench: Bench) -> dict[str, list[object]]:
    """Command lines that make an image."""
    begin: list[object] = ["capture", "--all-sectors", bench.disk, bench.image]
    return {
        "whole": begin,
        "split": [*begin, "--part-size", "2M"],
        "sealed": [*begin, "--recipient", bench.public, "--key-file", bench.key],
        "incremental": [*begin, "--parent", bench.store / "base"],
    }


def torture(bench: Bench, *, small: bool, only: list[str], tell: Callable[[str], None]) -> None:
    """Every command line against every way to fail.

    Raises:
        Wrong: the project did what it must never do.
    """
    from tests.torture import verbs

    trials = {name: bench.capture(words) for name, words in captures(bench).items()}
    trials |= verbs.trials(bench)
    for name, trial in trials.items():
        if name not in (only or SMALL if small else only or trials):
            continue
        for way in SMALL_WAYS if small else WAYS:
            bench.sweep(name, trial, way)
            tell(f"{name}: {way[0]}: held")


def preloaded() -> Path:  # noqa: RET503 - execv does not return
    """The shim of this process; where there is none yet, start again with it."""
    given = os.environ.get("LD_PRELOAD", "")
    if given.endswith("/shim.so"):
        return Path(given)
    folder = Path(tempfile.mkdtemp(prefix="rescue-shim-"))
    os.environ["LD_PRELOAD"] = str(compile_shim(folder))
    os.chdir(ROOT)
    module = "tests.torture.destination"
    os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/torture destination", description=__doc__)
    parser.add_argument("--small", action="store_true", help="as ci/test does it")
    parser.add_argument("--only", action="append", default=[], help="a trial; repeatable")
    parser.add_argument("--mib", type=int, default=6, help="size of the disk")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args()
    library = preloaded()
    folder = Path(tempfile.mkdtemp(prefix="rescue-torture-", dir=given.folder))
    bench = Bench(folder, Failing(library, folder / "store"), given.mib, Counter())
    try:
        torture(
            bench,
            small=given.small,
            only=given.only,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except Wrong as error:
        print(f"FAILED (see {folder}): {error}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    shutil.rmtree(library.parent)
    print("tries: " + ", ".join(f"{name} {count}" for name, count in bench.tries.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
