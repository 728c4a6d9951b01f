"""The machine as the flows ask for it. The one module of the shell that touches disks.

Everything here may take seconds: screens call it away from the thread that answers keys. Tests put
another world in its place, made of recorded machines.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rescue.core.errors import ImageDamaged, RescueError, TargetRefused
from rescue.devices.discover import list_disks
from rescue.devices.model import Disk, Layout
from rescue.jobs import describe, held, places, tasks
from rescue.jobs.marker import MEDIUM
from rescue.jobs.places import Filesystem
from rescue.jobs.tasks import Task, TaskWish
from rescue.shell import settings as kept
from rescue.shell.estimating import Estimate, estimate
from rescue.shell.facts import Found, MachineFacts, Sectors, Sight, is_medium, place_words
from rescue.shell.settings import Settings

if TYPE_CHECKING:
    from rescue.image.reader import Image
    from rescue.restore.bounds import Bounds

_SCAN_SECONDS = 8.0
_PATIENCE = 60.0
_LOOK_SECONDS = 20.0
_PAUSE = 0.2
_DATA_KINDS = ("exfat", "vfat", "ext4", "ext3", "ext2", "ntfs", "btrfs", "xfs", "f2fs")


class World(Protocol):
    """What flows ask for."""

    def sight(self, *, settled: bool = False) -> Sight:
        """The machine, its disks and filesystems now; ``settled``: once no look is under way."""

    def images(self, *, wait: bool = False) -> Sequence[Found]:
        """The images that are known so far; with ``wait`` when the search has ended."""

    def scan(self, sight: Sight) -> Iterator[str]:
        """Look for images everywhere; a line for each place."""

    def unlock(self, image: Found, passphrase: bytes) -> Found:
        """An encrypted image, opened; its ``why`` says when that did not work."""

    def bounds(self, image: Found, passphrase: bytes) -> Mapping[int, Bounds]:
        """How short and how long each volume of an image may become; none where nobody knows."""

    def sectors(self, image: Found, passphrase: bytes, sector: int) -> Sectors:
        """What becomes of an image on a disk with sectors of this size, not those of its own."""

    def layout(self, disk: Disk) -> Layout | None:
        """How a disk is divided; None when it has no table that can be read."""

    def half_restored(self, disk: Disk) -> str | None:
        """The id of the image whose restore onto this disk was interrupted; None: none was."""

    def estimate(self, disk: Disk, passphrase: bytes = b"") -> Estimate:
        """What a capture of a disk would read; the passphrase opens what is encrypted on it."""

    def free(self, filesystem: Filesystem, *, writable: bool) -> int:
        """Bytes free on a filesystem; raises when it cannot be mounted."""

    def exists(self, filesystem: Filesystem, path: str) -> bool:
        """Whether there is something at a path of a filesystem."""

    def start(self, wish: TaskWish) -> Task:
        """Start a task."""

    def settings(self) -> Settings:
        """What was chosen last."""

    def tasks(self) -> Sequence[Task]:
        """The tasks of this start of the system, the newest first."""


class ThisMachine:
    """The real one."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = {}
        self._scanning = threading.Lock()
        self.more = False
        self._settings: Settings | None = None
        self._estimates: dict[tuple[object, ...], Estimate] = {}
        self._bounds: dict[tuple[str, str], Mapping[int, Bounds]] = {}
        self._sectors: dict[tuple[str, str, int], Sectors] = {}

    def sight(self, *, settled: bool = False) -> Sight:
        """The machine, its disks and filesystems now.

        Args:
            settled: wait while a disk is mounted for a look of our own. A disk that was plugged in
                a moment ago would be "in use" otherwise, and a person would be told to unmount it.
        """
        until = time.monotonic() + _LOOK_SECONDS
        while True:
            found = list_disks()
            if not settled or time.monotonic() > until or not held.is_looked_at(found):
                break
            time.sleep(_PAUSE)
        ours = (describe.is_own_layer, describe.is_view)
        disks = (d for d in found if d.node_type != "rom" and not any(our(d) for our in ours))
        return Sight(machine_facts(), tuple(disks), places.list_filesystems())

    def images(self, *, wait: bool = False) -> Sequence[Found]:
        """The images that are known so far; with ``wait`` when the search has ended."""
        if wait and self._scanning.acquire(timeout=_PATIENCE):
            self._scanning.release()
        return list(self.found.values())

    def scan(self, sight: Sight) -> Iterator[str]:
        """Look for images on every disk, each mounted read-only for the look; a line for each.

        On a machine that runs its own system only what is mounted already is looked at. One search
        at a time; a second one waits for the first, whose places are known then.
        """
        with self._scanning:
            yield from self._scan(sight)

    def _scan(self, sight: Sight) -> Iterator[str]:
        from rescue.shell.images import find_images

        live = describe.is_live()
        known = {disk.path for disk in sight.disks}
        seen: dict[str, Found] = {}
        for one in sight.filesystems:
            if not one.mountable or not (live or one.mounted) or one.disk not in known:
                continue
            yield f"Looking for images on {place_words(one, sight)} ..."
            with held.looking() as allowed, ExitStack() as stack:
                if not allowed:
                    yield "A task is at work; its disks are left alone until it ends."
                    return
                try:
                    place = stack.enter_context(held.held(one.node, writable=False))
                except RescueError:
                    continue
                words = place_words(one, sight)
                for found in find_images(place.root, one.node, words, seconds=_SCAN_SECONDS):
                    if found is None:
                        self.more = True
                        continue
                    self.found[found.word] = seen[found.word] = found
        if live and MEDIUM.is_dir():
            medium = (m for m in find_images(MEDIUM, None, "the rescue medium") if m)
            for found in medium:
                if not any(str(one.mounted) == str(MEDIUM) for one in sight.filesystems):
                    self.found[found.word] = seen[found.word] = found
        self.found = seen

    def unlock(self, image: Found, passphrase: bytes) -> Found:
        """An encrypted image, opened with a passphrase."""
        from rescue.image.keys import Passphrase
        from rescue.shell.images import describe as describe_image

        with _file_of(image) as (path, root):
            secrets = [Passphrase(passphrase)]
            return describe_image(path, root, image.node, image.place, secrets=secrets)

    def bounds(self, image: Found, passphrase: bytes) -> Mapping[int, Bounds]:
        """How short and how long each volume of an image may become; remembered.

        A damaged image has none: it goes to a disk of its own size, as far as it is whole.
        """
        from rescue.restore.asked import layout_of
        from rescue.restore.planning import bounds_for

        key = (image.word, image.made)
        if key not in self._bounds:
            with _opened(image, passphrase) as opened:
                try:
                    self._bounds[key] = bounds_for(opened, layout_of(opened))
                except ImageDamaged:
                    self._bounds[key] = {}
        return self._bounds[key]

    def sectors(self, image: Found, passphrase: bytes, sector: int) -> Sectors:
        """What becomes of an image on a disk with such sectors; remembered."""
        key = (image.word, image.made, sector)
        if key not in self._sectors:
            with _opened(image, passphrase) as opened:
                try:
                    self._sectors[key] = _on_sectors(opened, sector)
                except ImageDamaged as error:
                    self._sectors[key] = Sectors(why=error.message)
        return self._sectors[key]

    def layout(self, disk: Disk) -> Layout | None:
        """How a disk is divided."""
        from rescue.devices.table import read_layout

        try:
            return read_layout(disk)
        except RescueError:
            return None

    def half_restored(self, disk: Disk) -> str | None:
        """The id of the image whose restore onto this disk was interrupted; None: none was."""
        return describe.half_restored(disk.path)

    def estimate(self, disk: Disk, passphrase: bytes = b"") -> Estimate:
        """What a capture of a disk would read; remembered, because a big disk takes seconds."""
        # What is open on it now decides what can be looked into.
        key = (str(disk.path), disk.identity, passphrase, disk.uses)
        if key not in self._estimates:
            self._estimates[key] = estimate(disk, passphrase)
        return self._estimates[key]

    def free(self, filesystem: Filesystem, *, writable: bool) -> int:
        """Bytes free on a filesystem."""
        with held.held(filesystem.node, writable=writable) as place:
            status = os.statvfs(place.root)
            return status.f_bavail * status.f_frsize

    def exists(self, filesystem: Filesystem, path: str) -> bool:
        """Whether there is something at a path of a filesystem."""
        with held.held(filesystem.node, writable=False) as place:
            return os.path.lexists(place.file(path))

    def start(self, wish: TaskWish) -> Task:
        """Start a task with this very program."""
        if chosen := kept.of_capture(wish, self.sight()):
            self._settings = chosen
        return tasks.start(wish, tasks.own_program())

    def settings(self) -> Settings:
        """What was chosen last, in this shell or by what the stick keeps."""
        if self._settings is None:
            place = data_partition(self.sight()) if describe.is_live() else None
            self._settings = kept.load(place.node) if place else Settings()
        return self._settings

    def tasks(self) -> Sequence[Task]:
        """The tasks of this start of the system."""
        return tasks.listing()


