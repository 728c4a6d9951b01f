"""How the files and folders of a view are called. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rescue.core.extent import Extent

DISK = "disk.raw"
SCRATCH = ".scratch"
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """One volume as the view shows it.

    Attributes:
        number: partition number; 0 for a filesystem that covers the whole disk.
        fs: blkid's word, or empty.
        state: "clean", "dirty", "hibernated" or "unknown".
        node: the volume's own block device on a live disk, or empty.
    """

    number: int
    extent: Extent
    fs: str
    label: str
    state: str = "unknown"
    node: str = ""

    @property
    def file(self) -> str:
        """Name of the raw file."""
        return f"partition-{self.number}.raw" if self.number else DISK

    @property
    def folder(self) -> str:
        """Name of the folder in which the filesystem is seen: ``3-root``."""
        return f"{self.number}-{plain(self.label or self.fs)}"


def plain(text: str) -> str:
    """A label as part of a file's name: no slash, nothing that a terminal would obey."""
    kept = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in text).strip(" .")
    return kept.encode()[:_LONGEST].decode(errors="ignore") or "volume"


def choose(volumes: Sequence[Seen], name: str) -> Seen | None:
    """The volume a person means: its number, its folder's name, or its label if unique."""
    for one in volumes:
        if name in (str(one.number), one.folder):
            return one
    labelled = [one for one in volumes if one.label and one.label == name]
    return labelled[0] if len(labelled) == 1 else None
