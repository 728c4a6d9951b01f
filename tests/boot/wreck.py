"""What happens to the machine's disk between the capture and the restore."""

from __future__ import annotations

import random
from pathlib import Path

_MIB = 1 << 20
_ENDS = 64 * _MIB
_PLACES = 1000
_PLACE = 4096


def wreck(disk: Path, seed: str) -> None:
    """Overwrite the first and last 64 MiB and 1,000 random places with random bytes."""
    chance = random.Random(seed)
    size = disk.stat().st_size
    with disk.open("r+b") as file:
        for start in (0, size - _ENDS):
            file.seek(start)
            for _ in range(_ENDS // _MIB):
                file.write(chance.randbytes(_MIB))
        for _ in range(_PLACES):
            file.seek(chance.randrange(_ENDS, size - _ENDS - _PLACE))
            file.write(chance.randbytes(_PLACE))
