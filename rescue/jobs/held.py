"""Filesystems that several programs use at once: mounted by the first, unmounted by the last.

The shell looks for images on a disk, a capture that runs by itself writes to it, and a second
shell looks too. Each user of a filesystem holds a shared lock for as long as it needs it, so a
program that was killed holds nothing; whoever leaves last unmounts.

While a task writes, nobody mounts anything just for a look (``looking``): the disks are quiet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rescue.core.errors import DiskTrouble, from_os_error
from rescue.devices.model import Disk, Use
from rescue.jobs import places, runtime
from rescue.jobs.places import Filesystem, Place

_PATIENCE = 60.0


def quiet_lock() -> Path:
    """Held exclusively by a task that writes, shared by whoever mounts a disk for a look."""
    return runtime.folder("locks") / "quiet"


def _gate() -> Path:
    """Held by whoever waits for ``quiet_lock``, shared for a moment by whoever begins a look."""
    return runtime.folder("locks") / "gate"


def _mounts() -> Path:
    """Below the same folder as the locks: whoever shares the mounts shares those, too."""
    return runtime.folder("places")


def fresh(node: Path) -> Filesystem:
    """The filesystem on a node, as it is now.

    Raises:
        DiskTrouble: the node is gone.
    """
    for one in places.list_filesystems():
        if one.node == node:
            return one
    raise DiskTrouble(
        f"{node} is not there any more", hint="plug the disk in again, then look again"
    )


def is_own(use: Use) -> bool:
    """Whether a use of a disk is a mount that this program, or another of its kind, made."""
    return use.what == "mounted" and use.detail.startswith(f"{_mounts()}/")


def is_looked_at(disks: Iterable[Disk]) -> bool:
    """Whether one of the disks is mounted just now by this program or another of its kind."""
    return any(is_own(use) for disk in disks for use in disk.uses)


def quieten(*, seconds: float, waits: Callable[[], None] | None = None) -> int | None:
    """Wait until nobody looks at disks any more, and keep it so while the file is open.

    None: somebody still looked, or wrote, after ``seconds``.

    Args:
        waits: is called once where there is anybody to wait for.
    """
    fd = runtime.try_lock(quiet_lock())
    if fd is not None:
        return fd
    if waits is not None:
        waits()
    # Whoever waits here lets no new look begin: one look after the other would go on for ever.
    gate = runtime.wait_lock(_gate(), seconds=seconds)
    try:
        return runtime.wait_lock(quiet_lock(), seconds=seconds)
    finally:
        if gate is not None:
            runtime.unlock(gate)


@contextmanager
def looking() -> Iterator[bool]:
    """Whether a disk may be mounted for a look now: not while a task writes to one."""
    fd = None
    gate = runtime.try_lock(_gate(), shared=True)
    if gate is not None:
        fd = runtime.try_lock(quiet_lock(), shared=True)
        runtime.unlock(gate)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            runtime.unlock(fd)


@contextmanager
def held(node: Path, *, writable: bool) -> Iterator[Place]:
    """Mount the filesystem on a node, or share its mount, for as long as the block lasts.

    Raises:
        DiskTrouble: it is gone, cannot be mounted, or others only read it while it must be written.
    """
    door = runtime.folder("locks") / "door"
    users = runtime.folder("locks") / f"use-{node.name}"
    with runtime.locked(door, seconds=_PATIENCE, what=f"{node} is being mounted by another"):
        now = fresh(node)
        if now.mounted is not None and now.mounted != _mounts() / node.name:
            place = _as_it_is(now, now.mounted, writable)
        else:
            place = _enter(now, users, writable)
        use = runtime.wait_lock(users, seconds=5, shared=True)
    try:
        yield place
    finally:
        with suppress(DiskTrouble):
            with runtime.locked(door, seconds=_PATIENCE, what=f"{node} is busy"):
                if use is not None:
                    runtime.unlock(use)
                if place.root == _mounts() / node.name:
                    _leave(place.root, users)


def _as_it_is(filesystem: Filesystem, root: Path, writable: bool) -> Place:
    """A filesystem that is mounted already."""
    if writable and not os.access(root, os.W_OK):
        raise DiskTrouble(
            f"{filesystem.node} is in use, and can only be read now",
            hint="close what reads it (another window of this program, a root shell) and try again",
        )
    return Place(filesystem, root, writable)


def _enter(filesystem: Filesystem, users: Path, writable: bool) -> Place:
    """Mount it unless somebody else who uses it has done so."""
    root = _mounts() / filesystem.node.name
    if filesystem.mounted is not None:
        _leave(root, users)  # left behind by a program that was killed, when nobody uses it
        filesystem = fresh(filesystem.node)
    if filesystem.mounted is not None:
        return _as_it_is(filesystem, filesystem.mounted, writable)
    if not filesystem.mountable:
        raise DiskTrouble(
            f"{filesystem.node} holds {filesystem.kind or 'nothing known'} and cannot be mounted"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, f"make {root}") from error
    changed = places.make_writable(filesystem) if writable else []
    try:
        users.write_text("\n".join(map(str, changed)))
        places.mount(filesystem, root, writable=writable)
    except BaseException:
        places.make_read_only(changed)
        raise
    return Place(filesystem, root, writable)


def _leave(root: Path, users: Path) -> None:
    """Unmount what nobody uses any more, and give its disk the read-only flag back."""
    last = runtime.try_lock(users)
    if last is None:
        return
    try:
        places.unmount(root)
        changed = users.read_text().split("\n")
        places.make_read_only([Path(line) for line in changed if line])
        users.write_text("")
    except OSError:
        return
    finally:
        runtime.unlock(last)
