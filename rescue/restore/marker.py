"""The mark of a half restored disk: its first sector, until the very last write takes its place.

It says in plain letters what the disk is, for whoever finds it, and how far which restore came, so
that the same command goes on where it stopped. One sector: a disk writes it whole or not at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

SIZE = 512
MAGIC = b"RESCUE: THIS DISK IS HALF RESTORED. Run the same restore again.\r\n"
_SUM = 32
_ROOM = SIZE - len(MAGIC) - _SUM - 2  # nothing at bytes 510 and 511: no boot signature


@dataclass(frozen=True, slots=True)
class Marker:
    """How far a restore came.

    Attributes:
        image: id of the image.
        plan: digest of what was planned; only the same plan goes on.
        behind: every chunk below this number has reached the disk.
        resized: filesystems on the target were being changed, so nothing there may be trusted.
        seed: what new identifiers are made from; empty: the old ones stay.
    """

    image: str
    plan: str
    behind: int = 0
    resized: bool = False
    seed: str = ""

    def encode(self) -> bytes:
        """The sector."""
        value: dict[str, Any] = {
            "image": self.image,
            "plan": self.plan,
            "behind": self.behind,
            "resized": self.resized,
        }
        if self.seed:
            value["seed"] = self.seed
        text = json.dumps(value, separators=(",", ":")).encode()
        if len(text) > _ROOM:
            raise ValueError("a marker is too long")
        body = MAGIC + text.ljust(_ROOM, b" ")
        return body + blake3(body).digest() + bytes(2)


def is_marked(sector: bytes) -> bool:
    """Whether a disk with this first sector is half restored, whatever else the sector says."""
    return sector[: len(MAGIC)] == MAGIC


def parse(sector: bytes) -> Marker | None:
    """The marker; None where there is none, or one that is not whole."""
    if not is_marked(sector) or len(sector) < SIZE:
        return None
    body, rest = sector[: SIZE - _SUM - 2], sector[SIZE - _SUM - 2 : SIZE]
    if rest != blake3(body).digest() + bytes(2):
        return None
    value: Any = json.loads(body[len(MAGIC) :])
    behind, resized = int(value["behind"]), bool(value["resized"])
    return Marker(value["image"], value["plan"], behind, resized, str(value.get("seed", "")))
