"""What a verification found, in words that name the place: partition and offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rescue.core.extent import Extent
from rescue.core.units import format_size
from rescue.image.footer import Outcome
from rescue.image.header import CHUNK_SIZE
from rescue.image.partreader import PartReader
from rescue.image.reader import Image


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        what: one line ("the record of chunk 12 is damaged").
        where: the disk places that are hurt, in words; empty when none is.
        extents: the same in bytes of the disk.
        position: in the image's stream, or -1.
    """

    what: str
    where: str = ""
    extents: tuple[Extent, ...] = ()
    position: int = -1

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": self.what,
            "where": self.where,
            "extents": [{"start": e.start, "length": e.length} for e in self.extents],
            "position": self.position,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one verification.

    Attributes:
        level: "stored" (every stored byte hashed) or "deep" (every chunk decoded and hashed too).
        outcome: what the capture said of itself.
        unreadable: bytes of the disk that could not be read when it was captured (not known of a
            sealed image without its key).
        checked: bytes that were hashed.
    """

    image_id: str
    root: str
    level: str
    damages: tuple[Damage, ...]
    outcome: Outcome
    unreadable: tuple[Extent, ...]
    checked: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged (unreadable sectors at capture are another matter)."""
        return not self.damages

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "image_id": self.image_id,
            "root": self.root,
            "level": self.level,
            "ok": self.ok,
            "outcome": self.outcome.name.lower(),
            "damages": [damage.to_json() for damage in self.damages],
            "unreadable": [{"start": e.start, "length": e.length} for e in self.unreadable],
            "checked": self.checked,
            "seconds": round(self.seconds, 3),
        }


def place(image: Image, extent: Extent) -> str:
    """Where bytes of the disk lie: "partition 2 (ext4, root), 12.0 MiB from its start"."""
    inside = [
        volume
        for volume in image.manifest.volumes
        if volume.extent.start < extent.end and extent.start < volume.extent.end
    ]
    if not inside:
        return f"outside every partition, {format_size(extent.start)} from the start of the disk"
    words: list[str] = []
    for volume in inside:
        name = f"partition {volume.partition}" if volume.partition else "the disk"
        about = ", ".join(filter(None, (volume.fs, volume.label)))
        name += f" ({about})" if about else ""
        offset = max(0, extent.start - volume.extent.start)
        words.append(f"{name}, {format_size(offset)} from its start")
    return "; ".join(words)


def chunk_extent(image: Image, number: int) -> Extent:
    """The bytes of the disk that a chunk covers."""
    return Extent(number * CHUNK_SIZE, image.content_length(number))


def header_damages(parts: PartReader) -> Sequence[Damage]:
    """Parts of which one of the two header copies is damaged."""
    return [
        Damage(f"{path.name}: one of the two copies of the header is damaged; the other is whole")
        for path, copies in zip(parts.paths, parts.copies, strict=True)
        if copies < 2
    ]
