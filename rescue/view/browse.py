"""Listing, finding and copying in an open view, by paths that begin with a volume."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import UsageError, from_os_error
from rescue.core.progress import Reporter
from rescue.view.copying import Copied, copy
from rescue.view.entries import Entry, look, resolve, walk, words_of
from rescue.view.mounting import Mounted
from rescue.view.names import Seen
from rescue.view.opened import OpenView

_MAX_TOLD = 20


@dataclass(frozen=True, slots=True)
class Listed:
    """Entries of one volume, and what could not be read, one line each."""

    volume: Seen
    entries: list[Entry]
    failed: list[str]


def locate(view: OpenView, path: str) -> tuple[Mounted, str]:
    """The volume and the resolved path in it of ``VOLUME/PATH``.

    Raises:
        UsageError: either is not there, or the path climbs out.
    """
    words = words_of(path)
    if not words:
        raise UsageError(f"{path!r} names no volume", hint="write VOLUME/PATH, for instance 1/etc")
    mounted = view.volume(words[0])
    assert mounted.root is not None
    return mounted, resolve(mounted.root, "/".join(words[1:]))


def listing(view: OpenView, path: str, *, recursive: bool) -> Listed:
    """What a folder holds, or the one entry that is no folder.

    Raises:
        UsageError: it is not there.
    """
    mounted, inside = locate(view, path)
    root = mounted.root
    assert root is not None
    failed: list[str] = []

    def note(where: str, error: OSError) -> None:
        failed.append(f"{where or '/'}: {(error.strerror or str(error)).lower()}")

    entry = look(root, inside) if inside else None
    if entry is not None and entry.type == "link":
        # As ls does with a slash behind it: a link to a folder shows the folder.
        target = resolve(root, inside, follow_last=True)
        if not target or look(root, target).type == "folder":
            inside, entry = target, None
    if entry is not None and entry.type != "folder":
        return Listed(mounted.volume, [entry], failed)
    if recursive:
        found = list(walk(root, inside, failed=note))
    else:
        found = list(walk(root, inside, failed=note, depth=0))
    return Listed(mounted.volume, found, failed)


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry that a search found."""

    volume: Seen
    entry: Entry

    @property
    def path(self) -> str:
        """As ``rescue copy`` takes it."""
        return f"{self.volume.number}/{self.entry.path}"


def search(view: OpenView, pattern: str, *, any_case: bool, failed: list[str]) -> Iterator[Hit]:
    """Entries of all volumes whose name matches a shell pattern; their path, if it has a slash.

    Args:
        failed: gets a line for what could not be read.
    """
    whole = "/" in pattern
    wanted = pattern.lstrip("/")
    wanted = wanted.casefold() if any_case else wanted

    for mounted in view.readable:
        assert mounted.root is not None
        volume = mounted.volume

        def note(where: str, error: OSError, volume: Seen = volume) -> None:
            if len(failed) < _MAX_TOLD:
                reason = (error.strerror or str(error)).lower()
                failed.append(f"{volume.number}/{where}: {reason}")

        for entry in walk(mounted.root, failed=note):
            name = entry.path if whole else entry.name
            if fnmatch.fnmatchcase(name.casefold() if any_case else name, wanted):
                yield Hit(volume, entry)


def copy_out(view: OpenView, paths: Sequence[str], destination: Path, reporter: Reporter) -> Copied:
    """Copy entries into a folder, which is made when it is not there.

    Raises:
        UsageError: a path is not there, climbs out, or two of them have the same name.
        DiskTrouble: the destination failed.
    """
    found = [locate(view, path) for path in paths]
    names = [inside.rpartition("/")[2] for _, inside in found if inside]
    if len(set(names)) != len(names):
        raise UsageError("two of the paths end in the same name", hint="copy them one by one")
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{destination} is not a folder") from error
    except OSError as error:
        raise from_os_error(error, f"make {destination}") from error
    result = Copied()
    reporter.start("copy", None)
    for mounted, inside in found:
        assert mounted.root is not None
        copy(mounted.root, [inside], destination, reporter, result)
    reporter.finish()
    return result
