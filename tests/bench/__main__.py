"""Runs every job in turn, round after round, and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from pathlib import Path

from rescue.capture.plan import plan_capture
from tests.bench import corpus, report
from tests.bench.jobs import ROOT, Bench
from tests.bench.timing import remove, run

_ROOM = 8  # times the size of the files: corpora and the largest outputs


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ci/bench",
        description="Measure ourselves and the peers in one run; medians to docs/benchmarks.md.",
        epilog="A full run takes 25 to 40 minutes on two processors, --quick two.",
    )
    parser.add_argument("--quick", action="store_true",
                        help="one round on 0.5 GiB, only what a target is about; the report goes "
                        "beside the corpus, not to docs/")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--size", type=float, help="GiB of files, default 3.65")
    parser.add_argument("--only", default="", help="jobs, separated by commas")
    parser.add_argument("--out", type=Path, help="folder for the report")
    parser.add_argument("--folder", type=Path, help="folder for the corpus, which is kept")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.size = given.size or (0.5 if given.quick else 3.65)
    given.folder = given.folder or ROOT / (".cache/bench-quick" if given.quick else ".cache/bench")
    given.out = given.out or (given.folder if given.quick or given.only else ROOT / "docs")
    return given


def main() -> None:
    """Parse the options, run, write the report."""
    given = options()
    started = time.monotonic()
    given.folder.mkdir(parents=True, exist_ok=True)
    size = int(given.size * corpus.GIB)
    free = shutil.disk_usage(given.folder).free
    if not (given.folder / "root.ext4").exists() and free < _ROOM * size:
        sys.exit(f"error: {given.folder} has {free / 1e9:.0f} GB free, {_ROOM * size / 1e9:.0f} "
                 "are needed")  # fmt: skip
    bench = Bench(given.folder, size)
    keys = [key for key in given.only.split(",") if key]
    unknown = set(keys) - set(bench.jobs)
    if unknown:
        sys.exit(f"error: no such job: {', '.join(sorted(unknown))} (there are: "
                 f"{', '.join(bench.jobs)})")  # fmt: skip
    chosen = bench.choose(keys or (bench.quick if given.quick else bench.jobs))
    used = plan_capture(bench.root).allocated
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
        # After the first round, in which some read what others have just made, each has an order of
        # its own, or a job would always pay for what the same one left behind: a full cache, say.
        jobs = list(chosen.values())
        if number:
            random.Random(number).shuffle(jobs)
        for job in jobs:
            bench.alone(job)
            job.runs.append(run(job))
    remove(bench.out)
    report.write(given.out, chosen, used, given.rounds)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.0f} minutes; the corpus stays in {given.folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
