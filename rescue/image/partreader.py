"""The files of an image, read as one stream of bytes; discs are asked for one after the other.

Where all parts lie in one place they are all open. Where they do not and a person can be asked
(``ask``), one part is open at a time, so that a disc can be taken out, and the next one is asked
for when it is needed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rescue.core.errors import (
    DiskTrouble,
    ImageDamaged,
    ImageError,
    ImageIncomplete,
    UsageError,
    from_os_error,
)
from rescue.image.footer import FOOTER_SIZE, parse_footer
from rescue.image.header import BODY_START, MAX_PARTS, Header, parse_header
from rescue.image.parts import part_path

_TAIL = 8 << 20
"""Bytes of the last disc that are read when it is in: index, manifest, the end of the disk."""
_KEPT, _KEPT_READS = 64 << 20, 4096
"""Bytes, and reads, from discs that are kept."""


class Wanted(str):
    """What is asked for, in words.

    Attributes:
        part: for a program that knows the discs: the part, from 0; None: the last one.
    """

    part: int | None

    def __new__(cls, words: str, part: int | None) -> Self:
        """The words, and the part they mean."""
        self = super().__new__(cls, words)
        self.part = part
        return self


# Asks the person to put a disc in; returns when they say they did, raises when they give up.
Ask = Callable[[Wanted], None]


class PartReader:
    """Reads the stream of an image by position. Safe for several threads.

    Attributes:
        header: of part 0.
        length: bytes of the stream.
        copies: for each part that was opened, how many of its two header copies are whole.
        paths: the files, in order.
        one_by_one: whether the parts lie on several discs, of which one is there at a time.
    """

    def __init__(self, first: Path, ask: Ask | None = None, *, gaps: bool = False) -> None:
        """Open the image whose first file is ``first``.

        Args:
            gaps: for a salvage: parts that are missing or are not that part read as zeros.

        Raises:
            DiskTrouble: a file cannot be read.
            UsageError: it is not the first part.
            ImageDamaged, ImageUnsupported, ImageIncomplete: the parts do not make an image.
        """
        self.first = first
        self.copies: list[int] = []
        self.paths: list[Path] = []
        self.one_by_one = False
        self._ask = ask
        self._gaps = gaps
        self._fds: dict[int, int] = {}
        self._kept: dict[tuple[int, int], bytes] = {}
        self._kept_size = 0
        self._tail = b""
        self._lock = threading.Lock()
        try:
            self.header, length = self._open(0, None)
            if self.header.part != 0:
                raise UsageError(
                    f"{first} is part {self.header.part + 1} of an image",
                    hint="name the first part; the others are found beside it",
                )
            self.length = self._open_all() if gaps else self._open_others(length)
        except BaseException:
            self.close()
            raise

    def _open(self, part: int, header: Header | None) -> tuple[Header, int]:
        """Open a part and make sure that it is that part of this image."""
        path = part_path(self.first, part)
        try:
            # O_NONBLOCK: a FIFO in the place of an image must not stop us for ever.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            self._fds[part] = fd
            block = os.pread(fd, BODY_START, 0)
            size = os.lseek(fd, 0, os.SEEK_END)
        except OSError as error:
            raise from_os_error(error, f"open {path}") from error
        try:
            found, copies = parse_header(block)
        except ImageDamaged as error:
            raise ImageDamaged(f"{path}: {error.message}", hint=error.hint) from error
        if size < BODY_START:
            raise ImageDamaged(
                f"{path} is cut short inside its header",
                hint="copy it once more from where it was made; nothing can be had from this one",
            )
        if header is not None:
            if (found.image_id, found.capacity) != (header.image_id, header.capacity):
                raise ImageDamaged(
                    f"{path} belongs to another image",
                    hint="put the part of that name that was made with the first one in its place",
                )
            if found.part != part:
                raise ImageDamaged(
                    f"{path} is part {found.part + 1}, not part {part + 1}",
                    hint="give the parts the names that they were made with",
                )
            if size - BODY_START > header.capacity:
                raise ImageDamaged(f"{path} is longer than a part of this image")
        if path not in self.paths:
            self.paths.append(path)
            self.copies.append(copies)
        return found, size - BODY_START

    def _open_others(self, length: int) -> int:
        """Open what lies beside the first part; the length of the stream."""
        capacity = self.header.capacity
        if not capacity:
            return length
        if length > capacity:
            raise ImageDamaged(f"{self.first} is longer than a part of this image")
        part = 0
        while length == capacity and self._has_begun(part + 1):
            part += 1
            _, length = self._open(part, self.header)
        end = part * capacity + length
        if self._has_footer(part, length) and self._has_begun(part + 1):
            raise ImageDamaged(
                f"{part_path(self.first, part + 1)} is not of this image, which ends before it"
            )
        if length < capacity or self._has_footer(part, length):
            later = [n for n in range(part + 2, part + 12) if part_path(self.first, n).exists()]
        else:
            later = [n for n in range(part + 2, MAX_PARTS) if part_path(self.first, n).exists()]
        if not later and self._has_footer(part, length):
            return end
        if self._ask is not None and length == capacity:
            return self._find_last()
        if later:
            missing = part_path(self.first, later[0] - 1)
            raise ImageIncomplete(f"{missing} is missing", hint="put all parts in one place")
        return end

    def _open_all(self) -> int:
        """Open every part that is there; the length of the stream up to the end of the last."""
        capacity = self.header.capacity
        end = os.fstat(self._fds[0]).st_size - BODY_START
        for part in range(1, MAX_PARTS if capacity else 1):
            if not part_path(self.first, part).exists():
                continue
            try:
                _, length = self._open(part, self.header)
            except ImageError:
                os.close(self._fds.pop(part))
                continue
            end = part * capacity + length
        return end

    def _has_begun(self, part: int) -> bool:
        """Whether a part is there; one that got no header before its capture died is not."""
        path = part_path(self.first, part)
        if not path.exists():
            return False
        try:
            with path.open("rb") as file:
                block = file.read(BODY_START)
        except OSError as error:
            raise from_os_error(error, f"open {path}") from error
        return len(block) == BODY_START and any(block)

    def _has_footer(self, part: int, length: int) -> bool:
        """Whether the stream ends with this part."""
        fd = self._fds[part]
        block = os.pread(fd, FOOTER_SIZE, BODY_START + max(0, length - FOOTER_SIZE))
        try:
            return parse_footer(block) is not None
        except ImageDamaged:
            return True

    def _find_last(self) -> int:
        """Ask for the disc with the last part until it is there; the length of the stream."""
        assert self._ask is not None
        self.one_by_one = True
        prefix = f"{self.first.name}."
        while True:
            self._close_all()
            words = f"put in the disc with the last part of {self.first.name}"
            self._ask(Wanted(words, None))
            numbers = [
                int(path.name.removeprefix(prefix)) - 1
                for path in self.first.parent.iterdir()
                if path.name.startswith(prefix)
                and path.name.removeprefix(prefix).isdecimal()
                and len(path.name.removeprefix(prefix)) in (3, 4)
            ]
            for part in sorted(numbers, reverse=True):
                if not 0 < part < MAX_PARTS:
                    continue
                try:
                    _, length = self._open(part, self.header)
                except (ImageDamaged, DiskTrouble):
                    continue
                if length < self.header.capacity or self._has_footer(part, length):
                    start = max(0, length - _TAIL)
                    self._tail = self._read(part, start, length - start)
                    return part * self.header.capacity + length

    def _descriptor(self, part: int) -> int:
        """The open file of a part; in one-by-one mode the person may be asked for its disc."""
        fd = self._fds.get(part)
        if fd is not None:
            return fd
        if not self.one_by_one or self._ask is None:
            raise ImageDamaged("the image ends before what it lists")
        self._close_all()
        while True:
            if part_path(self.first, part).exists():
                try:
                    self._open(part, self.header)
                    return self._fds[part]
                except (ImageDamaged, DiskTrouble):
                    self._close_all()
            self._ask(Wanted(f"put in the disc with {part_path(self.first, part).name}", part))

    def pread(self, position: int, count: int) -> bytes:
        """``count`` bytes of the stream.

        Raises:
            ImageDamaged: the stream ends before them.
            DiskTrouble: they cannot be read.
        """
        if self.one_by_one:
            # One disc at a time: nobody may close the file that another thread reads.
            with self._lock:
                return self._pread_once(position, count)
        return self._pread(position, count)

    def _pread_once(self, position: int, count: int) -> bytes:
        """As ``_pread``, but what a plan looks at is kept, so that no disc is asked for twice.

        A restore looks at both ends of the disk first, and comes back to them at its end.
        """
        behind = position - (self.length - len(self._tail))
        if behind >= 0 and position + count <= self.length:
            return self._tail[behind : behind + count]
        kept = self._kept.get((position, count))
        if kept is None:
            kept = self._pread(position, count)
            if self._kept_size + count <= _KEPT and len(self._kept) < _KEPT_READS:
                self._kept[position, count] = kept
                self._kept_size += count
        return kept

    def _pread(self, position: int, count: int) -> bytes:
        capacity = self.header.capacity
        pieces: list[bytes] = []
        left = min(count, max(0, self.length - position))
        if left < count:
            raise ImageDamaged("the image ends before what it lists")
        while left:
            part, within = divmod(position, capacity) if capacity else (0, position)
            want = min(left, capacity - within) if capacity else left
            if self._gaps and part not in self._fds:
                piece = bytes(want)
            else:
                piece = self._read(part, within, want)
            if not piece and self._gaps:
                piece = bytes(want)  # a part in the middle that was cut short
            if not piece:
                raise ImageDamaged("the image ends before what it lists")
            pieces.append(piece)
            position += len(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read(self, part: int, within: int, want: int) -> bytes:
        """Bytes of the body of a part."""
        fd = self._descriptor(part)
        try:
            return os.pread(fd, want, BODY_START + within)
        except OSError as error:
            raise from_os_error(error, f"read {part_path(self.first, part)}") from error

    def _close_all(self) -> None:
        fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.close(fd)

    def close(self) -> None:
        """Close every part."""
        self._close_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
