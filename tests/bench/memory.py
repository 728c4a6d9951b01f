"""What a capture of so many bytes in use holds at its end, made for real without the bytes.

The index, the names of contents seen, the length of each record and the map of a disk whose used
clusters lie in pieces of 1 MiB with gaps between them; on top of all modules and the buffers of the
workers. The kernel's account of this process is the peak.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

from rescue.capture import pipeline
from rescue.core.extent import ExtentMap
from rescue.core.parallel import workers
from rescue.image import extents
from rescue.image.header import CHUNK_SIZE
from rescue.image.index import Entry, Index, Where
from rescue.image.writer import MAX_SEEN


def main() -> None:
    """``memory.py BYTES``."""
    chunks = int(sys.argv[1]) // CHUNK_SIZE
    assert pipeline.BATCH
    # A window of two batches a worker and two more; each chunk as read, encoded and decoded.
    window = [bytes(CHUNK_SIZE) for _ in range(3 * pipeline.BATCH * (2 * workers() + 2))]
    index, seen, totals = Index(), dict[bytes, int](), array("I")
    for number in range(chunks):
        digest = number.to_bytes(32, "little")
        index.append(Entry(2 * number, Where.ZSTD, 400_000, 0, number * 400_064, digest))
        totals.append(400_064)
        if number < MAX_SEEN:
            seen[digest] = number

    def pieces() -> Iterator[tuple[int, int]]:
        for number in range(chunks):
            yield 2 * number * CHUNK_SIZE, (2 * number + 1) * CHUNK_SIZE

    captured = ExtentMap.of(pieces())
    records = sum(len(content) for content in extents.encode(captured))
    print(len(index), len(seen), len(totals), records, len(window))


if __name__ == "__main__":
    main()
