"""Mounting the filesystems of a view, and unmounting a view whatever state it is in."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rescue.core import process
from rescue.core.errors import DiskTrouble, ProgramFailed, RescueError, UsageError
from rescue.view.names import SCRATCH, Seen
from rescue.view.session import KIND
from rescue.view.ways import SAFE, Way, way_to_see, why_not

_ESCAPE = re.compile(r"\\([0-7]{3})")
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Mounted:
    """One volume of a view after the attempt to mount it.

    Attributes:
        root: the folder in which its files are; None when they cannot be seen.
        why: why not, in words; or, when ``root`` is there, what a person should know.
    """

    volume: Seen
    root: Path | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class MountLine:
    """One line of /proc/self/mountinfo."""

    point: str
    type: str
    source: str
    device: str


def parse_mountinfo(text: str) -> list[MountLine]:
    """Mounts in the order in which they were made; lines that make no sense are passed over."""
    found: list[MountLine] = []
    for line in text.splitlines():
        before, _, behind = line.partition(" - ")
        left, right = before.split(" "), behind.split(" ")
        if len(left) >= 6 and len(right) >= 2:
            found.append(MountLine(_plain(left[4]), right[0], _plain(right[1]), left[2]))
    return found


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def mounts() -> list[MountLine]:
    """Every mount this process sees."""
    data = Path("/proc/self/mountinfo").read_bytes()
    return parse_mountinfo(os.fsdecode(data))


def mount_volumes(view: Path, volumes: Sequence[Seen], sector_size: int) -> list[Mounted]:
    """Mount every filesystem of a view that can be; none of them is written to.

    Nothing here raises for a volume that cannot be mounted: its ``why`` says so.
    """
    return [_mount(view, volume, sector_size) for volume in volumes]


def _mount(view: Path, volume: Seen, sector_size: int) -> Mounted:
    way = way_to_see(volume.fs)
    if way is None:
        return Mounted(volume, None, why_not(volume.fs))
    folder = view / volume.folder
    if not way.type:
        return Mounted(volume, folder) if any_entry(folder) else _not_fat(volume, folder)
    try:
        if volume.node and (there := _live(volume.node)) is not None:
            # A second mount of a filesystem in use would see it half written.
            process.run(["mount", "--bind", there, folder])
            process.run(["mount", "-o", f"remount,bind,{SAFE}", folder], check=False)
            return Mounted(volume, folder, f"as it is mounted on {there} now")
        if os.geteuid() != 0:
            return _as_user(view, volume, way, folder)
        return _as_root(view, volume, way, folder, sector_size)
    except RescueError as error:
        return Mounted(volume, None, error.message)


def any_entry(folder: Path) -> bool:
    """Whether a folder can be listed and has an entry."""
    try:
        return next(os.scandir(folder), None) is not None
    except OSError:
        return False


def _not_fat(volume: Seen, folder: Path) -> Mounted:
    try:
        list(os.scandir(folder))
    except OSError as error:
        return Mounted(volume, None, f"it cannot be read: {error.strerror}")
    return Mounted(volume, folder)


def _live(node: str) -> str | None:
    """Where this block device is mounted already."""
    try:
        status = Path(node).stat()
    except OSError:
        return None
    device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    for line in mounts():
        # btrfs shows a made-up device number, but its source names the node.
        if line.device == device or (line.source.startswith("/dev/") and _same(line.source, node)):
            return line.point
    return None


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _as_user(view: Path, volume: Seen, way: Way, folder: Path) -> Mounted:
    """Without root only a FUSE driver helps, where it lets ordinary users in."""
    if not way.program or process.find(way.program) is None:
        return Mounted(volume, None, f"seeing the files of {volume.fs} needs root")
    options = ",".join(filter(None, (SAFE, way.program_options)))
    done = process.run(
        [way.program, "-o", options, view / volume.file, folder], check=False, timeout=60
    )
    if done.status != 0:
        return Mounted(volume, None, f"seeing the files of {volume.fs} needs root")
    return Mounted(volume, folder)


def _as_root(view: Path, volume: Seen, way: Way, folder: Path, sector_size: int) -> Mounted:
    """The kernel's driver where it has one, else a FUSE driver; an overlay as the last resort."""
    attempts: list[tuple[Path, str, str]] = []
    raw, overlay = view / volume.file, view / SCRATCH / volume.file
    replayed = "its journal was replayed into a throw-away overlay"
    quiet = (raw, ",".join(filter(None, (SAFE, way.options, way.quiet))), "")
    replay = (overlay, ",".join(filter(None, (SAFE, way.options))), replayed)
    if way.journal:
        attempts = [replay, quiet] if volume.state == "dirty" else [quiet, replay]
    else:
        attempts = [quiet]
    failures: list[str] = []
    for file, options, words in attempts:
        with suppress_into(failures):
            loop_mount(file, ["mount", "-t", way.type, "-o", options], folder, sector_size)
            if not words and volume.state == "dirty" and way.journal:
                words = "its journal could not be replayed: the newest changes are missing"
            return Mounted(volume, folder, words)
    if way.program and process.find(way.program):
        options = ",".join(filter(None, (SAFE, way.program_options)))
        with suppress_into(failures):
            loop_mount(raw, [way.program, "-o", options], folder, sector_size)
            return Mounted(volume, folder)
    return Mounted(volume, None, failures[-1] if failures else "it cannot be mounted")


