"""Which files were added, changed or removed between two views. Volumes are matched by number."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rescue.view.entries import Entry, walk
from rescue.view.mounting import Mounted
from rescue.view.opened import OpenView

What = Literal["added", "removed", "changed", "attributes"]
_MAX_TOLD = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry that is not the same on both sides.

    Attributes:
        what: "changed": its content, type or link target; "attributes": only mode or owner.
        path: with the volume's number in front.
    """

    what: What
    path: str
    before: Entry | None
    after: Entry | None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        sides = {"before": self.before, "after": self.after}
        known = {side: entry.to_json() for side, entry in sides.items() if entry is not None}
        return {"what": self.what, "path": self.path, **known}


@dataclass(slots=True)
class Trouble:
    """What could not be compared, one line each (the first few), and how many there were."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, line: str) -> None:
        """One more."""
        self.count += 1
        if len(self.lines) < _MAX_TOLD:
            self.lines.append(line)


def compare(
    before: OpenView, after: OpenView, *, content: bool, trouble: Trouble
) -> Iterator[Difference]:
    """Differences in the order of paths; memory does not grow with the number of files.

    Args:
        content: read and hash files that have the same size and time, too.
        trouble: gets what could not be compared.
    """
    ours = {one.volume.number: one for one in before.mounted}
    theirs = {one.volume.number: one for one in after.mounted}
    for number in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(number), theirs.get(number)
        if one is None or other is None:
            side = after if one is None else before
            trouble.add(f"volume {number} is only in {side.opened.name}")
        elif one.root is None or other.root is None:
            if not (one.root is None and other.root is None and one.volume.fs == other.volume.fs):
                reason = one.why if one.root is None else other.why
                trouble.add(f"volume {number} cannot be compared: {reason}")
        else:
            yield from _volumes(one, other, content=content, trouble=trouble)


def _volumes(
    one: Mounted, other: Mounted, *, content: bool, trouble: Trouble
) -> Iterator[Difference]:
    assert one.root is not None
    assert other.root is not None
    number = one.volume.number

    def failed(where: str, error: OSError) -> None:
        trouble.add(f"{number}/{where}: {(error.strerror or str(error)).lower()}")

    def path(entry: Entry) -> str:
        return f"{number}/{entry.path}"

    for before, after in merge(walk(one.root, failed=failed), walk(other.root, failed=failed)):
        if before is None:
            assert after is not None
            yield Difference("added", path(after), None, after)
        elif after is None:
            yield Difference("removed", path(before), before, None)
        else:
            what = judge(before, after)
            if what is None and content and before.type == "file" and before.size:
                try:
                    if digest(one.root / before.path) != digest(other.root / after.path):
                        what = "changed"
                except OSError as error:
                    failed(before.path, error)
            if what is not None:
                yield Difference(what, path(before), before, after)


def merge(
    before: Iterator[Entry], after: Iterator[Entry]
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Pair the entries of two walks by path. Pure.

    A walk gives names sorted within a folder and each folder's content right behind it, which is
    the order of paths compared name by name.
    """
    one, other = next(before, None), next(after, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.path.split("/") < other.path.split("/")):
            yield one, None
            one = next(before, None)
        elif one is None or one.path.split("/") > other.path.split("/"):
            yield None, other
            other = next(after, None)
        else:
            yield one, other
            one, other = next(before, None), next(after, None)


def judge(before: Entry, after: Entry) -> What | None:
    """How two entries of one path differ, without reading them. Pure.

    A folder's time changes with every name in it, which is told by itself.
    """
    if before.type != after.type or before.target != after.target:
        return "changed"
    if before.type == "file" and (before.size, before.time) != (after.size, after.time):
        return "changed"
    same = (stat.S_IMODE(before.mode), before.owner, before.group) == (
        stat.S_IMODE(after.mode),
        after.owner,
        after.group,
    )
    return None if same else "attributes"


def digest(path: Path) -> bytes:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
