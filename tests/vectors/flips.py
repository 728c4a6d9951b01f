"""Single bits flipped and ends cut off: is every one of them found?

By ``verify`` without a key (stored bytes) and by ``verify --deep``. The test looks at all bits that
mean something and at a part of the rest; ``ci/torture bits`` looks at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rescue.core.errors import RescueError
from rescue.core.progress import Silent
from rescue.image.keys import RecoveryKey, Secret
from rescue.verify.deep import verify_deep
from rescue.verify.stored import verify_stored
from tests.vectors.draft import Draft
from tests.vectors.make import RECOVERY

# Of the 4,096 bytes of a header: its fields, three key slots, its hash. The rest is zeros.
MEANING = (range(112), range(256, 256 + 3 * 160), range(4064, 4096))
HEADER, FOOTER = 4096, 128


@dataclass
class Found:
    """What was tried, and what was not found: place in the file, bit, which verification."""

    tried: int = 0
    missed: list[str] = field(default_factory=list)


def secrets(key: RecoveryKey = RECOVERY) -> Sequence[Secret]:
    return (key,)


def is_found(verify: Callable[..., object], path: Path, keys: Sequence[Secret]) -> bool:
    """Whether a verification says that something is wrong; any other exception is a fault."""
    try:
        report = verify(path, Silent(), secrets=keys, threads=1)
    except RescueError:
        return True
    return not report.ok  # type: ignore[attr-defined]


def both(path: Path, keys: Sequence[Secret], what: str, found: Found) -> None:
    """Try both verifications on a spoiled image."""
    found.tried += 1
    if not is_found(verify_stored, path, ()):
        found.missed.append(f"{what}: not found without a key")
    if not is_found(verify_deep, path, keys):
        found.missed.append(f"{what}: not found by a deep verification")


def flip(
    path: Path, spoiled: Path, bits: Iterable[int], keys: Sequence[Secret], found: Found
) -> None:
    """Flip bits of the file ``spoiled``, one at a time, and verify the image at ``path``."""
    data = spoiled.read_bytes()
    with spoiled.open("r+b", buffering=0) as file:
        for bit in bits:
            at = bit // 8
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << bit % 8]))
            both(path, keys, f"{spoiled.name}, byte {at}, bit {bit % 8}", found)
            file.seek(at)
            file.write(data[at : at + 1])
    assert spoiled.read_bytes() == data


def cut(path: Path, lengths: Iterable[int], keys: Sequence[Secret], found: Found) -> None:
    """Cut a file off at lengths, and verify what is left."""
    data = path.read_bytes()
    for length in lengths:
        path.write_bytes(data[:length])
        both(path, keys, f"{path.name}, cut to {length} bytes", found)
    path.write_bytes(data)


def header_bits(*, every: int = 1) -> Iterator[int]:
    """Bits of both header copies: all that mean something, and of the zeros one in ``every``."""
    for copy in (0, HEADER):
        meaning = {at for places in MEANING for at in places}
        for bit in range(8 * HEADER):
            if bit // 8 in meaning or bit % every == 0:
                yield 8 * copy + bit


def structure_bits(data: bytes) -> Iterator[int]:
    """All bits of what is not a chunk: segment, plan, index, map, manifest, table, and so on."""
    draft = Draft(data)
    draft.bytes()
    for record in draft.records:
        if record.kind != "chunk":
            start = 2 * HEADER + record.at
            yield from range(8 * start, 8 * (start + len(record.raw)))
    yield from range(8 * (len(data) - FOOTER), 8 * len(data))


def record_bits(data: bytes, rng: random.Random, count: int) -> Iterator[int]:
    """Random bits behind the headers."""
    return (rng.randrange(8 * 2 * HEADER, 8 * len(data)) for _ in range(count))


def boundaries(data: bytes) -> list[int]:
    """File lengths that end with a record, or with a header."""
    draft = Draft(data)
    draft.bytes()
    starts = [2 * HEADER + record.at for record in draft.records]
    return [0, HEADER, *starts, len(data) - FOOTER]