class suppress_into:
    """Keep the message of a RescueError in a list, and go on."""

    def __init__(self, messages: list[str]) -> None:
        self._messages = messages

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, RescueError):
            self._messages.append(error.message)
            return True
        return False


def loop_mount(file: Path, command: list[str], folder: Path, sector_size: int) -> None:
    """Mount a file by a loop device that goes away with the mount."""
    losetup: list[str | Path] = ["losetup", "--find", "--show"]
    if file.parent.name != SCRATCH:
        losetup.append("--read-only")
    if sector_size != 512:
        losetup += ["--sector-size", str(sector_size)]
    loop = process.run([*losetup, file]).text.strip()
    try:
        done = process.run([*command, loop, folder], check=False, timeout=120)
        if done.status != 0:
            # mount says why in its first line; what comes behind points to the kernel's log.
            words = done.stderr.decode(errors="replace").strip().splitlines() or ["it cannot be"]
            raise ProgramFailed(words[0].removeprefix(f"{command[0]}: {folder}: ").rstrip("."))
    finally:
        # Detaching a device in use takes effect when its last user is gone.
        process.run(["losetup", "--detach", loop], check=False)


def is_view(line: MountLine) -> bool:
    """Whether a mount is a view of ours."""
    return line.type == f"fuse.{KIND}"


def unmount(folder: Path, *, lazy: bool = False) -> None:
    """Unmount a view and everything mounted in it, also when its process was killed.

    Args:
        lazy: take it out of the tree at once though somebody uses it.

    Raises:
        UsageError: no view is mounted there.
        DiskTrouble: it is in use.
    """
    wanted = _mount_point(folder)
    listed = mounts()
    if not any(line.point == wanted and is_view(line) for line in listed):
        raise UsageError(f"no view is mounted on {folder}", hint="rescue mount made none there")
    # Later mounts lie on earlier ones: undo them in reverse.
    inside = [line for line in reversed(listed) if line.point.startswith(f"{wanted}/")]
    for line in inside:
        _unmount_one(line.point, lazy=lazy)
    _unmount_one(wanted, lazy=lazy)


def _mount_point(folder: Path) -> str:
    """Absolute and without links; a dead view cannot be asked about itself, its parent can."""
    absolute = Path(os.path.normpath(folder.absolute()))
    with suppress(OSError):
        return str(absolute.parent.resolve(strict=True) / absolute.name)
    return str(absolute)


def _unmount_one(point: str, *, lazy: bool) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        done = process.run(_command(point, lazy=lazy), check=False)
        if done.status == 0 or all(line.point != point for line in mounts()):
            return
        words = done.stderr.decode(errors="replace")
        if "busy" in words and time.monotonic() < end:
            time.sleep(0.2)  # whoever looked at it a moment ago may be letting go
            continue
        if "busy" in words:
            raise DiskTrouble(
                f"{point} is in use", hint="close what uses it, or use --lazy to detach it now"
            )
        if not lazy:
            # The view's process is gone: what lies in it cannot be flushed, only taken away.
            lazy = True
            continue
        raise ProgramFailed(f"cannot unmount {point}: {' '.join(words.split())}")


def _command(point: str, *, lazy: bool) -> list[str]:
    if os.geteuid() == 0:
        return ["umount", *(["--lazy"] if lazy else []), "--no-canonicalize", point]
    return ["fusermount3", "-u", *(["-z"] if lazy else []), "--", point]
