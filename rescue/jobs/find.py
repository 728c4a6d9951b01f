"""From the names in a job to the disks of this machine: serial, WWN or label, never /dev/sdX."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rescue.core import process
from rescue.core.errors import DiskTrouble, UsageError
from rescue.devices.discover import list_disks
from rescue.devices.model import Disk
from rescue.jobs.describe import disk_words, holds_now
from rescue.jobs.model import DiskName, ImagePlace, Job, SecretPlace
from rescue.jobs.places import Filesystem, by_label, list_filesystems

Result = TypeVar("Result")
Say = Callable[[str], None]

_WAIT = 30.0
"""Seconds: a USB disk needs some after the start of a machine; hardly any needs more."""


@dataclass(frozen=True, slots=True)
class Key:
    """A file that opens the image, and its filesystem; None: it is on the boot medium."""

    secret: SecretPlace
    filesystem: Filesystem | None


@dataclass(frozen=True, slots=True)
class Found:
    """The disks and the place that a job names.

    Attributes:
        disk: the source or target; None for verify.
        store: the filesystem of the image; None when it is on the boot medium.
        keys: what opens the image.
    """

    disk: Disk | None
    store: Filesystem | None
    filesystems: tuple[Filesystem, ...]
    keys: tuple[Key, ...] = ()

    def lines(self, job: Job, *, lost: bool = False) -> list[str]:
        """What was found; with ``lost`` also what a restore would take away."""
        said = []
        if self.store is not None:
            said.append(f"image on {self.store.node} ({self.store.kind}): {job.image.path}")
        if self.disk is not None:
            word = "target" if job.action == "restore" else "source"
            said.append(f"{word}: {disk_words(self.disk)}")
        for key in self.keys:
            node = key.filesystem.node if key.filesystem else "the boot medium"
            said.append(f"{key.secret}, on {node}")
        if any(self._is_beside(key) for key in self.keys):
            said.append("what opens the image lies beside it: who has the one has the other")
        if lost and self.disk is not None and job.action == "restore":
            said += self._lost(job)
        return said

    def _is_beside(self, key: Key) -> bool:
        """Whether a key lies on the disk that the image is on."""
        if key.filesystem is None or self.store is None:
            return key.filesystem is None and self.store is None
        return key.filesystem.disk == self.store.disk

    def _lost(self, job: Job) -> list[str]:
        """What a restore takes away."""
        assert self.disk is not None
        if job.how.into.startswith("free"):
            return ["will be lost: nothing; new partitions go where no partition is"]
        if job.partitions:
            numbers = job.how.into or ", ".join(map(str, job.partitions))
            return [f"will be lost: what partition {numbers} of the target holds"]
        return [f"will be lost: {one}" for one in holds_now(self.disk, self.filesystems)]


def find_disk(name: DiskName, disks: Sequence[Disk], filesystems: Sequence[Filesystem]) -> Disk:
    """The one disk with this serial number, WWN or label.

    Raises:
        DiskTrouble: there is none, or more than one.
    """
    if name.by == "label":
        node = by_label(name.value, tuple(filesystems)).disk
        matches = [disk for disk in disks if disk.path == node]
    else:
        wanted = name.value.casefold()
        matches = [d for d in disks if str(getattr(d, name.by)).strip().casefold() == wanted]
    if not matches:
        raise DiskTrouble(
            f"there is no {str(name).removeprefix('the ')}",
            hint="rescue disks shows the disks of this machine",
        )
    if len(matches) > 1:
        nodes = ", ".join(str(disk.path) for disk in matches)
        raise DiskTrouble(f"{name} is not clear: {nodes}", hint="unplug all but one of them")
    return matches[0]


def find(job: Job, disks: Sequence[Disk], filesystems: tuple[Filesystem, ...]) -> Found:
    """Everything that a job names; pure.

    Raises:
        DiskTrouble: something is not there, or not clear.
        UsageError: the image would lie on the disk that is captured or erased, or the erased disk
            is not the one that the job confirms.
    """
    store = _filesystem(job.image, filesystems)
    disk = find_disk(job.disk, disks, filesystems) if job.disk else None
    if disk is not None and store is not None and store.disk == disk.path:
        word = "erased" if job.action == "restore" else "captured"
        raise UsageError(
            f"the image {job.image} lies on {disk.path}, the very disk that would be {word}",
            hint="keep the image on another disk",
        )
    if job.action == "capture" and store is None:
        raise UsageError("an image cannot be made on the boot medium", hint="use another disk")
    keys = tuple(Key(one, _filesystem(one.place, filesystems)) for one in job.secrets)
    for key in keys:
        erased = disk.path if disk is not None and job.action == "restore" else None
        if key.filesystem is not None and key.filesystem.disk == erased:
            raise UsageError(
                f"the {key.secret} lies on {erased}, the very disk that would be erased",
                hint="keep what opens the image on another disk",
            )
    return Found(disk, store, filesystems, keys)


def _filesystem(place: ImagePlace, filesystems: tuple[Filesystem, ...]) -> Filesystem | None:
    """The filesystem that a place names; None: the boot medium."""
    return None if place.label == "medium" else by_label(place.label, filesystems)


def find_now(job: Job) -> Found:
    """What the job names, on this machine as it is now."""
    return find(job, list_disks(), list_filesystems())


def find_patiently(job: Job, say: Say, *, wait: float = _WAIT) -> Found:
    """As ``find_now``, for the start of a machine: waits for disks that are slow to appear."""
    return _patiently(lambda: find_now(job), say, wait)


def label_patiently(label: str, say: Say, *, wait: float = _WAIT) -> Filesystem:
    """The filesystem with this label, waiting for disks that are slow to appear.

    Raises:
        DiskTrouble: there is none, or more than one, after the time is over.
    """
    return _patiently(lambda: by_label(label, list_filesystems()), say, wait)


def _patiently(look: Callable[[], Result], say: Say, wait: float) -> Result:
    """Look until it is there or the time is over; say once that there is something to wait for."""
    settle()
    until = time.monotonic() + wait
    told = False
    while True:
        try:
            return look()
        except DiskTrouble as error:
            if time.monotonic() >= until:
                raise
            if not told:
                say(f"waiting up to {wait:.0f} s: {error.message}")
                told = True
        time.sleep(1)


def settle() -> None:
    """Let udev finish with the disks it knows of; without udev there is nothing to wait for."""
    if process.find("udevadm"):
        process.run(["udevadm", "settle", "--timeout=10"], check=False, timeout=30)
