"""The bare limit: pread and zstd of the same chunks on all processors, and nothing else."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import zstandard

from rescue.capture.plan import plan_capture
from rescue.core.parallel import ordered
from rescue.devices.blockio import Source


def main() -> None:
    """``bare.py VOLUME LEVEL``."""
    path, level = Path(sys.argv[1]), int(sys.argv[2])
    plan = plan_capture(path)
    local = threading.local()
    numbers = list(plan.captured.numbers(1 << 20))
    batches = [numbers[at : at + 4] for at in range(0, len(numbers), 4)]
    with Source(path) as source:

        def work(batch: list[int]) -> int:
            if not hasattr(local, "buffer"):
                local.buffer = memoryview(bytearray(1 << 20))
                local.context = zstandard.ZstdCompressor(level=level)
            total = 0
            for number in batch:
                count = source.read_into(local.buffer, number << 20)
                total += len(local.context.compress(local.buffer[:count]))
            return total

        print(sum(ordered(work, batches)))


if __name__ == "__main__":
    main()
