"""The ledger: every byte of the disk is captured, free, skipped (and why) or failed.

It is the first thing that makes an image provable: the four sums add up to the size of the disk, or
the capture is not called complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rescue.core.errors import ImageDamaged
from rescue.core.extent import Extent


@dataclass(frozen=True, slots=True)
class Skipped:
    """Bytes left out on purpose, and why, in words a person reads."""

    extent: Extent
    reason: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """Bytes of the disk by what became of them.

    Attributes:
        size: bytes of the disk.
        captured: bytes read and stored.
        free: bytes that the filesystems say hold nothing, and space outside every partition.
        skipped: left out on purpose.
        failed: could not be read; they are zeros in the image, and never passed off as data.
    """

    size: int
    captured: int
    free: int
    skipped: tuple[Skipped, ...] = ()
    failed: tuple[Extent, ...] = ()

    @property
    def skipped_bytes(self) -> int:
        """Bytes left out on purpose."""
        return sum(item.extent.length for item in self.skipped)

    @property
    def failed_bytes(self) -> int:
        """Bytes that could not be read."""
        return sum(extent.length for extent in self.failed)

    @property
    def balances(self) -> bool:
        """Whether every byte is accounted for."""
        return self.captured + self.free + self.skipped_bytes + self.failed_bytes == self.size

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "size": self.size,
            "captured": self.captured,
            "free": self.free,
            "skipped": [
                {"start": s.extent.start, "length": s.extent.length, "reason": s.reason}
                for s in self.skipped
            ],
            "failed": [{"start": e.start, "length": e.length} for e in self.failed],
        }


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ImageDamaged("the manifest holds a number that is none")
    return value


def _extent(value: object, size: int) -> Extent:
    if not isinstance(value, dict):
        raise ImageDamaged("the manifest holds an extent that is none")
    extent = Extent(_count(value.get("start")), _count(value.get("length")))
    if extent.length == 0 or extent.end > size:
        raise ImageDamaged("the manifest holds an extent outside the disk")
    return extent


def parse_ledger(value: object) -> Ledger:
    """Parse the ledger of a manifest strictly.

    Raises:
        ImageDamaged: not a ledger, or it does not balance.
    """
    if not isinstance(value, dict):
        raise ImageDamaged("the manifest has no ledger")
    size = _count(value.get("size"))
    skipped = value.get("skipped")
    failed = value.get("failed")
    if not isinstance(skipped, list) or not isinstance(failed, list):
        raise ImageDamaged("the ledger is not whole")
    ledger = Ledger(
        size,
        _count(value.get("captured")),
        _count(value.get("free")),
        tuple(Skipped(_extent(item, size), str(item.get("reason", ""))) for item in skipped),
        tuple(_extent(item, size) for item in failed),
    )
    if not ledger.balances:
        raise ImageDamaged("the ledger does not add up to the size of the disk")
    return ledger
