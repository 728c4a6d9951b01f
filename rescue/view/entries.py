"""Files and folders of a volume: finding one by its path, listing them, and never leaving it.

A path is walked name by name with the file descriptor of the folder before it, and links are
followed as they would be on the machine that was captured: an absolute one starts at the volume's
own root. Whatever would climb out of the volume is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescue.core.errors import DiskTrouble, UsageError

MAX_LINKS = 40
MAX_DEPTH = 512
"""Folders in each other. A damaged filesystem can hold a folder that contains itself."""

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link.

    Attributes:
        path: from the volume's root, without a slash in front; "" is the root itself.
        time: of the last change of content, nanoseconds since 1970.
        target: of a link.
    """

    path: str
    mode: int
    size: int
    time: int
    owner: int
    group: int
    links: int
    inode: int
    target: str = ""

    @property
    def type(self) -> str:
        """ "file", "folder", "link", …"""
        return _TYPES.get(stat.S_IFMT(self.mode), "unknown")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """As plain values; bytes of a name that are not UTF-8 are lone surrogates (PEP 383)."""
        known: dict[str, Any] = {
            "path": self.path,
            "type": self.type,
            "size": self.size,
            "mode": f"{stat.S_IMODE(self.mode):04o}",
            "uid": self.owner,
            "gid": self.group,
            "mtime_ns": self.time,
            "links": self.links,
            "inode": self.inode,
        }
        return {**known, "target": self.target} if self.type == "link" else known


def entry_of(path: str, status: os.stat_result, target: str = "") -> Entry:
    """The entry that ``lstat`` describes."""
    return Entry(
        path,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_uid,
        status.st_gid,
        status.st_nlink,
        status.st_ino,
        target,
    )


def words_of(path: str) -> list[str]:
    """The names in a path that a person typed.

    Raises:
        UsageError: it climbs out.
    """
    words: list[str] = []
    for word in path.split("/"):
        if word in ("", "."):
            continue
        if word == "..":
            if not words:
                raise UsageError(f"{path} climbs out of the image")
            words.pop()
        else:
            words.append(word)
    return words


def resolve(root: Path, path: str, *, follow_last: bool = False) -> str:
    """The path of an entry below ``root`` with every link in it followed inside ``root``.

    Args:
        follow_last: follow the entry itself too when it is a link.

    Raises:
        UsageError: it is not there, it leads out of ``root``, or links lead in circles.
    """
    ahead = list(reversed(words_of(path)))
    done: list[str] = []
    links = 0
    while ahead:
        word = ahead.pop()
        if word == "..":
            if not done:
                raise UsageError(f"{path} leads out of its volume by a link")
            done.pop()
            continue
        there = root.joinpath(*done, word)
        try:
            status = os.lstat(there)
            target = str(there.readlink()) if stat.S_ISLNK(status.st_mode) else ""
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise UsageError(f"there is no {path} in it") from error
            raise DiskTrouble(f"cannot read {path}: {(error.strerror or '').lower()}") from error
        if not target or (not ahead and not follow_last):
            done.append(word)
            continue
        links += 1
        if links > MAX_LINKS:
            raise UsageError(f"too many links in {path}")
        if target.startswith("/"):
            done = []
        ahead += [name for name in reversed(target.split("/")) if name not in ("", ".")]
    return "/".join(done)


Failed = Callable[[str, OSError], None]


def walk(
    root: Path,
    start: str = "",
    *,
    failed: Failed,
    depth: int = MAX_DEPTH,
    device: int | None = None,
) -> Iterator[Entry]:
    """Everything below a folder, each folder before what is in it, in the order of names.

    Links are not followed and what is mounted on a folder of it is not entered.

    Args:
        failed: told of what could not be read; the walk goes on.
        depth: how many folders below it are entered in each other; 0: only what is in ``start``.
        device: of ``root``; found out by itself.
    """
    try:
        fd = os.open(root / start, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        failed(start, error)
        return
    # One open folder at a time and a list of those to come: depth costs no descriptors.
    try:
        own = os.fstat(fd).st_dev if device is None else device
        below = list(_read(fd, start, own, failed))
    finally:
        os.close(fd)
    for entry, enter in below:
        yield entry
        if enter and depth:
            yield from walk(root, entry.path, failed=failed, depth=depth - 1, device=own)
        elif enter and entry.path.count("/") >= MAX_DEPTH:
            failed(entry.path, OSError(errno.ELOOP, "folders lie too deep in each other"))


def _read(fd: int, start: str, device: int, failed: Failed) -> Iterator[tuple[Entry, bool]]:
    """The entries of one open folder, sorted, and whether each is a folder to enter."""
    try:
        names = sorted(os.listdir(fd))
    except OSError as error:
        failed(start, error)
        return
    for name in names:
        path = f"{start}/{name}" if start else name
        try:
            status = os.lstat(name, dir_fd=fd)
            target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
        except OSError as error:
            failed(path, error)
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        # btrfs gives each subvolume a device number of its own; another disk is another number too.
        enter = is_folder and (status.st_dev == device or _is_subvolume(status))
        yield entry_of(path, status, target), enter


def _is_subvolume(status: os.stat_result) -> bool:
    return status.st_ino == 256  # the root of every btrfs subvolume


def look(root: Path, path: str) -> Entry:
    """One entry.

    Raises:
        UsageError: it is not there.
    """
    try:
        status = os.lstat(root / path)
        target = ""
        with suppress(OSError):
            target = str((root / path).readlink()) if stat.S_ISLNK(status.st_mode) else ""
    except OSError as error:
        raise UsageError(f"there is no {path} in it") from error
    return entry_of(path, status, target)
