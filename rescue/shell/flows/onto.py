"""Onto which disk, and how: what would be refused, what fits, into which of its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rescue.core.units import format_size
from rescue.devices.model import Disk, Layout, Partition
from rescue.image.manifest import Volume
from rescue.jobs.places import Filesystem
from rescue.restore.bounds import Bounds
from rescue.shell import bars, sizes
from rescue.shell.facts import Found, Sight
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
    """

    image: Found
    chosen: tuple[int, ...]
    bounds: Mapping[int, Bounds]

    def ways(self, disk: Disk) -> tuple[Way, ...]:
        """The ways onto a disk; none where it does not fit."""
        return sizes.ways(self.image, self.bounds, disk.size)

    def in_place(self, disk: Disk, there: Layout | None) -> str:
        """Why the chosen partitions cannot go back to where they were; empty when they can."""
        if disk.size < self.image.disk_size:
            return sizes.refusal(replace(self.image, layout=None), {}, disk.size)
        return partition_refusal(disk, self.image, self.chosen, there)

    def into(self, there: Layout | None) -> tuple[Choice, ...]:
        """Partitions of a disk that the one chosen partition may go into, instead of its own."""
        if len(self.chosen) != 1 or there is None:
            return ()
        volume = next((v for v in self.image.volumes if v.partition == self.chosen[0]), None)
        if volume is None:
            return ()
        return tuple(
            _into_choice(one, volume, self.bounds.get(volume.partition))
            for one in there.partitions
            if one.kind != "extended"
        )


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
            if refused and any(not choice.refused for choice in onto.into(there)):
                refused, more = "", _INTO
        elif not refused:
            found = onto.ways(disk)
            more = sizes.summary(image, found, disk.size)
            refused = "" if found else sizes.refusal(image, onto.bounds, disk.size)
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


def ask_into(onto: Onto, disk: Disk, there: Layout, held: Sequence[Filesystem]) -> Ask:
    """Into which partition of a disk that is divided in another way."""
    volume = next(v for v in onto.image.volumes if v.partition == onto.chosen[0])
    names = named(disk, there, held)
    known = {one.partition: parts.about(one) for one in names}
    choices = [
        replace(choice, text=f"{choice.value}  {known.get(int(choice.value), '')}")
        for choice in onto.into(there)
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
