"""Why a disk must not be overwritten. Nothing here opens anything for writing."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from rescue.core.errors import DiskTrouble, TargetRefused, from_os_error
from rescue.core.units import format_size
from rescue.devices.below import everything_below, overwritten_with
from rescue.devices.discover import device_number, inspect, list_disks
from rescue.devices.model import Disk

_WHOLE = ("disk", "loop", "mpath", "file")
# The rescue media set every disk read-only as it appears, by this rule or by this list; elsewhere
# the flag was set by somebody else, who will have had a reason.
_OUR_MARKS = (
    Path("/etc/udev/rules.d/10-rescue-read-only.rules"),
    Path("/run/rescue/read-only-disks"),
)


def check(
    path: Path | str, *, erase: str | None, needed: int, keep: Sequence[Path] = ()
) -> Disk | None:
    """Make every refusal of ``confirm`` that needs no opening for writing (``--dry-run``).

    Returns:
        The disk; None for a file that does not exist and would be made.

    Raises:
        TargetRefused: it must not be overwritten.
        DiskTrouble: it cannot be looked at.
    """
    named = Path(path)
    if not os.path.lexists(named):
        _check_new(named, erase)
        return None
    check_named(named)
    disk = inspect(named)
    check_place(disk, keep)
    _check_uses(disk)
    if disk.kind == "block" and disk.read_only and not is_ours():
        raise TargetRefused(
            f"{disk.path} is read-only", hint="look for its write-protect switch, or see blockdev"
        )
    if disk.kind == "file" and disk.read_only:
        raise TargetRefused(f"{disk.path} may not be written", hint="run this as root")
    if disk.size < needed:
        raise TargetRefused(
            f"{disk.path} is too small: {format_size(disk.size)} ({disk.size} bytes), "
            f"{needed} bytes are needed",
            hint="choose a larger disk",
        )
    _check_identity(disk, erase)
    return disk


def check_named(path: Path) -> None:
    """Refuse what is there and can be no disk, before anybody looks into it.

    Raises:
        TargetRefused: it is a folder, a link to nothing, an empty file, a device of another kind.
    """
    try:
        status = path.stat()
    except OSError:
        if path.is_symlink() and not path.exists():
            raise TargetRefused(
                f"{path} is a link that leads nowhere",
                hint="name the disk itself; rescue disks shows which there are",
            ) from None
        return  # whoever opens it says why that does not work
    if stat.S_ISDIR(status.st_mode):
        raise TargetRefused(
            f"{path} is a folder, not a disk", hint="name a disk, or a file in that folder"
        )
    if not stat.S_ISBLK(status.st_mode) and not stat.S_ISREG(status.st_mode):
        raise TargetRefused(
            f"{path} is neither a disk nor a plain file",
            hint="rescue disks shows which disks there are",
        )
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise TargetRefused(
            f"{path} is an empty file, which stands for no disk",
            hint="remove it: a file that is not there is made, as large as it has to be",
        )


def check_place(disk: Disk, keep: Sequence[Path]) -> None:
    """Refuse what can never be the target, before anybody asks whether the image fits on it.

    That it holds the image is also more to know than that it is mounted, as it then is.

    Raises:
        TargetRefused: it is no whole disk, or holds what is to be read.
        DiskTrouble: what it holds cannot be found out.
    """
    _check_kind(disk)
    _check_keep(disk, keep)


def _check_new(path: Path, erase: str | None) -> None:
    """A path at which there is nothing."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise DiskTrouble(
            f"cannot make {path}: there is no directory {parent}",
            hint="make that directory first, or check the name",
        )
    if Path("/dev") in (parent.resolve(), *parent.resolve().parents):
        raise DiskTrouble(f"there is no disk {path}", hint="rescue disks shows which there are")
    if erase is not None and Path(erase.strip()).resolve() != path.resolve():
        raise TargetRefused(
            f"{path} does not exist, so it is not the disk {erase.strip()!r}",
            hint="check the path, or leave the identity out to make a new file",
        )


def _check_kind(disk: Disk) -> None:
    """Only whole disks hold a table."""
    if disk.node_type in _WHOLE or disk.node_type.startswith("raid"):
        return
    what = "a partition" if disk.node_type == "part" else f"a {disk.node_type} device"
    raise TargetRefused(f"{disk.path} is {what}, not a whole disk", hint="name the whole disk")


def _check_uses(disk: Disk) -> None:
    """Nothing that is in use."""
    if disk.uses:
        more = f", and {len(disk.uses) - 1} more" if len(disk.uses) > 1 else ""
        what = disk.uses[0].what
        hint = {
            "mounted": "unmount it first",
            "swap": "swapoff it first",
            "boot medium": "this system runs from it",
        }.get(what, "stop what uses it first")
        raise TargetRefused(f"{disk.path} is in use: {disk.uses[0]}{more}", hint=hint)


def _check_keep(disk: Disk, keep: Sequence[Path]) -> None:
    """Nothing that holds the image, and not the source."""
    try:
        doomed = overwritten_with(disk.path)
        for path in keep:
            if doomed & everything_below(path):
                same = path.resolve() == disk.path.resolve()
                raise TargetRefused(
                    f"{disk.path} is what is to be read"
                    if same
                    else f"{disk.path} holds {path}, which is to be read",
                    hint="choose another disk, or move the image to another one",
                )
    except OSError as error:
        raise from_os_error(error, f"find out what {disk.path} holds") from error


def _check_identity(disk: Disk, erase: str | None) -> None:
    """The one that was named, and no other like it."""
    if erase is None:
        raise TargetRefused(
            f"{disk.path} exists and everything on it would be lost",
            hint=f"confirm with --erase {disk.identity}",
        )
    if not disk.matches(erase):
        raise TargetRefused(
            f"the identity of {disk.path} is {disk.identity!r}, not {erase.strip()!r}",
            hint="rescue disks shows the identity of each disk",
        )
    if disk.kind == "file" or disk.node_type == "loop":
        return
    here = device_number(disk.path)
    for other in list_disks():
        if other.matches(erase) and device_number(other.path) != here:
            raise TargetRefused(
                f"{disk.path} and {other.path} both answer to {erase.strip()!r}",
                hint="unplug the other one",
            )


def is_ours() -> bool:
    """Whether the read-only flag of disks was set by the rescue media."""
    return any(mark.exists() for mark in _OUR_MARKS)
