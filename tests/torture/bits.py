"""Every single bit of headers, key slots, index, manifest, footer and their like flipped.

    ci/torture bits [--random 10000] [--cuts 1000] [--seed N]

Besides: random bits of chunk records, every cut at the end of a record, and random cuts. Each must
be found by a verification without a key and by a deep one. The good vectors are the images; every
bit of both headers is flipped in one that has all kinds of key slots. Ten minutes or so.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.vectors import flips
from tests.vectors.library import GOOD, unpack

IMAGES = ("plain", "gpt", "unreadable", "sealed-resumed", "sealed-all")


def main() -> int:
    """Flip and cut; say what was tried, and what was not found."""
    parser = argparse.ArgumentParser(prog="ci/torture bits", description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=10_000, help="bits of records")
    parser.add_argument("--cuts", type=int, default=1000, help="random lengths")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, keys, missed = random.Random(options.seed), flips.secrets(), 0
    with tempfile.TemporaryDirectory(prefix="rescue-bits-") as folder:
        for name in IMAGES:
            path = Path(folder) / f"{name}.rescue"
            data = unpack(GOOD / f"{path.name}.xz")
            path.write_bytes(data)
            share = options.random // len(IMAGES)
            jobs = {
                "bits of what is no chunk": list(flips.structure_bits(data)),
                "random bits behind the headers": list(flips.record_bits(data, rng, share)),
            }
            if name == "sealed-all":
                jobs["bits of headers and key slots"] = list(flips.header_bits())
            for what, bits in jobs.items():
                started, found = time.monotonic(), flips.Found()
                flips.flip(path, path, bits, keys, found)
                missed += report(name, what, found, started)
            started, found = time.monotonic(), flips.Found()
            some = [rng.randrange(len(data)) for _ in range(options.cuts // len(IMAGES))]
            flips.cut(path, [*flips.boundaries(data), *some], keys, found)
            missed += report(name, "cuts", found, started)
    print(f"{missed} not found", flush=True)
    return 1 if missed else 0


def report(name: str, what: str, found: flips.Found, started: float) -> int:
    """Say what became of one kind of damage; returns how many were missed."""
    for line in found.missed:
        print(f"FAILED {name}: {line}")
    seconds = time.monotonic() - started
    print(
        f"{name}: {found.tried:,} {what}, {len(found.missed)} missed, {seconds:.0f} s", flush=True
    )
    return len(found.missed)


if __name__ == "__main__":
    sys.exit(main())
