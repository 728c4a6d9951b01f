"""What a restore is going to do; a value that ``--dry-run`` prints and that is then carried out.

Whole disk: everything the image holds, the areas of the partition tables last, so that a disk whose
restore was cut off does not look like a whole one. On a target of another size every partition has
an old and a new place (``layout``). One or more partitions: only their bytes, onto the same place
of a disk that has the same partitions; nothing outside them is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from blake3 import blake3

from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB, format_duration, format_size
from rescue.devices.model import Layout
from rescue.image.manifest import Volume
from rescue.restore import picture
from rescue.restore.bounds import Bounds, Means
from rescue.restore.identity import Identity, with_identity
from rescue.restore.layout import Arrangement
from rescue.restore.marker import Marker
from rescue.restore.moves import Moves
from rescue.restore.newentry import Addition
from rescue.restore.starting import Starting

_USUAL = 100 * MIB  # what a hard disk writes in a second


@dataclass(frozen=True, slots=True)
class Resize:
    """One volume that gets another length, and by which means."""

    volume: Volume
    old: Extent
    new: Extent
    means: Means

    @property
    def grows(self) -> bool:
        """Whether it becomes longer."""
        return self.new.length > self.old.length

    def line(self) -> str:
        """In words."""
        words = {
            "tool": f"the {self.volume.fs} is grown on the target",
            "overlay": f"the {self.volume.fs} is shrunk in a throw-away overlay of the image",
            "files": f"a new {self.volume.fs} of the same UUID and label gets a copy of all files",
            "rebuild": "its FAT is written anew",
            "remake": f"the {self.volume.fs} is made anew, with the same UUID and label",
            "boot": "its boot sector is told what the sectors are",
            "none": f"the {self.volume.fs} keeps its size",
        }
        sizes = ""
        if self.old.length != self.new.length:
            sizes = f"{format_size(self.old.length)} -> {format_size(self.new.length)}, "
        return f"partition {self.volume.partition}: {sizes}{words[self.means]}"


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What will be written.

    Attributes:
        needed: bytes the target must have.
        written: bytes of the source disk that are written.
        last: chunk numbers written after everything else was flushed (whole disk only).
        chosen: partition numbers; empty means the whole disk.
        unreadable: bytes among them that could not be read at capture; they become zeros.
        lost: what the target holds now, in words.
        arrangement: where the partitions go; None where everything stays at its place.
        resizes: volumes that get another length.
        head: bytes at the start of the disk that are written last of all; 0: none.
        same_layout: the target is divided as planned already, so comparing first may pay.
        target_size: of the target, in bytes.
        left_out: partitions that stay empty.
        addition: what makes new partitions in the target's own table.
        starting: what is done so that it starts; None: nothing is looked at.
        identity: identifiers that become others; None: all stay.
    """

    layout: Layout
    volumes: tuple[Volume, ...]
    needed: int
    written: ExtentMap
    last: frozenset[int]
    chosen: tuple[int, ...]
    unreadable: tuple[Extent, ...]
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arrangement: Arrangement | None = None
    resizes: tuple[Resize, ...] = ()
    head: int = 0
    same_layout: bool = False
    target_size: int = 0
    left_out: tuple[int, ...] = ()
    addition: Addition | None = None
    bounds: dict[int, Bounds] = field(default_factory=dict, compare=False)
    starting: Starting | None = None
    identity: Identity | None = None

    @property
    def bytes(self) -> int:
        """How many bytes will be written."""
        return self.written.total

    @property
    def whole(self) -> bool:
        """Whether the whole disk is restored."""
        return not self.chosen

    @property
    def moves(self) -> Moves:
        """Which bytes of the source go where, but for what is rebuilt and the head."""
        return base_moves(self)

    @property
    def sector(self) -> int:
        """Bytes of a logical sector of the target, as far as the plan has to know."""
        at = self.arrangement
        return at.layout.sector_size if at is not None else self.layout.sector_size

    def digest(self, root: str) -> str:
        """What is the same exactly when the same thing is planned again."""
        places = [place.to_json() for place in self.arrangement.places] if self.arrangement else []
        value: list[object] = [root, self.target_size or self.needed, list(self.chosen), places]
        if self.left_out or self.sector != self.layout.sector_size:
            value += [self.left_out, self.sector]
        if self.starting is not None and self.starting.fills:
            value.append(self.starting.to_json()["fallback"])
        if self.identity is not None:
            value.append(self.identity.seed)
        return blake3(json.dumps(value).encode()).hexdigest()

    def mark(self, image_id: str, root: str) -> Marker | None:
        """What stands on the target until the end; None: there is no room for it."""
        seed = self.identity.seed if self.identity else ""
        return Marker(image_id, self.digest(root), seed=seed) if self.head else None

    def renamed(self, identity: Identity) -> RestorePlan:
        """The same plan with other identifiers, for a disk that is written as a whole."""
        if self.arrangement is None:
            raise ValueError("nothing is arranged")
        fresh = with_identity(self.arrangement, identity)
        return replace(self, identity=identity, arrangement=fresh, same_layout=False)

    def lines(self) -> list[str]:
        """The plan in words, a line each."""
        what = (
            "the whole disk"
            if self.whole
            else "only partition"
            + ("s " if len(self.chosen) > 1 else " ")
            + ", ".join(map(str, self.chosen))
        )
        total = self.bytes + sum(
            one.volume.captured for one in self.resizes if one.means in ("overlay", "files")
        )
        seconds = total / _USUAL
        lines = [
            f"restore {what}: {format_size(total)} will be written",
            f"time: at {format_size(_USUAL)}/s {format_duration(seconds)}, and reading it back as "
            "long again",
        ]
        if self.arrangement is not None:
            lines += picture.table(self.arrangement.places, self.volumes)
            if self.whole:
                lines += picture.bars(self.layout, self.arrangement, self.volumes)
        else:
            lines += self._volume_lines()
        if self.resizes:
            lines.append("to be changed:")
            lines += [f"  {resize.line()}" for resize in self.resizes]
        if self.starting is not None and self.starting.lines():
            lines.append("so that it starts:")
            lines += [f"  {line}" for line in self.starting.lines()]
        if self.identity is not None:
            lines.append("new identifiers:")
            lines += [f"  {line}" for line in self.identity.lines()]
        if self.lost:
            lines.append("the target holds now, and loses:")
            lines += [f"  {line}" for line in self.lost]
        lines += [f"note: {note}" for note in self.notes]
        return lines

    def _volume_lines(self) -> list[str]:
        lines = []
        for volume in self.volumes:
            if self.chosen and volume.partition not in self.chosen:
                continue
            name = f"partition {volume.partition}" if volume.partition else "disk"
            about = " ".join(filter(None, (volume.fs, volume.label)))
            lines.append(
                f"  {name:<13} {about:<24} {format_size(volume.extent.length):>11}"
                f"  {format_size(volume.captured):>11} used"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        places = self.arrangement.places if self.arrangement else ()
        return {
            "needed": self.needed,
            "bytes": self.bytes,
            "partitions": list(self.chosen),
            "volumes": [
                volume.to_json()
                for volume in self.volumes
                if not self.chosen or volume.partition in self.chosen
            ],
            "places": [place.to_json() for place in places],
            "resizes": [
                {
                    "partition": one.volume.partition,
                    "fs": one.volume.fs,
                    "old": one.old.length,
                    "new": one.new.length,
                    "means": one.means,
                }
                for one in self.resizes
            ],
            "new_partitions": list(self.addition.numbers) if self.addition else [],
            "left_out": list(self.left_out),
            "sector_size": self.sector,
            "repairs": self.starting.to_json() if self.starting else None,
            "identity": self.identity.to_json() if self.identity else None,
            "unreadable": [{"start": e.start, "length": e.length} for e in self.unreadable],
            "lost": list(self.lost),
            "notes": list(self.notes),
        }


def base_moves(plan: RestorePlan) -> Moves:
    """Runs of source bytes that are copied as they are; nothing of the head is among them."""
    size = plan.layout.size
    if plan.arrangement is None:
        return Moves([(plan.head, size - plan.head, plan.head)])
    remade = {
        one.volume.partition for one in plan.resizes if one.means not in ("tool", "boot", "none")
    }
    remade |= set(plan.left_out)
    places = [place for place in plan.arrangement.places if place.kind != "extended"]
    if plan.arrangement.same and plan.whole:
        # All but the second copy of the table, which lies at another place now, and what changes.
        last = max(place.old.end for place in places)
        spared = [(low, high) for low, high in plan.layout.table_extents.pairs() if low >= last]
        spared += [(p.old.start, p.old.end) for p in places if p.number in remade]
        end = min(size, plan.target_size)
        runs = ExtentMap.of(spared).complement(plan.head, end)
        return Moves([(e.start, e.length, e.start) for e in runs])
    first = min(place.old.start for place in plan.arrangement.places)
    front = first > plan.head and plan.whole
    copies = [(plan.head, first - plan.head, plan.head)] if front else []
    copies += [
        (place.old.start, min(place.old.length, place.new.length), place.new.start)
        for place in places
        if place.number not in remade
    ]
    return Moves(copies)
