"""Bring a machine back: image, what of it, target, and the identity typed by hand."""

from __future__ import annotations

from dataclasses import replace

from rescue.core.units import format_size
from rescue.devices.model import Disk, Layout
from rescue.jobs import describe
from rescue.jobs.tasks import TaskWish
from rescue.shell import bars, sizes
from rescue.shell.facts import Found, Sight
from rescue.shell.flows import parts
from rescue.shell.flows.base import Answer, Answers, Ask, Choice, Ready, one
from rescue.shell.flows.onto import (
    Onto,
    ask_copy,
    ask_fit,
    ask_into,
    ask_left,
    ask_target,
    named,
    node_of,
)
from rescue.shell.world import World

_LOST_UNKNOWN = "Will be lost: whatever is there. What that is cannot be told: look twice."


class RestoreFlow:
    """From an image to a disk."""

    title = "Restore this machine"

    def __init__(self, world: World) -> None:
        self._world = world

    def step(self, answers: Answers) -> Ask | Ready:
        """The next question."""
        if not one(answers, "image"):
            return parts.ask_image(
                self._world,
                "From which image?",
                intro=("Images of this machine come first. An image is only read.",),
            )
        image = parts.chosen_image(self._world, answers)
        if parts.needs_passphrase(image, answers):
            return parts.ask_passphrase(self._world, image, "The image is encrypted")
        if not image.disk_size:
            return _gone("The image is gone", image.where())
        if not one(answers, "what"):
            return _ask_what(image)
        chosen = parts.numbers(answers)
        if one(answers, "what") == "some" and not chosen:
            return parts.ask_partitions("Which partitions?", "bring back", image.volumes)
        sight = self._world.sight(settled=not one(answers, "target"))
        onto = self._onto(image, chosen, answers, sight)
        if not one(answers, "target"):
            return ask_target(self._world, sight, onto)
        disk = sight.disk(one(answers, "target"))
        if disk is None:
            return _gone("The disk is gone", one(answers, "target"))
        there = self._world.layout(disk)
        if chosen and there and onto.in_place(disk, there) and not one(answers, "into"):
            return ask_into(onto, disk, there, sight.volumes(disk))
        if onto.left(disk) and not one(answers, "leave"):
            return ask_left(onto, disk)
        into = bool(one(answers, "into"))
        first = _first(image, disk, sight, into=into) if into or not chosen else None
        if first is not None and not one(answers, "copy"):
            return ask_copy(first, into=into)
        found = onto.ways(disk) if not chosen else ()
        if len(found) > 1 and not one(answers, "fit"):
            return ask_fit(onto, disk, found)
        fit = one(answers, "fit") or (found[0].fit if found else sizes.NONE)
        way = next((way for way in found if way.fit == fit), sizes.Way(fit))
        wish = _wish(onto, disk, way.fit, answers)
        if not one(answers, "identity"):
            return _ask_identity(onto, disk, there, sight, way, wish)
        secret = one(answers, "passphrase").encode() if image.sealed else b""
        wish = replace(_confirmed(wish, one(answers, "identity").strip()), passphrase=secret)
        return Ready(wish, ("start",), keep=("image", "passphrase", "what", "partitions"))

    def _onto(self, image: Found, chosen: tuple[int, ...], answers: Answers, sight: Sight) -> Onto:
        """What is to come back; the image is asked for limits only where a size differs."""
        differs = bool(chosen) or any(d.size != image.disk_size for d in sight.disks)
        secret = one(answers, "passphrase").encode()
        own = image.layout.sector_size if image.layout else 0
        others = {d.sector_size for d in sight.disks if own and d.kind == "block"} - {own}
        return Onto(
            image,
            chosen,
            self._world.bounds(image, secret) if differs else {},
            {size: self._world.sectors(image, secret, size) for size in sorted(others)},
        )


def _first(image: Found, disk: Disk, sight: Sight, *, into: bool) -> Disk | None:
    """The disk that the image was made of, where it stays in the machine beside what is restored.

    Args:
        into: another partition gets it, so it may be the target itself.
    """
    if not image.disk_serial or image.layout is None or not image.layout.partitions:
        return None
    same = (d for d in sight.disks if d.serial == image.disk_serial)
    return next((d for d in same if into or d.path != disk.path), None)


def _gone(title: str, what: str) -> Ask:
    return Ask(
        "gone",
        title,
        "read",
        (f"{what} is not there any more. Plug its disk in again, go back, and look again.",),
        check=lambda _answer: "go back and choose again",
    )


