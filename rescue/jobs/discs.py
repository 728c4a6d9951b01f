"""A set of discs: the one that holds the next part is asked for, found by itself and mounted.

The first disc lists which part of an image lies on which; every disc says which set it is of. A
person only changes discs: what is in a drive is looked at every second, and the work goes on when
it is the right one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rescue.core import process
from rescue.core.errors import ImageDamaged, RescueError, from_os_error
from rescue.core.progress import Reporter
from rescue.image.partreader import Wanted
from rescue.image.parts import part_path
from rescue.jobs import places
from rescue.jobs.marker import MEDIUM

LIST = "rescue/discs"
SET = "rescue/disc"
_ROOT = places.MOUNT_ROOT / "disc"
_MAX = 1 << 20
"""Bytes of the list: ten thousand parts have shorter names."""
_EVERY = 1.0
_SET = re.compile(r"([0-9a-f]{16}) ([0-9]{1,2}) ([0-9]{1,2})\n?")
_LINE = re.compile(r"([0-9]{1,2})((?: [A-Za-z0-9._/-]{1,200})*)")


@dataclass(frozen=True, slots=True)
class Discs:
    """A set.

    Attributes:
        build: names the set.
        parts: the paths on each disc, the first disc's first.
    """

    build: str
    parts: tuple[tuple[str, ...], ...]

    def number(self, image: str, part: int | None) -> int:
        """The disc, from 1, with a part of an image; None: the last part.

        Raises:
            ImageDamaged: no disc has it.
        """
        names = [[Path(path).name for path in disc] for disc in self.parts]
        if part is not None:
            wanted = part_path(Path(image), part).name
            found = [n for n, disc in enumerate(names, start=1) if wanted in disc]
        else:
            own = re.compile(re.escape(image) + r"(\.[0-9]{3,4})?")
            found = [n for n, disc in enumerate(names, start=1) if any(map(own.fullmatch, disc))]
        if not found:
            what = "the last part of" if part is None else f"part {part + 1} of"
            raise ImageDamaged(f"none of the {len(self.parts)} discs holds {what} {image}")
        return found[-1]


def parse(listing: str, mark: str) -> Discs:
    """The set, from the two files of its first disc.

    Raises:
        ImageDamaged: they make no sense.
    """
    found = _SET.fullmatch(mark)
    lines = [_LINE.fullmatch(line) for line in listing.splitlines()]
    numbers = [int(line[1]) for line in lines if line is not None]
    if found is None or numbers != list(range(1, int(found[3]) + 1)) or len(numbers) != len(lines):
        raise ImageDamaged("the list of the discs on this medium is damaged")
    return Discs(found[1], tuple(tuple(line[2].split()) for line in lines if line is not None))


def load(medium: Path = MEDIUM) -> Discs | None:
    """The set that the boot medium is the first disc of, or None.

    Raises:
        ImageDamaged: its list makes no sense.
        DiskTrouble: it cannot be read.
    """
    if not (medium / LIST).is_file():
        return None
    return parse(_text(medium / LIST), _text(medium / SET))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX).decode("ascii", "replace")
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def drives() -> tuple[Path, ...]:
    """Every node that could hold a disc of a set: drives for discs first, then whole disks.

    Raises:
        ProgramFailed: lsblk is missing or failed.
    """
    # Without --all a drive that is empty now is left out, and nobody would open it ever again.
    command = ["lsblk", "--all", "--json", "--nodeps", "--output", "PATH,TYPE"]
    return parse_drives(process.run(command).text)


def parse_drives(text: str) -> tuple[Path, ...]:
    """The nodes in lsblk's answer; pure."""
    found = [(str(one["path"]), str(one["type"])) for one in json.loads(text)["blockdevices"]]
    order = {"rom": 0, "disk": 1}
    kept = sorted((order[kind], path) for path, kind in found if kind in order)
    return tuple(Path(path) for _, path in kept)


class Drive:
    """The disc that is mounted now; ``ask`` changes it.

    Args:
        image: the name of the image's first file.
        pause: waits between two looks.
    """

    def __init__(
        self,
        several: Discs,
        image: str,
        reporter: Reporter,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.discs = several
        self._image = image
        self._reporter = reporter
        self._pause = pause
        self._node: Path | None = None
        self._seen = ""

    def __enter__(self) -> Self:
        try:
            _ROOT.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, f"make {_ROOT}") from error
        self.ask(Wanted("", 0))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._take_out()

    def file(self, path: str) -> Path:
        """A path of the set, on the disc that is there."""
        return _ROOT / path.lstrip("/")

    def ask(self, wanted: Wanted) -> None:
        """Mount the disc with a part, and wait for it as long as it takes.

        Raises:
            ImageDamaged: no disc of the set has that part.
        """
        number = self.discs.number(self._image, wanted.part)
        before = self._node
        self._take_out()
        if self._find(number):
            return
        if before is not None:
            process.run(["eject", before], check=False)
        count = len(self.discs.parts)
        self._reporter.warn(f"put in disc {number} of {count}; the work goes on by itself")
        told = self._seen
        while not self._find(number):
            if self._seen not in ("", told):
                told = self._seen
                self._reporter.warn(f"{self._words(told)}; disc {number} of {count} is wanted")
            self._pause(_EVERY)
        self._reporter.note(f"disc {number} of {count} is there")

    def _words(self, mark: str) -> str:
        build, _, rest = mark.partition(" ")
        number = rest.partition(" ")[0]
        own = build == self.discs.build and number.isdecimal()
        return f"this is disc {number}" if own else "this is a disc of something else"

    def _take_out(self) -> None:
        if self._node is not None:
            places.unmount(_ROOT)
            self._node = None

    def _find(self, number: int) -> bool:
        """Mount the disc, if it is in any drive."""
        mark = f"{self.discs.build} {number} {len(self.discs.parts)}"
        self._seen = ""
        for node in drives():
            if _holds_iso(node) and _mounted(node):
                found = _text_or_nothing(_ROOT / SET).strip()
                if found == mark:
                    self._node = node
                    return True
                places.unmount(_ROOT)
                self._seen = self._seen or found or "another"
        return False


def _holds_iso(node: Path) -> bool:
    """Whether an ISO 9660 filesystem is there; an empty drive has none."""
    done = process.run(["blkid", "--probe", "-o", "value", "-s", "TYPE", node], check=False)
    return done.text.strip() == "iso9660"


def _mounted(node: Path) -> bool:
    try:
        _ROOT.mkdir(parents=True, exist_ok=True)
        options = "ro,nodev,nosuid,noexec"
        return not process.run(
            ["mount", "-t", "iso9660", "-o", options, node, _ROOT], check=False
        ).status
    except OSError:
        return False


def _text_or_nothing(path: Path) -> str:
    try:
        return _text(path)
    except RescueError:
        return ""
