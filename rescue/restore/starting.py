"""What is done so that a restored disk starts where firmware does not know it. A value; pure.

Two things: the fallback path of an EFI system partition is filled in, and a machine that restores
its own disk gets boot entries again. Both are planned, shown before and after, and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rescue.restore.bootentries import Target, missing
from rescue.restore.esp import EspPlan, Loader, efi


@dataclass(frozen=True, slots=True)
class Entries:
    """Boot entries for one EFI system partition.

    Attributes:
        guid: of the partition, as the target will have it.
        made: loaders that get an entry.
        there: loaders that an entry leads to already.
        why_not: why none is made; empty where they are.
    """

    partition: int
    guid: str
    made: tuple[Loader, ...] = ()
    there: tuple[Loader, ...] = ()
    why_not: str = ""

    @property
    def loaders(self) -> tuple[Loader, ...]:
        """All of them."""
        return (*self.made, *self.there)


@dataclass(frozen=True, slots=True)
class Starting:
    """Everything that is planned; empty for a disk that has no EFI system partition.

    Attributes:
        notes: what is done for GRUB, or has to be done by hand afterwards.
    """

    esps: tuple[EspPlan, ...] = ()
    entries: tuple[Entries, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fills(self) -> bool:
        """Whether anything is written for it."""
        return any(one.copies for one in self.esps)

    def lines(self) -> list[str]:
        """In words."""
        lines = [line for one in self.esps for line in one.lines()]
        for one in self.entries:
            name = f"firmware, for partition {one.partition}"
            if one.why_not:
                lines.append(f"{name}: no boot entry is made, because {one.why_not}")
            for loader in () if one.why_not else one.made:
                words = f"a boot entry {loader.label!r} is made for {efi(loader.path)}"
                lines.append(f"{name}: before, none leads there; after, {words}")
            for loader in () if one.why_not else one.there:
                lines.append(f"{name}: an entry for {efi(loader.path)} is there")
        return [*lines, *self.notes]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "grub": list(self.notes),
            "fallback": [one.to_json() for one in self.esps],
            "boot_entries": [
                {
                    "partition": one.partition,
                    "partition_guid": one.guid,
                    "made": [] if one.why_not else [_entry(loader) for loader in one.made],
                    "there": [] if one.why_not else [_entry(loader) for loader in one.there],
                    "why_not": one.why_not,
                }
                for one in self.entries
            ],
        }


def _entry(loader: Loader) -> dict[str, str]:
    return {"label": loader.label, "path": efi(loader.path)}


def entries_for(esp: EspPlan, guid: str, why_not: str, there: Sequence[Target]) -> Entries | None:
    """Which entries a partition needs; None: it has no loader that firmware can be told of."""
    if not esp.loaders:
        return None
    wanted = tuple(missing(esp.loaders, guid, esp.partition, there))
    known = tuple(loader for loader in esp.loaders if loader not in wanted)
    return Entries(esp.partition, guid, wanted, known, why_not)