def _ask_identity(
    onto: Onto, disk: Disk, there: Layout | None, sight: Sight, way: sizes.Way, wish: TaskWish
) -> Ask:
    """Before and after, what will be lost, and the identity typed by hand."""
    image, held = onto.image, sight.volumes(disk)
    into = _number(wish, "--into")
    only = (into,) if into else onto.chosen
    if there and there.partitions:
        names = named(disk, there, held)
        now = bars.of_layout(there, names, size=disk.size, kind="lost", only=only)
    else:
        names, now = (), bars.of_disk(disk, sight.filesystems)
    after = now
    if into and there:
        volume = next(v for v in image.volumes if v.partition == onto.chosen[0])
        placed = [replace(volume, partition=into) if v.partition == into else v for v in names]
        after = bars.of_layout(there, placed, size=disk.size, kind="new", only=only)
    elif onto.chosen and image.layout:
        after = bars.of_layout(image.layout, image.volumes, kind="new", only=only)
    elif way.layout:
        after = bars.of_layout(way.layout, image.volumes, size=disk.size, kind="new")
    nodes = {node_of(disk, number) for number in only}
    lost = [describe.volume_words(v) for v in held if not only or v.node in nodes]
    unreadable = "" if image.outcome in ("", "complete") else image.outcome

    def check(answer: Answer) -> str:
        if disk.matches(str(answer)):
            return ""
        return f'"{answer}" is not the identity of {disk.path}. Type {disk.identity}, or go back'

    other = onto.other(disk)
    smaller = way.fit != sizes.NONE and disk.size < image.disk_size
    return Ask(
        "identity",
        "Before anything is erased",
        "text",
        (
            f"Target: {describe.disk_words(disk)}",
            *(("Changes: " + "; ".join(way.changes),) if way.changes else ()),
            *((sizes.BY_PROGRAM,) if smaller else ()),
            *(f"Note: {note}" for note in (other.notes if other and not into else ())),
            f"This will run: {_confirmed(wish, disk.identity).command()}",
            "",
            f"To go on, type the identity of the disk: {disk.identity}",
        ),
        warnings=(
            f"Will be lost: {'; '.join(lost)}" if lost else _LOST_UNKNOWN,
            *((f"The image is not whole: {unreadable}",) if unreadable else ()),
        ),
        bars=(bars.Bar("now", now), bars.Bar("after", after)),
        check=check,
        go="Erase and restore",
    )


def _confirmed(wish: TaskWish, identity: str) -> TaskWish:
    return replace(wish, words=(*wish.words[:3], "--erase", identity, *wish.words[3:]))


def _number(wish: TaskWish, option: str) -> int:
    """The number behind an option of a command; 0 where it has none."""
    words = wish.words
    return int(words[words.index(option) + 1]) if option in words else 0


def _ask_what(image: Found) -> Ask:
    """Whole disk or single partitions."""
    used = sum(volume.captured for volume in image.volumes)
    choices = [
        Choice(
            "whole",
            "The whole disk, as it was",
            (f"{format_size(image.disk_size)}, {format_size(used)} of it in use; boot code too",),
        )
    ]
    numbered = [volume for volume in image.volumes if volume.partition]
    if numbered:
        more = "onto a disk that still has the same partitions; the others stay as they are"
        choices.append(Choice("some", "Only some partitions", (more,)))
    drawn: tuple[bars.Bar, ...] = ()
    if image.layout:
        drawn = (bars.Bar("the image", bars.of_layout(image.layout, image.volumes)),)
    return Ask(
        "what",
        "What shall come back?",
        "one",
        (f"Image: {image.line()}", image.disk),
        bars=drawn,
        choices=tuple(choices),
    )


def _wish(onto: Onto, disk: Disk, fit: str, answers: Answers) -> TaskWish:
    image = onto.image
    words = ["restore", image.word, str(disk.path)]
    for number in onto.chosen:
        words += ["--partition", str(number)]
    if into := one(answers, "into"):
        words += ["--into", into]
    if fit != sizes.NONE:
        words += ["--fit", fit]
    if onto.left(disk):
        words += ["--leave-out", one(answers, "leave")]
    if one(answers, "copy") == "beside":
        words.append("--new-identity")
    return TaskWish(
        tuple(words),
        f"Restore onto {disk.path}",
        places=(image.node,) if image.node else (),
    )
