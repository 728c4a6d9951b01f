"""Disks in words: what a person needs to recognise the right one, and what it holds now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rescue.core.units import format_size
from rescue.devices.model import Disk
from rescue.jobs.places import Filesystem

_HEADS = ("DISK", "SIZE", "MODEL", "IDENTITY", "BY", "HOLDS / USED FOR")


def volumes_of(disk: Disk, filesystems: Sequence[Filesystem]) -> list[Filesystem]:
    """The filesystems that lie on this disk."""
    node = disk.path.resolve()
    return [one for one in filesystems if node in (one.disk, one.node)]


def volume_words(filesystem: Filesystem) -> str:
    """``ext4 "root", 30.0 GiB``, or ``no known filesystem, named "data", 30.0 GiB``."""
    label = filesystem.label or filesystem.partition_label
    named = f' "{label}"' if label else ""
    if not filesystem.kind:
        named = f", named{named}" if label else ""
    return f"{filesystem.kind or 'no known filesystem'}{named}, {format_size(filesystem.size)}"


def twin_note(of: Mapping[str, Any], target: Disk, disks: Sequence[Disk]) -> str:
    """A word on the disk that an image was made of, when it is in the machine beside the target.

    Args:
        of: what the manifest says of it.
    """
    known = {str(of.get(key) or "").casefold() for key in ("serial", "wwn")} - {""}
    here = target.path.resolve()
    for disk in disks:
        names = {name.casefold() for name in (disk.serial, disk.wwn) if name}
        if known & names and disk.path.resolve() != here:
            return (
                f"the disk of the image is in this machine too ({disk.path}): two disks of the "
                "same identity are taken for each other. Take one out before the next start, or "
                "say --new-identity"
            )
    return ""


def use_words(disk: Disk) -> list[str]:
    """What uses the disk now, and whether the kernel lets nobody write to it.

    On the rescue media every disk is read-only, and saying so of each would tell nothing.
    """
    words = [str(use) for use in disk.uses if use.what != "read-only"]
    if disk.read_only and not is_live():
        words.append("read-only")
    return words


def disk_words(disk: Disk) -> str:
    """``/dev/sda, 931.5 GiB, Samsung SSD, serial S4EV``: one disk in a sentence."""
    parts = [str(disk.path), format_size(disk.size)]
    if disk.model:
        parts.append(disk.model)
    if disk.serial:
        parts.append(f"serial {disk.serial}")
    elif disk.wwn:
        parts.append(f"WWN {disk.wwn}")
    return ", ".join(parts)


def disk_lines(disks: Sequence[Disk], filesystems: Sequence[Filesystem]) -> list[tuple[str, ...]]:
    """Rows of a table: one for each disk, and more for all that it holds or is used for."""
    rows: list[tuple[str, ...]] = [_HEADS]
    for disk in disks:
        volumes = volumes_of(disk, filesystems)
        facts = [f"{one.node.name}: {volume_words(one)}" for one in volumes]
        facts += use_words(disk)
        if is_half_restored(disk.path):
            facts = ["HALF RESTORED: run the same restore again", *facts]
        facts = facts or ["nothing known"]
        rows.append(
            (
                str(disk.path),
                format_size(disk.size),
                disk.model or "-",
                disk.identity,
                disk.transport or "-",
                facts[0],
            )
        )
        rows.extend(("", "", "", "", "", fact) for fact in facts[1:])
    return rows


def disk_json(disk: Disk, volumes: Sequence[Filesystem] = ()) -> dict[str, Any]:
    """A disk as JSON; sizes in bytes."""
    return {
        "path": str(disk.path),
        "identity": disk.identity,
        "kind": disk.kind,
        "size": disk.size,
        "sector_size": disk.sector_size,
        "model": disk.model,
        "serial": disk.serial,
        "wwn": disk.wwn,
        "transport": disk.transport,
        "removable": disk.removable,
        "read_only": disk.read_only,
        "uses": [
            {"what": use.what, "where": str(use.where), "detail": use.detail} for use in disk.uses
        ],
        "volumes": [
            {
                "path": str(one.node),
                "filesystem": one.kind,
                "label": one.label,
                "partition_label": one.partition_label,
                "uuid": one.uuid,
                "size": one.size,
                "mounted": str(one.mounted) if one.mounted else None,
            }
            for one in volumes
        ],
    }


def holds_now(disk: Disk, filesystems: Sequence[Filesystem]) -> list[str]:
    """What a target holds now and would lose, as lines; never empty.

    A plain file is described by its partition table; a block device by lsblk's probe too.

    Raises:
        DiskTrouble: it cannot be read.
    """
    from rescue.core.errors import RescueError
    from rescue.devices.table import read_layout

    if is_half_restored(disk.path):
        return ["a half restored disk: a restore onto it was interrupted"]
    volumes = volumes_of(disk, filesystems)
    if volumes:
        return [f"{one.node}: {volume_words(one)}" for one in volumes]
    try:
        layout = read_layout(disk)
    except RescueError:
        return ["a partition table that cannot be read"]
    lines = [
        f"partition {one.number}: {format_size(one.length)}"
        + (f' "{one.name}"' if one.name else "")
        for one in layout.partitions
        if one.kind != "extended"
    ]
    return lines or ["no partitions"]


def is_half_restored(path: Path) -> bool:
    """Whether a restore onto this disk was interrupted; False where nobody may look."""
    return half_restored(path) is not None


def half_restored(path: Path) -> str | None:
    """The id of the image of which a half restored disk holds a part, "" where the mark is torn.

    None: no restore onto this disk was interrupted, or nobody may look.
    """
    from rescue.restore import marker

    try:
        with path.open("rb", buffering=0) as file:
            sector = file.read(marker.SIZE)
    except OSError:
        return None
    if not marker.is_marked(sector):
        return None
    try:
        found = marker.parse(sector)
    except (ValueError, KeyError, TypeError):
        return ""
    return found.image if found is not None else ""


def is_own_layer(disk: Disk) -> bool:
    """Whether it is a part of the running rescue media and no disk of the machine."""
    return disk.node_type == "loop" and any(
        use.what == "mounted" and use.detail.startswith(("/run/live/", "/usr/lib/live/"))
        for use in disk.uses
    )


def is_view(
    disk: Disk, sys: Path = Path("/sys/block"), mounts: Path = Path("/proc/mounts")
) -> bool:
    """Whether it is a volume of an image that somebody looks into, and no disk of the machine."""
    if disk.node_type != "loop":
        return False
    try:
        behind = Path((sys / disk.path.name / "loop" / "backing_file").read_text().rstrip("\n"))
        lines = [line.split(" ") for line in mounts.read_text().splitlines()]
    except OSError:
        return False
    # The kernel writes a space in a name as \040.
    views = [line[1].replace("\\040", " ") for line in lines if line[2:3] == ["fuse.rescue"]]
    return any(behind.is_relative_to(view) for view in views)


def is_live(path: Path = Path("/run/live/medium")) -> bool:
    """Whether this system was started from rescue media."""
    return path.is_dir()
