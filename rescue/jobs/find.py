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
from rescue.jobs.model import DiskName, Job
from rescue.jobs.places import Filesystem, by_label, list_filesystems

Result = TypeVar("Result")
Say = Callable[[str], None]

_WAIT = 30.0
"""Seconds: a USB disk needs some after the start of a machine; hardly any needs more."""


@dataclass(frozen=True, slots=True)
class Found:
    """The disks and the place that a job names.

    Attributes:
        disk: the source or target; None for verify.
        store: the filesystem of the image; None when it is on the boot medium.
    """

    disk: Disk | None
    store: Filesystem | None
    filesystems: tuple[Filesystem, ...]

    def lines(self, job: Job, *, lost: bool = False) -> list[str]:
        """What was found; with ``lost`` also what a restore would take away."""
        said = []
        if self.store is not None:
            said.append(f"image on {self.store.node} ({self.store.kind}): {job.image.path}")
        if self.disk is not None:
            word = "target" if job.action == "restore" else "source"
            said.append(f"{word}: {disk_words(self.disk)}")
        if lost and self.disk is not None and job.action == "restore":
            said += self._lost(job)
        return said

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
    store = None if job.image.label == "medium" else by_label(job.image.label, filesystems)
    disk = find_disk(job.disk, disks, filesystems) if job.disk else None
    if disk is not None and store is not None and store.disk == disk.path:
        word = "erased" if job.action == "restore" else "captured"
        raise UsageError(
            f"the image {job.image} lies on {disk.path}, the very disk that would be {word}",
            hint="keep the image on another disk",
        )
    if job.action == "capture" and store is None:
        raise UsageError("an image cannot be made on the boot medium", hint="use another disk")
    return Found(disk, store, filesystems)


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
