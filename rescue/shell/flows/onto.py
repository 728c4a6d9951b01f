"""Onto which disk, and how: what would be refused, what fits, into which of its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rescue.core.units import format_size
from rescue.devices.model import Disk, Layout, Partition
from rescue.image.manifest import Volume
from rescue.jobs.places import Filesystem
from rescue.restore.bounds import Bounds
from rescue.shell import bars, sizes
from rescue.shell.facts import Found, Sectors, Sight
from rescue.shell.flows import parts
from rescue.shell.flows.base import Ask, Choice
from rescue.shell.sizes import Way
from rescue.shell.words import partition_refusal, target_refusal
from rescue.shell.world import World

_GOES_ON = "a restore of this very image stopped on it: the same one goes on where it stopped"
_HALF = "half restored from another image: it cannot be used as it is"
_INTO = "not divided like the disk of the image: you choose one of its partitions next"


@dataclass(frozen=True, slots=True)
class Onto:
    """What is to come back, and from where.

    Attributes:
        chosen: partitions of the image; empty means the whole disk.
        bounds: how short and how long each volume of the image may become.
        sectors: what becomes of the image on disks whose sectors are not its own, by their size.
    """

    image: Found
    chosen: tuple[int, ...]
    bounds: Mapping[int, Bounds]
    sectors: Mapping[int, Sectors] = field(default_factory=dict)

    def other(self, disk: Disk) -> Sectors | None:
        """What becomes of the image there; None where its sectors are the image's."""
        return self.sectors.get(disk.sector_size) if disk.kind == "block" else None

    def left(self, disk: Disk) -> tuple[int, ...]:
        """Partitions of a whole disk that cannot be on that one."""
        other = self.other(disk)
        return tuple(sorted(other.left)) if other and not self.chosen else ()

    def ways(self, disk: Disk) -> tuple[Way, ...]:
        """The ways onto a disk; none where it does not fit."""
        other = self.other(disk)
        if other is None:
            return sizes.ways(self.image, self.bounds, disk.size)
        if other.why:
            return ()
        return sizes.ways(self.image, other.bounds, disk.size, disk.sector_size)

    def refusal(self, disk: Disk) -> str:
        """Why there is no way onto a disk."""
        other = self.other(disk)
        if other is None:
            return sizes.refusal(self.image, self.bounds, disk.size)
        return other.why or sizes.refusal(self.image, other.bounds, disk.size, disk.sector_size)

    def in_place(self, disk: Disk, there: Layout | None) -> str:
        """Why the chosen partitions cannot go back to where they were; empty when they can."""
        if disk.size < self.image.disk_size:
            return sizes.refusal(replace(self.image, layout=None), {}, disk.size)
        other = self.other(disk)
        for number in self.chosen if other else ():
            assert other is not None
            if number in other.left:
                return f"{_words_of(disk)}; partition {number}: {other.left[number]}"
            if number in other.changed:
                return f"{_words_of(disk)}, for which partition {number} has to be changed"
        return partition_refusal(disk, self.image, self.chosen, there)

    def sector_words(self, disk: Disk) -> str:
        """What a disk with other sectors means, in a line."""
        left = self.left(disk)
        more = f"; not for partition {', '.join(map(str, left))}" if left else ""
        return f"{_words_of(disk)}, the image's others: it will be made for them{more}"

    def into(self, disk: Disk, there: Layout | None) -> tuple[Choice, ...]:
        """Partitions of a disk that the one chosen partition may go into, instead of its own."""
        other = self.other(disk)
        if len(self.chosen) != 1 or there is None or (other and self.chosen[0] in other.left):
            return ()
        bounds = other.bounds if other else self.bounds
        volume = next((v for v in self.image.volumes if v.partition == self.chosen[0]), None)
        if volume is None:
            return ()
        return tuple(
            _into_choice(one, volume, bounds.get(volume.partition))
            for one in there.partitions
            if one.kind != "extended"
        )


