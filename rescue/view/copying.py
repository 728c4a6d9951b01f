"""Copying files and folders out of a view, with everything the destination can hold.

Nothing that an image holds can make a copy leave its destination: names are single names, folders
of the destination are entered by descriptor and never through a link, and no file there is written
over.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rescue.core.errors import DiskTrouble, UsageError, from_os_error
from rescue.core.progress import Reporter
from rescue.view.entries import Entry, look, walk

_BLOCK = 1 << 20
_MAX_TOLD = 20
# What a destination may refuse without the copy being worth less as a copy of content.
_CANNOT_HOLD = (
    errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC, errno.E2BIG, errno.ERANGE,
    errno.EACCES, errno.ENODATA, errno.ENOSYS,
)  # fmt: skip


@dataclass(slots=True)
class Copied:
    """What a copy did.

    Attributes:
        counts: of each type of entry.
        bytes: of content.
        unkept: what the destination could not hold, and how often ("owners": 12).
        failed: what could not be copied at all, one line each (the first few).
        failures: how many.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    unkept: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    failures: int = 0

    def fail(self, path: str, error: OSError) -> None:
        """Note an entry that could not be copied."""
        self.failures += 1
        if len(self.failed) < _MAX_TOLD:
            self.failed.append(f"{path}: {(error.strerror or str(error)).lower()}")


def copy(
    root: Path, paths: Sequence[str], destination: Path, reporter: Reporter, result: Copied
) -> None:
    """Copy entries of one volume into the folder ``destination``, each under its own name.

    Args:
        root: the folder of the volume.
        paths: resolved ones (``entries.resolve``); "" copies all that is in the root.
        result: what was done so far; added to.

    Raises:
        DiskTrouble: the destination failed.
    """
    job = _Job(root, reporter, result)
    for path in paths:
        with _open_folder(destination) as fd:
            if path:
                job.one(look(root, path), fd, path.rpartition("/")[2])
                job.below(path, fd, path.rpartition("/")[2])
            else:
                job.below("", fd, "")


def copy_volume(root: Path, destination: Path, reporter: Reporter, result: Copied) -> None:
    """Copy all of a volume into the root of an empty one, which becomes like the volume's own.

    Raises:
        DiskTrouble: the destination failed.
    """
    job = _Job(root, reporter, result)
    with _open_folder(destination) as fd:
        job.below("", fd, "")
        job.keep_top(fd)


