"""What a recovery medium carries, put on as many discs as it takes.

An image that one disc holds stays as it is. One that does not is split first, by ``rescue merge``
in a process of its own: the builder knows nothing of what is inside an image.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from builder import discs
from builder.cargo import Cargo
from builder.discs import Part
from builder.iso import data
from builder.iso.tree import MAX_FILE
from rescue.core import process
from rescue.core.errors import DiskTrouble, ProgramFailed, from_os_error
from rescue.core.progress import Reporter
from rescue.core.units import format_size

_MOST_SYSTEM = 8 << 20
"""Menus, lists, boot images: the rest of the system on the first disc."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What goes on the first disc, and on each further one."""

    first: dict[str, Path | bytes]
    further: tuple[tuple[Part, ...], ...] = ()

    @property
    def count(self) -> int:
        """How many discs."""
        return 1 + len(self.further)


def load(
    cargo: Cargo, media_size: int | None, system: int, scratch: Path, reporter: Reporter
) -> Loaded:
    """Divide the cargo among discs.

    Args:
        media_size: bytes of a disc; None: one ISO of any size.
        system: bytes of the system's own large files.
        scratch: a folder for split images.

    Raises:
        UsageError: it cannot be put on discs of that size.
        DiskTrouble: a file cannot be read, or there is no room to split an image.
        ProgramFailed: an image could not be split.
    """
    if media_size is None:
        return Loaded(cargo.content())
    first = discs.room(media_size, system + _MOST_SYSTEM)
    other = discs.room(media_size, 0)
    most = min(other, MAX_FILE)
    if sum(cargo.sizes) > first or max(cargo.sizes, default=0) > MAX_FILE:
        size = discs.part_size(media_size, system + _MOST_SYSTEM, MAX_FILE)
        cargo = replace(
            cargo,
            images=tuple(
                image
                if cargo.is_split(image) and cargo.largest(image) <= most
                else _split(image, size, scratch, reporter)
                for image in cargo.images
            ),
        )
    content = cargo.content()
    parts = [
        Part(path, source, source.stat().st_size)
        for path, source in content.items()
        if isinstance(source, Path) and path in cargo.paths
    ]
    planned = discs.plan(parts, first, other)
    if len(planned) == 1:
        return Loaded(content)
    kept = {part.path for part in planned[0]}
    on_first: dict[str, Path | bytes] = {
        path: source for path, source in content.items() if path in kept or path not in cargo.paths
    }
    return Loaded({**on_first, discs.LIST: discs.listing(planned)}, planned[1:])


def _split(image: Path, size: int, scratch: Path, reporter: Reporter) -> Path:
    out = scratch / image.name
    reporter.start(f"split {image.name} into parts of {format_size(size)}", None)
    command: list[str | Path] = [sys.executable, "-m", "rescue.cli.main", "merge"]
    command += [image.absolute(), out.absolute(), "--part-size", str(size)]
    try:
        process.run(command, cwd=Path(__file__).parent.parent)
    except ProgramFailed as error:
        raise ProgramFailed(
            f"{image} could not be split: {error.message}",
            hint=f"split it by hand: rescue merge {image} parts/{image.name} --part-size {size}",
        ) from error
    reporter.finish()
    return out


def write_further(
    loaded: Loaded, build: str, info: str, epoch: int, output: Path, reporter: Reporter
) -> tuple[Path, ...]:
    """Write the further discs beside ``output``; their files.

    Raises:
        DiskTrouble: one cannot be written.
    """
    made = []
    for number, parts in enumerate(loaded.further, start=2):
        content: dict[str, Path | bytes] = {
            **{part.path: part.source for part in parts},
            discs.SET: discs.mark(build, number, loaded.count),
            ".disk/info": f"{info} disc {number} of {loaded.count}\n".encode(),
        }
        path = discs.name_of(output, number)
        data.write(content, discs.label_of(number), epoch, path, reporter)
        made.append(path)
    return tuple(made)


def check_room(output: Path, loaded: Loaded, free: int) -> None:
    """Refuse before anything is written when the discs do not fit beside each other.

    Raises:
        DiskTrouble: there is not enough room.
    """
    try:
        needed = sum(part.size for parts in loaded.further for part in parts)
        needed += sum(s.stat().st_size for s in loaded.first.values() if isinstance(s, Path))
    except OSError as error:
        raise from_os_error(error, "read the image") from error
    if free < needed:
        raise DiskTrouble(
            f"{output.parent} has {format_size(free)} free and the discs take "
            f"{format_size(needed)}",
            hint="name a place on another filesystem",
        )
