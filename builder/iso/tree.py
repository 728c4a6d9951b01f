"""What lies on a medium: files by path, each from bytes or from a file of this host.

ISO 9660's own names are short and upper case; Rock Ridge carries the real ones, which is what
Linux and GRUB read. Both are decided here, without any library.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rescue.core.errors import UsageError, from_os_error
from rescue.core.progress import Reporter

MAX_FILE = (1 << 32) - 2048
"""ISO 9660 counts the bytes of one extent in 32 bits."""

MAX_DEPTH = 7
"""Folders below the root; ECMA-119 6.8.2.1 allows eight levels in all."""

_BLOCK = 4 << 20


@dataclass(frozen=True, slots=True)
class File:
    """One file: its path on the medium (no leading slash) and where its bytes are."""

    path: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def sha256(self, reporter: Reporter) -> str:
        """SHA-256 of the content, as hexadecimal digits."""
        hasher = hashlib.sha256()
        if isinstance(self.source, bytes):
            hasher.update(self.source)
            reporter.advance(len(self.source))
            return hasher.hexdigest()
        with self.source.open("rb") as file:
            while block := file.read(_BLOCK):
                hasher.update(block)
                reporter.advance(len(block))
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Tree:
    """All files of a medium, sorted by path."""

    files: tuple[File, ...]

    @classmethod
    def of(cls, content: dict[str, Path | bytes]) -> Tree:
        """Check and sort.

        Raises:
            UsageError: a path or a size that ISO 9660 cannot hold.
            DiskTrouble: a source file cannot be found.
        """
        files = []
        for path, source in sorted(content.items()):
            file = File(path, source)
            parts = path.split("/")
            if not all(parts) or ".." in parts or len(parts) > MAX_DEPTH + 1:
                raise UsageError(f"{path!r} cannot be a path on the medium")
            try:
                size = file.size
            except OSError as error:
                raise from_os_error(error, f"read {source!r}") from error
            if size > MAX_FILE:
                raise UsageError(f"{path} is {size} bytes: too large for a file on a disc")
            files.append(file)
        return cls(tuple(files))

    def with_content(self, path: str, source: bytes) -> Tree:
        """The same tree with other bytes, of the same length, for one file."""
        found = next(file for file in self.files if file.path == path)
        assert found.size == len(source), "the layout would change"
        return Tree(tuple(replace(f, source=source) if f.path == path else f for f in self.files))

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder, parents before children."""
        found = {
            "/".join(parts[:depth])
            for parts in (file.path.split("/") for file in self.files)
            for depth in range(1, len(parts))
        }
        return tuple(sorted(found))


class Names:
    """ISO 9660 level 3 names for real ones: A to Z, 0 to 9 and _, unique in their folder."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {"": ""}
        self._taken: set[str] = set()

    def folder(self, path: str) -> str:
        """The ISO path of a folder; parents first."""
        return self._give(path, directory=True)

    def file(self, path: str) -> str:
        """The ISO path of a file, with its version number."""
        return self._give(path, directory=False)

    def _give(self, path: str, *, directory: bool) -> str:
        if path in self._given:
            return self._given[path]
        parent, _, name = path.rpartition("/")
        stem, _, ending = name.rpartition(".") if not directory else (name, "", "")
        if not stem:
            stem, ending = ending, ""
        stem = re.sub(r"[^A-Z0-9_]", "_", stem.upper())[:20]
        ending = re.sub(r"[^A-Z0-9_]", "_", ending.upper())[:8]
        base = self._given[parent]
        for number in range(1000):
            unique = stem if number == 0 else f"{stem[:17]}{number:03d}"
            iso = f"{base}/{unique}" if directory else f"{base}/{unique}.{ending};1"
            if iso not in self._taken:
                self._taken.add(iso)
                self._given[path] = iso
                return iso
        raise UsageError(f"too many names like {path!r} on the medium")
