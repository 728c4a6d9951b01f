"""A finished ISO, found again: in a file, or in a slot of a stick. Only read.

Everything is checked against the seal; the files are looked up only where something is wanted from
one of them.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

from builder.iso import master, seal
from builder.iso.seal import Read, Seal
from builder.iso.write import SUMS
from rescue.core.errors import ImageDamaged, from_os_error
from rescue.core.progress import Reporter

INFO = ".disk/info"
MAGIC = b"CD001"
_BLOCK = 4 << 20
_MAX_LIST = 1 << 20
"""The list of sums has some dozen lines, and a medium with many images some hundred."""


class Window(io.RawIOBase):
    """A part of an open file or disk as a file of its own, for reading."""

    def __init__(self, read: Read, length: int) -> None:
        super().__init__()
        self._read, self._length, self._at = read, length, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """As of any file."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._read(max(0, min(len(view), self._length - self._at)), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def reader(fd: int, start: int = 0) -> Read:
    """``read(length, offset)`` of an open file, counted from ``start``; short at the end."""

    def read(length: int, offset: int) -> bytes:
        data = os.pread(fd, length, start + offset)
        while data and len(data) < length:
            more = os.pread(fd, length - len(data), start + offset + len(data))
            if not more:
                break
            data += more
        return data

    return read


@dataclass(frozen=True, slots=True)
class Opened:
    """An ISO with a seal.

    Attributes:
        read: its bytes, from the start of the ISO.
        name: for messages.
        whole: the tables around the filesystem are there too, as in a file.
    """

    read: Read
    seal: Seal
    name: str
    whole: bool

    @classmethod
    def of(cls, read: Read, name: str, *, whole: bool) -> Opened | None:
        """The ISO there, or None when there is no sealed one."""
        try:
            # Without this no system takes it for a filesystem, whatever lies behind.
            if read(len(MAGIC), seal.SYSTEM_AREA + 1) != MAGIC:
                return None
            found = seal.parse(read(seal.LENGTH, seal.PLACE))
        except OSError as error:
            raise from_os_error(error, f"read {name}") from error
        return None if found is None else cls(read, found, name, whole)

    @property
    def to_check(self) -> int:
        """Bytes that ``check_seal`` reads."""
        return self.seal.total if self.whole else self.seal.size - seal.SYSTEM_AREA

    def check_seal(self, reporter: Reporter) -> tuple[str, ...]:
        """Compare every byte with the seal; what is wrong, or nothing."""
        wrong = []
        try:
            if seal.system_sum(self.read, self.seal.size, reporter) != self.seal.system:
                wrong.append("the system differs from what was built")
            if self.whole:
                tables = seal.tables_sum(self.read, self.seal.size, self.seal.total, reporter)
                if tables != self.seal.tables:
                    wrong.append("the boot sector or a partition table differs")
        except OSError as error:
            wrong.append(f"cannot be read: {(error.strerror or 'unreadable').lower()}")
        return tuple(wrong)

    def places(self) -> dict[str, tuple[int, int]]:
        """Path to offset and length.

        Raises:
            ImageDamaged: they cannot be read.
        """
        window = io.BufferedReader(Window(self.read, self.seal.size))
        found = master.places(cast(BinaryIO, window))
        for path, (start, length) in found.items():
            if not 0 <= start <= start + length <= self.seal.size:
                raise ImageDamaged(f"{path} lies outside {self.name}")
        return found

    def file(self, path: str) -> bytes:
        """The content of one (small) file.

        Raises:
            ImageDamaged: it is not there.
        """
        place = self.places().get(path)
        if place is None:
            raise ImageDamaged(f"{self.name} holds no {path}")
        return self.read(place[1], place[0])

    def build(self) -> str:
        """The name of the build, from /.disk/info ("Rescue 0.1.0 amd64 2026-11-24 8b79e9…")."""
        return self.file(INFO)[:200].decode(errors="replace").strip()

    def bad_files(self, advance: Callable[[int], None]) -> tuple[str, ...]:
        """Every file that differs from the list of sums on the medium, and why."""
        places = self.places()
        where = places.get(SUMS)
        if where is None or where[1] > _MAX_LIST:
            return (f"{SUMS}: missing",)
        bad = []
        for line in self.read(where[1], where[0]).decode(errors="replace").splitlines():
            digest, _, path = line.partition("  ")
            if path not in places:
                bad.append(f"{path or line!r}: missing")
                continue
            start, length = places[path]
            hasher = hashlib.sha256()
            try:
                for at in range(start, start + length, _BLOCK):
                    block = self.read(min(_BLOCK, start + length - at), at)
                    hasher.update(block)
                    advance(len(block))
            except OSError as error:
                bad.append(f"{path}: {(error.strerror or 'unreadable').lower()}")
                continue
            if hasher.hexdigest() != digest:
                bad.append(f"{path}: differs from what was built")
        return tuple(bad)