@contextmanager
def _file_of(image: Found) -> Iterator[tuple[Path, Path]]:
    """An image's file, with its place mounted, and the root of that place."""
    with ExitStack() as stack:
        root, path = Path("/"), Path(image.path)
        if image.node:
            place = stack.enter_context(held.held(image.node, writable=False))
            root, path = place.root, place.file(image.path)
        yield path, root


@contextmanager
def _opened(image: Found, passphrase: bytes) -> Iterator[Image]:
    """An image, opened for a look at what it holds."""
    from rescue.image.keys import Passphrase
    from rescue.image.reader import Image

    secrets = [Passphrase(passphrase)] if passphrase else ()
    with _file_of(image) as (path, _root), Image.open(path, secrets=secrets) as opened:
        yield opened


def _on_sectors(opened: Image, sector: int) -> Sectors:
    from rescue.restore import sectors
    from rescue.restore.asked import layout_of
    from rescue.restore.planning import bounds_for

    layout = layout_of(opened)
    found = sectors.verdicts(opened.read, layout, opened.manifest.volumes, sector)
    left = {number: verdict.why for number, verdict in found.items() if verdict.why}
    means = {number: v.means for number, v in found.items() if v.means and number not in left}
    try:
        sectors.check_table(layout, found, sector)
    except TargetRefused as error:
        return Sectors(why=error.message)
    return Sectors(
        bounds_for(opened, layout, sector, means, tuple(left)),
        frozenset(means),
        left,
        tuple(sectors.notes(layout, sector, means)),
        left.get(0, ""),
    )


def data_partition(sight: Sight) -> Filesystem | None:
    """Where the stick keeps what it remembers: a filesystem beside the system it started from."""
    for disk in sight.disks:
        if not is_medium(disk):
            continue
        for one in sight.volumes(disk):
            if one.kind in _DATA_KINDS and one.mounted != MEDIUM and one.size >= 64 << 20:
                return one
    return None


def machine_facts() -> MachineFacts:
    """This machine, from its firmware's tables."""
    from rescue.capture.machine import this_machine

    told = this_machine()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return MachineFacts(
        told["vendor"], told["product"], told["serial"], told["firmware"], memory=pages
    )
