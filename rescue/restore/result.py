"""How a restore is to be carried out, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rescue.core.extent import Extent


@dataclass(frozen=True, slots=True)
class Options:
    """How a restore is carried out.

    Attributes:
        compare: read the target first and write only what differs.
        read_back: read everything back and compare it.
        threads: 0: one for each processor.
        free: what becomes of the room that holds nothing; see ``freespace``.
    """

    compare: bool = False
    read_back: bool = True
    threads: int = 0
    free: Literal["keep", "trim", "wipe"] = "keep"


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """How a restore ended; sizes in bytes.

    Attributes:
        written: bytes of the image that are on the target now.
        stored: bytes that were really written; less where the target held them already.
        damaged: extents of the disk that were not written, because their chunks are damaged.
        unreadable: extents written as zeros, because the capture could not read them.
        differing: extents of the target that did not read back as they were written.
        read_back: bytes that were read back and compared.
        resumed: bytes that an earlier, interrupted restore had brought to the target.
        done: what was done beside copying, in words.
    """

    written: int
    damaged: tuple[Extent, ...]
    unreadable: tuple[Extent, ...]
    seconds: float
    stored: int = 0
    differing: tuple[Extent, ...] = ()
    read_back: int = 0
    resumed: int = 0
    done: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything that was planned is on the target."""
        return not self.damaged and not self.differing

    @property
    def outcome(self) -> str:
        """One of the three outcomes, in words."""
        if not self.complete:
            return "incomplete"
        if self.unreadable:
            return "complete with unreadable sectors"
        return "complete"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "outcome": self.outcome,
            "written": self.written,
            "stored": self.stored,
            "read_back": self.read_back,
            "resumed": self.resumed,
            "damaged": [{"start": e.start, "length": e.length} for e in self.damaged],
            "differing": [{"start": e.start, "length": e.length} for e in self.differing],
            "unreadable": [{"start": e.start, "length": e.length} for e in self.unreadable],
            "done": list(self.done),
            "seconds": round(self.seconds, 3),
        }
