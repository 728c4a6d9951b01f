"""A set of discs: which part of an image goes on which, where one disc does not hold them all.

The first disc carries the system and the first parts, each further one a plain filesystem with the
next parts. Parts stay in their order, because a restore reads them so and asks for one disc after
the other. The list of the discs lies on the first one; every disc says which set it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import UsageError
from rescue.core.units import MIB, format_size, named_size

LIST = "rescue/discs"
"""On the first disc: a line for each disc, its number and the paths of its parts."""
SET = "rescue/disc"
"""On every disc: the build that names the set, the disc's number, how many there are."""
MAX_DISCS = 99
_LEAST = 8 * MIB

# Bytes: ECMA-267 (DVD-R), DVD-R DL, BD-R; a little less than the least that is sold under the name.
NAMED = {"dvd": 4_700_000_000, "dvd-dl": 8_540_000_000, "bd": 25_020_000_000}

# What the ISO's own descriptors, folders and tables take beside its files.
_SPARE = 4 * MIB


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an image: its path on a disc, where it is now, its length."""

    path: str
    source: Path
    size: int


def parse_media_size(text: str) -> int:
    """Bytes of a disc from ``--media-size``.

    Raises:
        UsageError: not a size, or too small for any system.
    """
    return named_size(text, NAMED, "a disc", _LEAST)


def room(media_size: int, system: int) -> int:
    """Bytes of a disc that are left beside ``system`` bytes of other files.

    Raises:
        UsageError: there are none.
    """
    left = media_size - system - _SPARE
    if left <= 0:
        raise UsageError(
            f"the system takes {format_size(system + _SPARE)} and a disc has "
            f"{format_size(media_size)}",
            hint="name larger discs with --media-size",
        )
    return left


def part_size(media_size: int, system: int, largest: int) -> int:
    """How large parts are made that are to fill discs well: some sixteen on each.

    Args:
        largest: bytes that a file may have.
    """
    per_disc = media_size // 16
    return max(2 * MIB, min(per_disc, room(media_size, system), largest) // MIB * MIB)


def plan(parts: Sequence[Part], first: int, other: int) -> tuple[tuple[Part, ...], ...]:
    """The parts of each disc, in order.

    Args:
        first: bytes for parts on the first disc.
        other: and on each further one.

    Raises:
        UsageError: a part is larger than a disc, or there would be too many discs.
    """
    discs: list[list[Part]] = [[]]
    left = first
    for part in parts:
        # A file fills whole sectors of 2,048 bytes.
        size = -(-part.size // 2048) * 2048
        if size > max(other, left):
            raise UsageError(
                f"{part.source} is {format_size(part.size)} and does not fit a disc",
                hint="split the image: rescue merge IMAGE OUT --part-size SIZE",
            )
        if size > left:
            discs.append([])
            left = other
        discs[-1].append(part)
        left -= size
    if len(discs) > MAX_DISCS:
        raise UsageError(
            f"the image would take {len(discs)} discs", hint="name larger discs with --media-size"
        )
    return tuple(tuple(disc) for disc in discs)


def listing(discs: Sequence[Sequence[Part]]) -> bytes:
    """The content of ``LIST``."""
    lines = (
        f"{number} {' '.join(part.path for part in disc)}".rstrip()
        for number, disc in enumerate(discs, start=1)
    )
    return "".join(f"{line}\n" for line in lines).encode()


def mark(build: str, number: int, count: int) -> bytes:
    """The content of ``SET``."""
    return f"{build} {number} {count}\n".encode()


def name_of(output: Path, number: int) -> Path:
    """The file of a disc: ``pc.iso``, ``pc-2.iso``, ``pc-3.iso``, …"""
    return output if number == 1 else output.with_stem(f"{output.stem}-{number}")


def label_of(number: int) -> str:
    """The volume's name, which a file manager shows."""
    return "RESCUE" if number == 1 else f"RESCUE_{number}"
