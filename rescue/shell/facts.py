"""What the shell knows: the machine, its disks, the images that were found. Values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rescue.core.units import format_size
from rescue.devices.model import Disk, Layout
from rescue.jobs import describe
from rescue.jobs.places import Filesystem
from rescue.restore.bounds import Bounds

if TYPE_CHECKING:
    from rescue.image.manifest import Volume


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """This machine, as its firmware tells it; empty texts where it does not."""

    vendor: str = ""
    product: str = ""
    serial: str = ""
    firmware: str = ""
    memory: int = 0

    @property
    def name(self) -> str:
        """Maker and product."""
        words = [self.vendor, self.product]
        return " ".join(word for word in words if word) or "this machine"

    @property
    def about(self) -> str:
        """Firmware and memory."""
        firmware = {"uefi": "UEFI", "bios": "BIOS"}.get(self.firmware, self.firmware)
        memory = f"{format_size(self.memory)} memory" if self.memory else ""
        return ", ".join(filter(None, (firmware, memory)))


@dataclass(frozen=True, slots=True)
class Found:
    """An image that was found.

    Attributes:
        node: the filesystem it lies on; None for one on a path that is simply there.
        path: inside that filesystem, or the whole path.
        place: that filesystem in words: ``"STORE" on Elements 25A2``.
        disk_size: of the disk it was made of; 0 while that is not known (locked).
        stored: bytes of its files.
        id: the image's own id; empty while it is locked.
        why: why it cannot be used; empty when it can.
        locked: it is encrypted, and nothing more is known without its key.
    """

    node: Path | None
    path: str
    place: str = ""
    made: str = ""
    machine: str = ""
    machine_serial: str = ""
    disk: str = ""
    disk_serial: str = ""
    disk_size: int = 0
    stored: int = 0
    outcome: str = ""
    why: str = ""
    locked: bool = False
    sealed: bool = False
    layout: Layout | None = None
    volumes: tuple[Volume, ...] = ()
    needs: int = 0
    id: str = ""

    @property
    def word(self) -> str:
        """How a command names it: ``NODE:path``, or its path."""
        return f"{self.node}:{self.path}" if self.node else self.path

    @property
    def usable(self) -> bool:
        """Whether it can be opened, with a key where it needs one."""
        return not self.why

    def line(self) -> str:
        """``2026-11-23 18:23  Dell XPS  1.0 TiB  complete``."""
        facts = [self.made or "?", self.machine, self.disk_size and format_size(self.disk_size)]
        state = self.why or ("encrypted" if self.locked else self.outcome)
        return "  ".join(str(fact) for fact in (*facts, state) if fact)

    def where(self) -> str:
        """``images/pc.rescue on STORE``."""
        return f"{self.path} on {self.place}" if self.place else self.path


@dataclass(frozen=True, slots=True)
class Sectors:
    """What becomes of an image on a disk whose sectors have another size.

    Attributes:
        bounds: how short and how long each volume may become there.
        changed: partitions whose filesystem has to be changed for it.
        left: partitions that cannot be there, each with the reason.
        notes: what a person should know of those that can.
        why: why nothing of the image can be there; empty otherwise.
    """

    bounds: Mapping[int, Bounds] = field(default_factory=dict)
    changed: frozenset[int] = frozenset()
    left: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the machine has, at one moment."""

    machine: MachineFacts
    disks: tuple[Disk, ...]
    filesystems: tuple[Filesystem, ...]

    def disk_of(self, node: Path | None) -> Disk | None:
        """The disk that a filesystem lies on."""
        for one in self.filesystems:
            if one.node == node:
                return next((disk for disk in self.disks if disk.path == one.disk), None)
        return None

    def filesystem(self, node: Path | None) -> Filesystem | None:
        """The filesystem on a node."""
        return next((one for one in self.filesystems if one.node == node), None)

    def disk(self, path: str) -> Disk | None:
        """The disk with this path."""
        return next((disk for disk in self.disks if str(disk.path) == path), None)

    def volumes(self, disk: Disk) -> list[Filesystem]:
        """What lies on a disk."""
        return describe.volumes_of(disk, self.filesystems)


def is_medium(disk: Disk) -> bool:
    """Whether this system was started from it."""
    return any(use.what == "boot medium" for use in disk.uses)


def likeliest(images: Sequence[Found], sight: Sight) -> list[Found]:
    """Images in the order in which a person wants them.

    Those of a disk of this machine first, then those of this machine, then others; the newest of
    each first; what cannot be used last.
    """
    serials = {disk.serial for disk in sight.disks if disk.serial}
    mine = sight.machine.serial

    def rank(found: Found) -> int:
        if not found.usable:
            return 3
        if found.disk_serial and found.disk_serial in serials:
            return 0
        if (mine and found.machine_serial == mine) or (
            not found.locked and found.machine == sight.machine.name
        ):
            return 1
        return 2

    newest = sorted(images, key=lambda found: found.made, reverse=True)
    return sorted(newest, key=rank)


def is_of_this_machine(found: Found, sight: Sight) -> bool:
    """Whether an image was made of a disk that is in this machine now."""
    return bool(found.disk_serial) and any(d.serial == found.disk_serial for d in sight.disks)


def place_words(filesystem: Filesystem, sight: Sight) -> str:
    """``STORE (sdb1, Elements 25A2)``: a place as a person knows it."""
    disk = next((d for d in sight.disks if d.path == filesystem.disk), None)
    name = filesystem.label or filesystem.partition_label or filesystem.kind
    model = disk.model or disk.transport if disk else ""
    return f"{name} ({', '.join(filter(None, (filesystem.node.name, model)))})"