@dataclass(slots=True)
class _Job:
    root: Path
    reporter: Reporter
    result: Copied
    # (device, inode) of a file with several names -> where its first copy is, by parent and name.
    seen: dict[tuple[int, int], Path] = field(default_factory=dict)
    base: Path = field(default_factory=Path)

    def below(self, start: str, fd: int, name: str) -> None:
        """Copy what is in a folder; the folders' own times come last, deepest first."""
        top = look(self.root, start)
        if top.type != "folder":
            return
        folders: list[tuple[Entry, str]] = [(top, name)] if name else []
        for entry in walk(self.root, start, failed=self.result.fail):
            inside = entry.path[len(start) :].lstrip("/")
            place = f"{name}/{inside}" if name else inside
            parent, _, last = place.rpartition("/")
            try:
                with _enter(fd, parent) as folder:
                    self.one(entry, folder, last)
            except OSError as error:
                self._judge(entry, error)
                continue
            if entry.type == "folder":
                folders.append((entry, place))
        for entry, place in reversed(folders):
            with suppress(OSError), _enter(fd, place) as folder:
                self._keep(entry, folder, "", folder)

    def keep_top(self, fd: int) -> None:
        """Give an open folder what the volume's root has."""
        self._keep(look(self.root, ""), fd, "", fd)

    def one(self, entry: Entry, folder: int, name: str) -> None:
        """Copy one entry, a folder without what is in it, into an open folder."""
        if name in ("", ".", "..") or "/" in name:
            self.result.fail(entry.path, OSError(errno.EINVAL, "its name climbs out"))
            return
        try:
            self._make(entry, folder, name)
            self.result.counts[entry.type] += 1
        except OSError as error:
            self._judge(entry, error)

    def _judge(self, entry: Entry, error: OSError) -> None:
        """A full or failing destination ends the copy; anything else costs one entry."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise DiskTrouble(
                f"cannot copy {entry.path}: {(error.strerror or '').lower()}",
                hint="make room, or choose another destination",
            ) from error
        self.result.fail(entry.path, error)

    def _make(self, entry: Entry, folder: int, name: str) -> None:
        kind = stat.S_IFMT(entry.mode)
        if kind == stat.S_IFDIR:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
            with _enter(folder, name):
                return
        source = self.root / entry.path
        if kind == stat.S_IFREG:
            if entry.links > 1 and self._link(entry, folder, name):
                return
            self._copy_file(entry, source, folder, name)
        elif kind == stat.S_IFLNK:
            os.symlink(entry.target, name, dir_fd=folder)
            self._keep(entry, folder, name, None)
        elif kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(name, entry.mode, os.lstat(source).st_rdev, dir_fd=folder)
            self._keep(entry, folder, name, None)
        else:
            self.result.unkept["sockets"] += 1

    def _link(self, entry: Entry, folder: int, name: str) -> bool:
        """Make a further name of a file that was copied already."""
        key = (os.lstat(self.root / entry.path).st_dev, entry.inode)
        first = self.seen.get(key)
        if first is not None:
            try:
                os.link(first, name, dst_dir_fd=folder, follow_symlinks=False)
                return True
            except OSError:
                self.result.unkept["hard links"] += 1
        self.seen[key] = Path(f"/proc/self/fd/{folder}").readlink() / name
        return False

    def _copy_file(self, entry: Entry, source: Path, folder: int, name: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        from_fd = os.open(source, flags)
        try:
            create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            to_fd = os.open(name, create, 0o600, dir_fd=folder)
            try:
                self._content(from_fd, to_fd, entry.size)
                self._keep(entry, folder, name, to_fd)
            except BaseException:
                # Half a file must not look like a whole one.
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                raise
            finally:
                os.close(to_fd)
        finally:
            os.close(from_fd)

    def _content(self, from_fd: int, to_fd: int, size: int) -> None:
        """Copy data and leave holes where the source has some."""
        at = 0
        while at < size:
            try:
                at = os.lseek(from_fd, at, os.SEEK_DATA)
                end = os.lseek(from_fd, at, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                end = size
            while at < end:
                data = os.pread(from_fd, min(_BLOCK, end - at), at)
                if not data:
                    raise OSError(errno.EIO, "the file ends before its size")
                view = memoryview(data)
                while view:
                    view = view[os.pwrite(to_fd, view, at + len(data) - len(view)) :]
                at += len(data)
                self.result.bytes += len(data)
                self.reporter.advance(len(data))
        os.ftruncate(to_fd, size)

    def _keep(self, entry: Entry, folder: int, name: str, fd: int | None) -> None:
        """Owner, mode, attributes and times, in the order in which none undoes another.

        Args:
            name: in ``folder``; "" is the folder itself.
            fd: the open copy, for what can be opened.
        """
        place: Path | int = fd if fd is not None else Path(f"/proc/self/fd/{folder}") / name
        follow = fd is not None
        mode = stat.S_IMODE(entry.mode)
        try:
            if fd is not None:
                os.fchown(fd, entry.owner, entry.group)
            else:
                os.chown(name, entry.owner, entry.group, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            self._unkept("owners", error)
            # Set-user-id for whoever copies it would be another thing than it was.
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
        self._attributes(entry, place, follow=follow)
        try:
            if isinstance(place, int):
                os.fchmod(place, mode)
            elif entry.type != "link":
                place.chmod(mode)
        except OSError as error:
            self._unkept("modes", error)
        try:
            times = (entry.time, entry.time)
            if fd is not None:
                os.utime(fd, ns=times)
            else:
                os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            self._unkept("times", error)

    def _attributes(self, entry: Entry, place: Path | int, *, follow: bool) -> None:
        source = self.root / entry.path
        try:
            names = os.listxattr(source, follow_symlinks=False)
        except OSError:
            return
        for attribute in names:
            # ntfs-3g's own views of what mode, owner and times say already.
            if attribute.startswith("system.ntfs"):
                continue
            try:
                value = os.getxattr(source, attribute, follow_symlinks=False)
                os.setxattr(place, attribute, value, follow_symlinks=follow)
            except OSError as error:
                self._unkept("extended attributes", error)

    def _unkept(self, what: str, error: OSError) -> None:
        if error.errno not in _CANNOT_HOLD:
            raise error
        self.result.unkept[what] += 1


@contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise UsageError(f"{path} is not a folder", hint="name a folder to copy into") from error
    except OSError as error:
        raise from_os_error(error, f"open {path}") from error
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _enter(folder: int, path: str) -> Iterator[int]:
    """Open a folder below an open one, name by name, through no link."""
    fd = os.dup(folder)
    try:
        for name in path.split("/") if path else ():
            below = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd
            )
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)
