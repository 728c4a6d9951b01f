"""Pruning: which images of a folder are kept, by day, week and month. A chain is never broken.

Pure but for reading headers: ``plan`` says what would go, ``carry_out`` removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from rescue.core.errors import ImageError, ImageLocked, RescueError, from_os_error
from rescue.image import chain as chains
from rescue.image.container import Container
from rescue.image.header import BODY_START, MAX_PARTS, Header, parse_header
from rescue.image.keys import Secret, unlock
from rescue.image.manifest import Manifest, parse_manifest
from rescue.image.parts import part_path
from rescue.image.record import Type

_LOCKED = "encrypted"


@dataclass(frozen=True, slots=True)
class Kept:
    """One image of the folder.

    Attributes:
        created: seconds since 1970, by the clock of the machine that made it.
        series: images with the same one are of the same disk.
        problem: why it is left alone (incomplete, damaged); empty for a good one.
        files: its parts, the first one first.
    """

    path: Path
    image_id: bytes
    parent_id: bytes
    created: int
    series: str
    size: int
    problem: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """How many days, weeks and months keep their newest image."""

    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What is kept, with the reason, and what goes."""

    keep: tuple[tuple[Kept, str], ...]
    remove: tuple[Kept, ...]


def look(folder: Path, secrets: Sequence[Secret] = ()) -> list[Kept]:
    """The images of a folder, oldest first.

    Args:
        secrets: what opens encrypted images; of which disk one is that they do not open, nobody
            knows, and its chain counts as a disk of its own.

    Raises:
        DiskTrouble: it cannot be read.
    """
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise from_os_error(error, f"read {folder}") from error
    found = [_look_at(path, header, secrets) for path, header in chains.images_in(folder)]
    by_id = {image.image_id: image for image in found}
    found = [
        replace(one, series=f"{_LOCKED}, from {_line(one, by_id)[-1].image_id.hex()}")
        if one.series == _LOCKED
        else one
        for one in found
    ]
    return sorted(found, key=lambda one: (one.created, one.path.name))


def _look_at(path: Path, header: Header, secrets: Sequence[Secret]) -> Kept:
    series, problem = "", ""
    try:
        container = Container(path)
        try:
            if header.sealed and secrets:
                with suppress(ImageLocked):
                    container.unlock(unlock(header, secrets))
            series = series_of(parse_manifest(container.contents(Type.MANIFEST)[0]))
        except ImageLocked:
            series = _LOCKED
        finally:
            container.close()
    except RescueError as error:
        problem = error.message
    except IndexError:
        problem = "it has no manifest"
    files = tuple(files_of(path, header))
    size = sum(file.stat().st_size for file in files)
    parent = header.parent_id if header.incremental else b""
    return Kept(path, header.image_id, parent, header.created, series, size, problem, files)


def series_of(manifest: Manifest) -> str:
    """What images of one disk have in common.

    A disk without a serial number is known by its path, and another machine has another disk
    there: then the table's and the machine's own numbers count as well.
    """
    disk = manifest.disk
    if known := disk.get("serial") or disk.get("wwn"):
        return str(known)
    numbers = (manifest.layout.get("disk_id"), manifest.machine.get("serial"))
    return f"{disk.get('identity')} {numbers}"


def files_of(path: Path, header: Header) -> Iterator[Path]:
    """The files of an image; one in a part's place that is not that part is not among them."""
    yield path
    for part in range(1, MAX_PARTS if header.capacity else 1):
        file = part_path(path, part)
        if not file.exists():
            return
        with suppress(OSError, ImageError), file.open("rb") as opened:
            found, _ = parse_header(opened.read(BODY_START))
            if (found.image_id, found.part) == (header.image_id, part):
                yield file


def plan(images: Sequence[Kept], policy: Policy) -> PrunePlan:
    """Which images stay; pure.

    Of each series the newest image stays always, and so does every ancestor of one that stays, and
    whatever is not whole: that is for a person to look at.
    """
    reasons: dict[bytes, str] = {}
    ages = _ages(images)
    for series in dict.fromkeys(image.series for image in images):
        good = [i for i in images if i.series == series and not i.problem]
        good.sort(key=lambda one: (*ages[one.image_id], one.path.name), reverse=True)
        good = [replace(one, created=ages[one.image_id][0]) for one in good]
        if good:
            reasons.setdefault(good[0].image_id, "newest")
        _choose(good, policy.daily, _day, "daily", reasons)
        _choose(good, policy.weekly, _week, "weekly", reasons)
        _choose(good, policy.monthly, _month, "monthly", reasons)
    by_id = {image.image_id: image for image in images}
    for image in images:
        if image.problem:
            reasons.setdefault(image.image_id, image.problem)
    for image in images:
        if image.image_id in reasons:
            _keep_ancestors(image, by_id, reasons)
    keep = tuple((i, reasons[i.image_id]) for i in images if i.image_id in reasons)
    remove = tuple(i for i in images if i.image_id not in reasons)
    return PrunePlan(keep, remove)


def _line(image: Kept, by_id: Mapping[bytes, Kept]) -> list[Kept]:
    """An image and its ancestors that are there; a ring, which no writer makes, ends the walk."""
    line = [image]
    visited = {image.image_id}
    while image.parent_id in by_id and image.parent_id not in visited:
        visited.add(image.parent_id)
        image = by_id[image.parent_id]
        line.append(image)
    return line


def _ages(images: Sequence[Kept]) -> dict[bytes, tuple[int, int]]:
    """When each image was made, and its depth in its chain.

    A child is never older than its parent, whatever the clock of the machine said: the battery of
    a machine that needs rescue is often empty.
    """
    by_id = {image.image_id: image for image in images}
    lines = {image.image_id: _line(image, by_id) for image in images}
    return {key: (max(one.created for one in line), len(line)) for key, line in lines.items()}


def _keep_ancestors(image: Kept, by_id: Mapping[bytes, Kept], reasons: dict[bytes, str]) -> None:
    """Whatever an image that stays was made from stays too."""
    line = _line(image, by_id)
    for child, parent in pairwise(line):
        reasons.setdefault(parent.image_id, f"parent of {child.path.name}")


def _choose(
    newest_first: Sequence[Kept],
    count: int,
    period: Callable[[Kept], tuple[int, ...]],
    reason: str,
    reasons: dict[bytes, str],
) -> None:
    """Keep the newest image of each of the last ``count`` periods that have one."""
    seen: set[tuple[int, ...]] = set()
    for image in newest_first:
        if len(seen) == count:
            return
        if period(image) not in seen:
            seen.add(period(image))
            reasons.setdefault(image.image_id, reason)


def _when(image: Kept) -> datetime:
    return datetime.fromtimestamp(image.created, UTC)


def _day(image: Kept) -> tuple[int, ...]:
    return (_when(image).date().toordinal(),)


def _week(image: Kept) -> tuple[int, ...]:
    return tuple(_when(image).isocalendar()[:2])


def _month(image: Kept) -> tuple[int, ...]:
    return (_when(image).year, _when(image).month)


def carry_out(planned: PrunePlan) -> int:
    """Remove what goes, children before their parents; returns the bytes that were freed.

    Raises:
        DiskTrouble: a file cannot be removed.
    """
    freed = 0
    ages = _ages(planned.remove)
    for image in sorted(planned.remove, key=lambda one: ages[one.image_id][1], reverse=True):
        # The last part first: what is left of an image that is half removed is incomplete.
        for path in reversed(image.files or (image.path,)):
            try:
                size = path.stat().st_size
                path.unlink()
            except OSError as error:
                raise from_os_error(error, f"remove {path}") from error
            freed += size
    return freed