def _words_of(disk: Disk) -> str:
    return f"its sectors have {disk.sector_size} bytes"


def ask_target(world: World, sight: Sight, onto: Onto) -> Ask:
    """Onto which disk; those that the command would refuse say why."""
    image = onto.image
    choices: list[Choice] = []
    half: set[str] = set()
    for disk in sight.disks:
        refused, more = target_refusal(disk, image, sight), ""
        if not refused and onto.chosen:
            there = world.layout(disk)
            refused = onto.in_place(disk, there)
            if refused and any(not choice.refused for choice in onto.into(disk, there)):
                refused, more = "", _INTO
        elif not refused:
            found = onto.ways(disk)
            more = sizes.summary(image, found, disk.size)
            refused = "" if found else onto.refusal(disk)
            if found and onto.other(disk):
                more = "; ".join(filter(None, (more, onto.sector_words(disk))))
        choice = parts.disk_choice(disk, sight, refused)
        if (stopped := world.half_restored(disk)) is not None:
            mine = stopped == image.id and not onto.chosen
            choice = replace(choice, more=(_GOES_ON if mine else _HALF,))
            half |= {str(disk.path)} if mine else set()
        choices.append(replace(choice, more=(*choice.more, more)) if more else choice)
    # The disk that the image was made of is what a person nearly always means; but before it one
    # on which this very restore has begun already.
    same = {
        str(disk.path)
        for disk in sight.disks
        if image.disk_serial and disk.serial == image.disk_serial
    }
    choices.sort(key=lambda c: (bool(c.refused), c.value not in half, c.value not in same))
    what = "Only these partitions change." if onto.chosen else "Everything on it will be lost."
    return Ask(
        "target",
        "Onto which disk?",
        "one",
        (f"Image: {image.line()}", what + " Nothing is written yet."),
        choices=tuple(choices),
        nothing="No disk was found. Look at its cable, then go back and look again.",
    )


def ask_fit(onto: Onto, disk: Disk, found: Sequence[Way]) -> Ask:
    """What becomes of the room that there is more, or where it is saved."""
    image = onto.image
    larger = disk.size > image.disk_size
    said = [
        f"The disk has {format_size(disk.size)}, the image is of a disk of "
        f"{format_size(image.disk_size)}."
    ]
    said.append(
        "Partitions can be made larger, so that their filesystems use the room; or do it later."
        if larger
        else sizes.BY_PROGRAM
    )
    drawn: tuple[bars.Bar, ...] = ()
    if image.layout:
        drawn = (bars.Bar("the image", bars.of_layout(image.layout, image.volumes)),)
    return Ask(
        "fit",
        "This disk is larger: who gets the room?" if larger else "This disk is smaller",
        "one",
        tuple(said),
        bars=drawn,
        choices=tuple(Choice(way.fit, way.title, way.changes) for way in found),
    )


def ask_left(onto: Onto, disk: Disk) -> Ask:
    """Some partitions cannot be on the disk's sectors: without them, or not there at all."""
    other, left = onto.other(disk), onto.left(disk)
    assert other is not None
    volumes = {volume.partition: volume for volume in onto.image.volumes}
    named_ = ", ".join(sizes.volume_name(volumes[number]) for number in left)
    more = "It will be there, and empty. " if len(left) == 1 else "They will be there, and empty. "
    return Ask(
        "leave",
        "Not everything can be on this disk",
        "one",
        (
            f"{disk.path} has sectors of {disk.sector_size} bytes, the disk of the image had "
            "others. What cannot be made for them cannot be brought back there:",
            *(f"{sizes.volume_name(volumes[n])}: {other.left[n]}" for n in left),
        ),
        choices=(
            Choice(
                ",".join(map(str, left)),
                f"Go on without {named_}",
                (more + "Its files stay in the image, where they can be read.",)
                if len(left) == 1
                else (more + "Their files stay in the image, where they can be read.",),
            ),
        ),
    )


