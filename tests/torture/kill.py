"""SIGKILL at random moments of a capture; what is left must be honest, and must go on.

Each round makes one kind of image (whole, split, sealed, incremental and mixtures), kills the
capture at a random moment, once to three times in a row, and then holds:

* the earlier images of the folder are as they were, byte for byte;
* what is there says "incomplete" (exit 22) to show, verify and restore, or nothing is there at all;
* ``--resume`` makes an image of it whose restore equals the source.

    ci/torture kill --rounds 200 [--seed N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import filecmp
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rescue.core.units import MIB
from rescue.image.partreader import PartReader
from rescue.image.record import Type
from rescue.image.scan import records
from tests.torture.calling import (
    Wrong,
    change,
    digests,
    make_disk,
    must,
    often,
    rescue,
    start,
)

CHECKPOINT = 0.05
PATIENCE = 300.0


@dataclass(frozen=True)
class Kind:
    """One kind of image: options of its capture, and what opens it."""

    name: str
    options: tuple[object, ...] = ()
    parent: str = ""
    sealed: bool = False

    @property
    def split(self) -> bool:
        """Whether it has more than one file."""
        return "--part-size" in self.options


KINDS = (
    Kind("whole"),
    Kind("split", ("--part-size", "9M")),
    Kind("sealed", sealed=True),
    Kind("sealed-split", ("--part-size", "7M"), sealed=True),
    Kind("incremental", parent="base"),
    Kind("incremental-split", ("--part-size", "2M"), parent="base"),
    Kind("incremental-sealed", parent="locked", sealed=True),
)


@dataclass
class Bench:
    """The folder of the torture, its disks and what happened so far."""

    folder: Path
    mib: int
    rng: random.Random
    seconds: dict[str, float] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.store = self.folder / "store"
        self.store.mkdir()
        self.old, self.new = self.folder / "old.raw", self.folder / "new.raw"
        self.key = self.folder / "key"
        make_disk(self.old, self.mib, 1)
        shutil.copyfile(self.old, self.new)
        change(self.new, 2, places=self.mib)
        self.public = must(0, "key", "new", self.key).out.strip()
        self.capture(self.old, "base")
        must(
            0,
            *("capture", "--all-sectors", "--recipient", self.public, self.old),
            self.store / "locked",
        )
        self.before = digests(self.store)

    def capture(self, disk: Path, name: str) -> None:
        """One of the images that must stay as they are."""
        must(0, "capture", "--all-sectors", disk, self.store / name)

    def words(self, kind: Kind, image: Path, *, resume: bool) -> list[object]:
        """The command line that begins an image of this kind, or goes on with it."""
        words: list[object] = ["capture", "--all-sectors", *kind.options]
        if kind.parent:
            words += ["--parent", self.store / kind.parent]
        if kind.sealed and not kind.parent and not resume:
            words += ["--recipient", self.public]
        elif kind.sealed:
            words += ["--key-file", self.key]
        if resume:
            words.append("--resume")
        return [*words, self.new, image]

    def opening(self, kind: Kind) -> tuple[object, ...]:
        """What opens an image of this kind."""
        return ("--key-file", self.key) if kind.sealed else ()

    def is_there(self, image: Path) -> bool:
        """Whether a capture has begun to write: its file has its name, or not yet."""
        return any(path.name.startswith(image.name) for path in self.store.iterdir())

    def kill(self, kind: Kind, image: Path, *, resume: bool) -> bool:
        """Start a capture and kill it; False when it was faster."""
        child = start(*self.words(kind, image, resume=resume), checkpoint=CHECKPOINT)
        try:
            whole = self.seconds.get(kind.name)
            if whole is None or self.rng.random() < 0.15:
                time.sleep(self.rng.random() * 1.5)  # anywhere, also before there is anything
            else:
                while not self.is_there(image) and child.poll() is None:
                    time.sleep(0.001)
                time.sleep(self.rng.random() * whole)
            killed = child.poll() is None
            child.kill()
            _, errors = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
            child.wait()
        if not killed and child.returncode != 0:
            raise Wrong(f"{kind.name}: status {child.returncode}: {errors.decode()}")
        self.events["killed" if killed else "too late"] += 1
        return killed and child.returncode != 0

    def measure(self, kind: Kind) -> None:
        """How long a capture writes, so that kills fall into that time."""
        image = self.store / "measured"
        with often(CHECKPOINT):
            began = time.monotonic()
            must(0, *self.words(kind, image, resume=False))
            self.seconds[kind.name] = time.monotonic() - began
        self.sweep()

    def sweep(self) -> None:
        """Remove what a round left; the earlier images must be as they were."""
        for path in self.store.iterdir():
            if path.name not in self.before:
                path.unlink()
        if digests(self.store) != self.before:
            raise Wrong("an earlier image was changed")

    def round(self, kind: Kind) -> None:
        """Kill, look, kill again, look, finish, compare."""
        if kind.name not in self.seconds:
            self.measure(kind)
        image = self.store / "image"
        finished = False
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            finished = not self.kill(kind, image, resume=image.exists())
            if finished:
                break
            self.look(kind, image)
        if not finished:
            if image.exists():
                before = image.stat().st_ino
                must(0, *self.words(kind, image, resume=True))
                if image.stat().st_ino != before:
                    raise Wrong("the image was begun anew instead of gone on with")
                self.events["resumed"] += 1
            else:
                must(0, *self.words(kind, image, resume=False))
                self.events["nothing was there"] += 1
        must(0, "verify", "--deep", image, *self.opening(kind))
        self.compare(kind, image)
        left = [path.name for path in self.store.iterdir() if path.name.endswith(".new")]
        if left:
            raise Wrong(f"{left} was left over by a capture that ended well")
        self.sweep()

    def look(self, kind: Kind, image: Path) -> None:
        """A half image says that it is one, to everybody who asks."""
        leftovers = [path for path in self.store.iterdir() if path.name.endswith(".new")]
        self.events["left-over files"] += len(leftovers)
        if not image.exists():
            return
        opening = self.opening(kind)
        back = self.folder / "back.raw"
        for words in (
            ("show", image),
            ("verify", image),
            ("verify", "--deep", image, *opening),
            ("restore", image, back, *opening),
        ):
            called = rescue(*words)
            if called.status == 0 and words[0] == "show":
                # Killed between the footer and the end of the process: then all of it is there.
                self.events["killed when complete"] += 1
                must(0, "verify", "--deep", image, *opening)
                self.compare(kind, image)
                image.unlink()
                for path in self.store.glob("image.*"):
                    path.unlink()
                return
            if called.status != 22:
                raise Wrong(f"{kind.name}: {words[0]} exits {called.status}: {called.err}")
        if back.exists():
            raise Wrong("a target was made for an incomplete image")
        for path in (image, *leftovers):
            if path.exists() and path.stat().st_mode & 0o777 != 0o600:
                raise Wrong(f"{path.name} can be read by others")

    def compare(self, kind: Kind, image: Path) -> None:
        """What is restored is the disk, bit for bit."""
        back = self.folder / "back.raw"
        must(0, "restore", image, back, *self.opening(kind))
        if not filecmp.cmp(back, self.new, shallow=False):
            raise Wrong(f"{kind.name}: what was restored is not the source")
        back.unlink()


def half(disk: Path, image: Path, *options: object, more_than: int = 8 * MIB) -> None:
    """Kill a capture when this much was stored; one that goes on, when it stored so much more.

    Raises:
        Wrong: it was faster than we are, twenty times.
    """
    resume = "--resume" in options
    kept = image.read_bytes() if resume else b""
    more_than += len(kept)
    for _ in range(20):
        child = start("capture", "--all-sectors", *options, disk, image, checkpoint=0.02)
        try:
            while child.poll() is None:
                if image.exists() and image.stat().st_size > more_than:
                    break
                time.sleep(0.001)
            child.kill()
        finally:
            child.wait()
        assert child.stderr is not None
        child.stderr.close()
        if child.returncode == -9 and rescue("show", image).status == 22:
            with PartReader(image) as parts:
                if any(found.head.type is Type.INDEX for found in records(parts)):
                    return
        if resume:
            image.write_bytes(kept)
        else:
            image.unlink(missing_ok=True)
    raise Wrong("no capture could be killed in its middle")


def torture(folder: Path, rounds: int, mib: int, seed: int, *, quiet: bool = False) -> Bench:
    """So many rounds over all kinds.

    Raises:
        Wrong: the project did what it must never do; the folder is left as it was then.
    """
    bench = Bench(folder, mib, random.Random(seed))
    for number in range(rounds):
        kind = KINDS[number % len(KINDS)]
        bench.round(kind)
        if not quiet:
            print(f"round {number + 1} of {rounds}: {kind.name}", file=sys.stderr, flush=True)
    return bench


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/torture kill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--mib", type=int, default=160, help="size of the disk")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rescue-torture-", dir=given.folder))
    print(f"seed {given.seed}, in {folder}", file=sys.stderr)
    try:
        bench = torture(folder, given.rounds, given.mib, given.seed)
    except Wrong as error:
        print(f"FAILED (seed {given.seed}; see {folder}): {error}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"{given.rounds} rounds: " + ", ".join(f"{n} {w}" for w, n in bench.events.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
