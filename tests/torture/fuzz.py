"""Every parser of the format, given spoiled input for a while: only clear errors may come of it.

A worker process spoils real images and parts of them, and gives them to the parsers: header, key
slots, record, segment, index, map, manifest, ledger, layout, table, directory, footer, zstd
frames, keys as text, whole images (spoiled bytes, and forged ones whose every hash fits), chains,
sealed and split images, the view's own FAT reader. Anything but a RescueError is a failure, and so
is more than 512 MiB of memory (a limit of the kernel's) or ten seconds for one case. A worker that
dies or hangs in a library is a failure too; the next one goes on behind that case.

    ci/torture fuzz --seconds 600 [--seed N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

from rescue.core.errors import RescueError
from tests.torture.calling import ROOT
from tests.torture.seeds import Seeds, make
from tests.torture.targets import Target, targets

MEMORY = 512 << 20
CASE_SECONDS = 10
# A library that never comes back cannot be interrupted from inside; the worker is killed then.
SILENCE = 60


class Hung(BaseException):
    """One case took too long. Not an Exception: no parser may catch it."""


def worker(folder: Path, seed: int, first: int, seconds: float) -> int:
    """Run cases from number ``first`` on; a JSON line on stdout for each hundred and at the end."""
    # Data, not address space: libraries and stacks that are only reserved cost nothing.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    faulthandler.enable()

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, ring)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    known = targets(_load(folder), scratch)
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    end = time.monotonic() + seconds
    case = first
    while time.monotonic() < end:
        target = _choose(known, seed, case)
        (folder / "case").write_text(f"{case} {target.name}")
        failure = _one(target, seed, case, refused)
        counts[target.name] += 1
        if failure:
            print(json.dumps({"failed": case, "target": target.name, "why": failure}), flush=True)
        case += 1
        if case % 100 == 0:
            print(json.dumps({"at": case}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    done = {"at": case, "counts": counts, "refused": refused, "peak": peak}
    print(json.dumps(done), flush=True)
    return 0


def _choose(known: list[Target], seed: int, case: int) -> Target:
    rng = random.Random(f"{seed}/{case}/target")
    return rng.choices(known, weights=[target.weight for target in known])[0]


def _one(target: Target, seed: int, case: int, refused: Counter[str]) -> str:
    """Run one case; what went wrong, or nothing."""
    signal.setitimer(signal.ITIMER_REAL, CASE_SECONDS)
    try:
        target.run(random.Random(f"{seed}/{case}"))
    except RescueError as error:
        refused[target.name] += 1
        if not error.message or "\n" in error.message:
            return f"an error that is not one line: {error.message!r}"
    except Hung:
        return f"more than {CASE_SECONDS} seconds\n{traceback.format_exc(limit=-4)}"
    except target.allowed:
        refused[target.name] += 1
    except Exception:
        return traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def _load(folder: Path) -> Seeds:
    from rescue.image.keys import parse_recovery

    names = json.loads((folder / "seeds.json").read_text())
    paths = {name: folder / value for name, value in names.items() if name != "key"}
    return Seeds(**paths, key=parse_recovery(names["key"]))


def _save(seeds: Seeds, folder: Path) -> None:
    from rescue.image.keys import recovery_words

    names = {n: getattr(seeds, n).name for n in ("whole", "split", "sealed", "child", "fat")}
    (folder / "seeds.json").write_text(json.dumps({**names, "key": recovery_words(seeds.key)}))


class Supervisor:
    """Keeps a worker running until the time is over, and gathers what it says."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.peak = 0
        self.cases = 0

    def run(self, seconds: float) -> None:
        """Start workers, one after the other, until the time is over."""
        end = time.monotonic() + seconds
        case = 0
        while (left := end - time.monotonic()) > 0:
            case = self._worker(case, left)

    def _worker(self, first: int, seconds: float) -> int:
        """One worker to its end; the case at which the next one goes on."""
        log = self.folder / "worker.log"
        words = ["--worker", str(self.folder), "--seed", str(self.seed), "--first", str(first)]
        with log.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.fuzz", *words, "--seconds", str(seconds)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert child.stdout is not None
        ended = False
        watchdog = time.monotonic()

        def bark(_number: int, _frame: FrameType | None) -> None:
            child.kill()

        signal.signal(signal.SIGALRM, bark)
        signal.alarm(SILENCE)
        for line in child.stdout:
            signal.alarm(SILENCE)
            ended = self._hear(json.loads(line))
        signal.alarm(0)
        status = child.wait()
        if ended and status == 0:
            return self.cases
        number, _, name = (self.folder / "case").read_text().partition(" ")
        words_of = log.read_text(errors="replace")[-1500:]
        took = time.monotonic() - watchdog
        self._fail(int(number), name, f"the worker ended ({status}) after {took:.0f} s: {words_of}")
        return int(number) + 1

    def _hear(self, message: dict[str, object]) -> bool:
        """Take in one line of a worker; whether it was its last."""
        if "failed" in message:
            self._fail(int(str(message["failed"])), str(message["target"]), str(message["why"]))
            return False
        self.cases = int(str(message["at"]))
        counts, refused = message.get("counts"), message.get("refused")
        if not isinstance(counts, dict) or not isinstance(refused, dict):
            return False
        self.counts.update(counts)
        self.refused.update(refused)
        self.peak = max(self.peak, int(str(message["peak"])))
        return True

    def _fail(self, case: int, name: str, why: str) -> None:
        self.failures.append(f"case {case} ({name}), seed {self.seed}:\n{why}")
        print(f"FAILED {self.failures[-1]}", flush=True)


def main() -> int:
    """Read the options, make the seeds, fuzz, and say what came of it."""
    parser = argparse.ArgumentParser(prog="ci/torture fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one is removed")
    parser.add_argument("--case", type=int, help="run this one case only, to look at it")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.seed, options.first, options.seconds)
    with tempfile.TemporaryDirectory(prefix="rescue-fuzz-", dir=options.folder) as made:
        folder = Path(made)
        _save(make(folder), folder)
        if options.case is not None:
            (folder / "scratch").mkdir()
            known = targets(_load(folder), folder / "scratch")
            target = _choose(known, options.seed, options.case)
            print(target.name, _one(target, options.seed, options.case, Counter()) or "is well")
            return 0
        supervisor = Supervisor(folder, options.seed)
        supervisor.run(options.seconds)
    for name, count in sorted(supervisor.counts.items()):
        print(f"{name:12} {count:8,} cases, {supervisor.refused[name]:8,} refused")
    peak = supervisor.peak >> 20
    print(f"{supervisor.cases:,} cases, {len(supervisor.failures)} failures, peak {peak} MiB")
    if supervisor.peak > MEMORY:
        print(f"FAILED: more than {MEMORY >> 20} MiB")
    return 1 if supervisor.failures or supervisor.peak > MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
