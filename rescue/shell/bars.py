"""Disks drawn as bars to scale: pure, so that both faces and the tests see the same.

A bar is a row of segments; each has a text that fits into it and a kind that a face may colour.
Without colour the segments are told apart by the bars between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescue.core.units import format_size
from rescue.devices.model import Disk, Layout
from rescue.jobs.places import Filesystem

if TYPE_CHECKING:
    from rescue.image.manifest import Volume

LEVELS = " ▄█"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a disk.

    Attributes:
        kind: "data", "system" (swap, boot code, no files), "free", "lost" or "new".
        texts: what to write into it, the longest first; the first one that fits is taken.
    """

    length: int
    kind: str
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A disk to draw, with its heading."""

    head: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece as it is drawn."""

    text: str
    kind: str


def draw(pieces: Sequence[Piece], width: int) -> list[Segment]:
    """Pieces as segments that fill ``width`` letters exactly; each has at least one."""
    kept = [piece for piece in pieces if piece.length > 0][: max(1, width // 2)]
    if not kept:
        return [Segment(" " * width, "free")]
    room = width - (len(kept) - 1)  # a letter between two segments
    return [
        Segment(_fill(piece, letters), piece.kind)
        for piece, letters in zip(kept, _shares([p.length for p in kept], room), strict=True)
    ]


def plain(pieces: Sequence[Piece], width: int) -> str:
    """A bar without colour: ``|EFI| ntfs "Windows" 400.0 GiB |....|``."""
    drawn = draw(pieces, width - 2)
    return "|" + "|".join(s.text if s.kind != "free" else _dots(s.text) for s in drawn) + "|"


def _dots(text: str) -> str:
    inside = f" {text.strip()} " if text.strip() and len(text.strip()) + 2 <= len(text) else ""
    return (inside or text.strip()).center(len(text), ".")


def _shares(lengths: Sequence[int], room: int) -> list[int]:
    """``room`` letters shared out by length, at least one each; the sum is exact."""
    total = sum(lengths)
    shares = [max(1, room * length // total) for length in lengths]
    while sum(shares) > room:
        shares[shares.index(max(shares))] -= 1
    # What rounding left goes to the longest, whose text needs it most.
    shares[lengths.index(max(lengths))] += room - sum(shares)
    return shares


def _fill(piece: Piece, letters: int) -> str:
    for text in piece.texts:
        if len(text) <= letters:
            return text.center(letters)
    last = piece.texts[-1] if piece.texts else ""
    return last[:letters].ljust(letters) if letters > 2 else " " * letters


def texts(name: str, kind: str, size: int) -> tuple[str, ...]:
    """What may be written into a piece, the longest first: filesystem, name and size."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    about = " ".join(filter(None, (kind, f'"{name}"' if name else "")))
    short = format_size(size).replace(".0 ", " ")
    return (f"{about} {short}".strip(), about, name or kind, (name or kind)[:3])


def of_disk(disk: Disk, filesystems: Sequence[Filesystem]) -> tuple[Piece, ...]:
    """A disk as the kernel tells it: what lies on it in order, and the room between and behind.

    Where a partition begins is not always known; then only what is behind the last one is free.
    """
    pieces: list[Piece] = []
    end, taken, gap = 0, 0, disk.size // 200
    for one in _top(disk, filesystems):
        if one.start is not None and one.start - end > gap:
            pieces.append(Piece(one.start - end, "free", ("free", "")))
            taken += one.start - end
        system = one.kind in ("", "swap") and one.node != disk.path
        name = one.label or one.partition_label
        words = texts(name, one.kind, one.size)
        pieces.append(Piece(one.size, "system" if system else "data", words))
        taken += one.size
        end = (one.start or 0) + one.size
    if not pieces:
        # Nothing that is known is not nothing: never "free", which a person would take for empty.
        size = format_size(disk.size).replace(".0 ", " ")
        known = "in use" if disk.uses else "nothing known"
        about = (str(disk.uses[0]),) if disk.uses else ()
        kind = "data" if disk.uses else "system"
        return (Piece(disk.size, kind, (*about, f"{known}, {size}", known, "?")),)
    rest = disk.size - taken
    if rest > gap:
        pieces.append(Piece(rest, "free", (f"free {format_size(rest)}", "free")))
    return tuple(pieces)


def _top(disk: Disk, filesystems: Sequence[Filesystem]) -> Iterable[Filesystem]:
    """The volumes that lie on the disk itself, not inside one another, in the order of the disk."""
    taken = 0
    for one in sorted(filesystems, key=lambda one: one.start or 0):
        if one.disk != disk.path or taken + one.size > disk.size:
            continue
        if one.node != disk.path and not str(one.node).startswith(str(disk.path)):
            continue  # what lies on a partition: a logical volume, an opened container
        taken += one.size
        yield one


def of_layout(
    layout: Layout,
    volumes: Sequence[Volume] = (),
    *,
    size: int = 0,
    kind: str = "data",
    only: Sequence[int] = (),
) -> tuple[Piece, ...]:
    """A disk as its table and an image's manifest tell it, to scale with the gaps.

    Args:
        size: of the disk, when it is larger than the layout.
        kind: of the partitions in ``only`` (or all of them); others are "data".
    """
    by_number = {volume.partition: volume for volume in volumes}
    end, pieces = 0, []
    whole = max(size, layout.size)
    gap = whole // 200
    for partition in layout.partitions:
        if partition.kind == "extended":
            continue
        if partition.start - end > gap:
            pieces.append(Piece(partition.start - end, "free", ("free", "")))
        volume = by_number.get(partition.number)
        name = (volume.label if volume else "") or partition.name
        words = texts(name, volume.fs if volume else "", partition.length)
        mine = kind if not only or partition.number in only else "data"
        pieces.append(Piece(partition.length, mine, words))
        end = max(end, partition.extent.end)
    if not layout.partitions and volumes:
        volume = volumes[0]
        words = texts(volume.label, volume.fs, volume.extent.length)
        pieces.append(Piece(volume.extent.length, kind, words))
        end = volume.extent.end
    if whole - end > gap:
        pieces.append(Piece(whole - end, "free", (f"free {format_size(whole - end)}", "free")))
    return tuple(pieces)


def share_bar(share: float, width: int, *, full: str = "█", empty: str = "░") -> str:
    """A progress bar of ``width`` letters."""
    filled = int(width * min(1.0, max(0.0, share)))
    return full * filled + empty * (width - filled)


def plot(speeds: Sequence[int], width: int, height: int) -> list[str]:
    """A small plot of speeds, the newest at the right; rows from the top, two levels a row."""
    shown = list(speeds)[-width:]
    top = max(shown, default=0)
    if top <= 0:
        return [" " * width for _ in range(height)]
    levels = [max(1, round(2 * height * speed / top)) if speed else 0 for speed in shown]
    rows = []
    for row in range(height, 0, -1):
        below = 2 * (row - 1)
        rows.append("".join(LEVELS[min(2, max(0, level - below))] for level in levels).rjust(width))
    return rows