def ask_copy(first: Disk, *, into: bool) -> Ask:
    """The disk of the image is in this machine too: two of the same identity must not be.

    Args:
        into: it is one partition that goes into another one.
    """
    here = f"The disk that the image was made of is in this machine: {first.path}. "
    if into:
        title = "In place of the first filesystem, or beside it?"
        said = "A restored filesystem has the same UUID, and systems take two such for each other."
        instead = "In place of the first one: with its UUID", "Do not use the first one any more."
        beside = (
            "Beside the first one: with a UUID of its own",
            "Files in it that name it follow. What is encrypted, LVM and RAID keep theirs.",
        )
    else:
        title = "In place of the first disk, or beside it?"
        said = (
            "A restored disk has the same identifiers, and machines take two such for each other."
        )
        instead = (
            f"In place of {first.path}: exactly as it was",
            "Take one of the two disks out before the machine is started.",
        )
        beside = (
            f"Beside {first.path}: a second system with identifiers of its own",
            "Disk, partitions and filesystems get new ones, and the files that name them follow. "
            "Encrypted volumes, LVM and RAID keep theirs.",
        )
    choices = (
        Choice("instead", instead[0], (instead[1],)),
        Choice("beside", beside[0], (beside[1],)),
    )
    return Ask("copy", title, "one", (here + said,), choices=choices)


def ask_into(onto: Onto, disk: Disk, there: Layout, held: Sequence[Filesystem]) -> Ask:
    """Into which partition of a disk that is divided in another way."""
    volume = next(v for v in onto.image.volumes if v.partition == onto.chosen[0])
    names = named(disk, there, held)
    known = {one.partition: parts.about(one) for one in names}
    choices = [
        replace(choice, text=f"{choice.value}  {known.get(int(choice.value), '')}")
        for choice in onto.into(disk, there)
    ]
    return Ask(
        "into",
        "Into which of its partitions?",
        "one",
        (
            f"What is in it now will be lost: {sizes.volume_name(volume)} of the image takes its "
            "place. Everything else on the disk stays.",
        ),
        bars=(bars.Bar("now", bars.of_layout(there, names)),),
        choices=tuple(choices),
    )


def _into_choice(one: Partition, volume: Volume, bounds: Bounds | None) -> Choice:
    length, own = one.length, volume.extent.length
    low, high = (bounds.low, bounds.high) if bounds else (own, own)
    value = str(one.number)
    if length < low:
        why = f": {bounds.why}" if bounds and bounds.why else ""
        said = f"too small: {format_size(length)}, {format_size(low)} are needed{why}"
        return Choice(value, value, (), said)
    more: tuple[str, ...] = ()
    if length < own:
        more = ("smaller: the filesystem will be made smaller, files stay",)
    elif length > own:
        grows = length <= high and bounds is not None and bounds.grow != "none"
        more = (
            "larger: the filesystem will be made larger to fill it"
            if grows
            else "larger: the filesystem keeps its size, the rest of the partition stays unused",
        )
    return Choice(value, value, more)


def node_of(disk: Disk, number: int) -> Path:
    """The kernel's name for a partition: sda1, nvme0n1p1."""
    between = "p" if disk.path.name[-1:].isdigit() else ""
    return disk.path.with_name(f"{disk.path.name}{between}{number}")


def named(disk: Disk, there: Layout, held: Sequence[Filesystem]) -> tuple[Volume, ...]:
    """What a disk's table says, with the filesystems and labels that the kernel knows."""
    by_node = {one.node: one for one in held}
    found = []
    for partition in there.partitions:
        one = by_node.get(node_of(disk, partition.number))
        label = (one.label or one.partition_label) if one else partition.name
        kind = one.kind if one else ""
        found.append(
            Volume(partition.number, partition.extent, kind, label, "", "none", 0, "unknown")
        )
    return tuple(found)
