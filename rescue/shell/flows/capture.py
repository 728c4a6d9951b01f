"""Make an image: of which disk, where to, how; with every warning before anything begins."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from rescue.core.errors import RescueError
from rescue.core.units import format_size
from rescue.devices.model import Disk
from rescue.jobs import describe
from rescue.jobs.tasks import TaskWish
from rescue.shell import bars
from rescue.shell.facts import Found, Sight, is_medium, likeliest, place_words
from rescue.shell.flows import parts
from rescue.shell.flows.base import Answer, Answers, Ask, Choice, Ready, one
from rescue.shell.flows.opening import opening_step
from rescue.shell.words import source_warnings
from rescue.shell.world import World

# Compressed images have been about a third of what was read; half of it is promised.
_SHRINKS = 2
_LEVELS = (
    ("3", "Normal", "quick, and small enough"),
    ("1", "Fast", "for a slow computer; larger"),
    ("12", "Small", "takes several times as long"),
    ("auto", "Automatic", "as small as keeps up with the disks"),
)


class CaptureFlow:
    """From a disk to an image."""

    title = "Make an image"

    def __init__(self, world: World) -> None:
        self._world = world

    def step(self, answers: Answers) -> Ask | Ready:
        """The next question."""
        sight = self._world.sight()
        disk = sight.disk(one(answers, "source"))
        if disk is None:
            return _ask_source(sight)
        opening = one(answers, "opening").encode()
        estimate = self._world.estimate(disk, opening)
        numbered = [volume for volume in estimate.volumes if volume.partition]
        if not one(answers, "what"):
            return self._ask_what(disk, sight)
        chosen = parts.numbers(answers)
        if one(answers, "what") == "some" and not chosen:
            return parts.ask_partitions("Which partitions?", "keep", numbered)
        if (closed := estimate.closed(chosen)) and one(answers, "open") != "no":
            return opening_step(self._world, disk, closed, answers)
        warnings = source_warnings(disk, estimate.volumes, chosen, estimate.failing)
        if warnings and not one(answers, "warned"):
            return Ask(
                "warned",
                "Before it begins",
                "read",
                ("Nothing on the disk will be changed, whatever you choose.",),
                warnings=tuple(warnings),
                go="Make the image all the same",
            )
        if not one(answers, "place"):
            return self._ask_place(disk, sight, estimate.bytes(chosen))
        return self._how(answers, sight, disk, chosen)

    def _how(
        self, answers: Answers, sight: Sight, disk: Disk, chosen: tuple[int, ...]
    ) -> Ask | Ready:
        parents = _parents(self._world, sight, disk, one(answers, "place"))
        if parents and not one(answers, "parent"):
            return _ask_parent(parents)
        parent = next((f for f in parents if f.word == one(answers, "parent")), None)
        if not one(answers, "level"):
            return Ask(
                "level",
                "How small?",
                "one",
                choices=self._levels(),
            )
        if parent is None and not one(answers, "encrypt"):
            return _ask_encrypt()
        sealed = parent is None and one(answers, "encrypt") == "passphrase"
        if sealed and not one(answers, "passphrase"):
            return _ask_new_passphrase()
        if sealed and not one(answers, "passphrase-again"):
            return _ask_again(one(answers, "passphrase"))
        if not one(answers, "parts"):
            return _ask_parts()
        if not one(answers, "name"):
            return self._ask_name(disk, sight, one(answers, "place"))
        wish = _wish(answers, disk, chosen, parent, sealed)
        if self._world.estimate(disk).why:
            wish = replace(wish, words=(*wish.words, "--all-sectors"))
        resume = tuple(word for word in wish.words if word != "--encrypt")
        again = replace(wish, words=(*resume, "--resume"))
        return Ready(wish, ("verify",), again=again)

    def _levels(self) -> tuple[Choice, ...]:
        """What was chosen last time stands first."""
        last = self._world.settings().level
        found = sorted(_LEVELS, key=lambda level: level[0] != last)
        return tuple(
            Choice(value, f"{text}: {more}", ("as last time",) if value == last else ())
            for value, text, more in found
        )

    def _ask_what(self, disk: Disk, sight: Sight) -> Ask:
        estimate = self._world.estimate(disk)
        size = format_size(estimate.bytes())
        choices = [Choice("whole", f"The whole disk: about {size} to read")]
        if any(volume.partition for volume in estimate.volumes):
            choices.append(Choice("some", "Only some partitions"))
        warnings = (
            (f"The disk cannot be made out: {estimate.why}. Every sector will be read.",)
            if estimate.why
            else ()
        )
        drawn = bars.of_disk(disk, sight.filesystems)
        if estimate.layout and estimate.layout.partitions:
            drawn = bars.of_layout(estimate.layout, estimate.volumes)
        return Ask(
            "what",
            "What shall be in the image?",
            "one",
            (describe.disk_words(disk),),
            warnings=warnings,
            bars=(bars.Bar(disk.path.name, drawn),),
            choices=tuple(choices),
        )

    def _ask_place(self, disk: Disk, sight: Sight, used: int) -> Ask:
        likely = max(1 << 20, used // _SHRINKS)
        choices = []
        for place in parts.places_to_write(sight):
            if place.disk == disk.path:
                continue
            text = f"{place_words(place, sight)}, {place.kind}, {format_size(place.size)}"
            try:
                free = self._world.free(place, writable=False)
            except (RescueError, OSError) as error:
                choices.append(Choice(str(place.node), text, (), f"cannot be used: {error}"))
                continue
            if free < likely:
                refused = f"not enough room: {format_size(free)} free"
                choices.append(Choice(str(place.node), text, (), refused))
                continue
            room = "plenty" if free >= used else "enough if it shrinks by half, as most disks do"
            choices.append(Choice(str(place.node), text, (f"{format_size(free)} free: {room}",)))
        last = {str(f.node) for f in sight.filesystems if f.uuid and f.uuid == self._last_place()}
        choices.sort(key=lambda choice: (bool(choice.refused), choice.value not in last))
        return Ask(
            "place",
            "Where shall the image be kept?",
            "one",
            (
                f"{format_size(used)} will be read; the image takes about {format_size(likely)}.",
                "It must be on another disk. It can be a stick or a USB disk.",
            ),
            choices=tuple(choices),
            nothing=(
                "There is no other disk with a filesystem. Plug one in, wait a few seconds, go "
                "back and look again."
            ),
        )

    def _last_place(self) -> str:
        return self._world.settings().place

    def _ask_name(self, disk: Disk, sight: Sight, node: str) -> Ask:
        place = next((f for f in sight.filesystems if str(f.node) == node), None)
        words = disk.identity.rsplit("/")[-1]
        base = "".join(c if c.isalnum() or c in "-_" else "-" for c in words)
        default = f"images/{base}-{time.strftime('%Y-%m-%d')}"
        if place is not None and self._world.exists(place, f"{default}.rescue"):
            default += time.strftime("-%H%M%S")

        def check(answer: Answer) -> str:
            path = _path(str(answer))
            if ".." in path.split("/") or path in (".rescue", "images/.rescue"):
                return "this is no name for an image"
            if not path.isprintable() or ":" in path:
                return "a name has letters, digits, - and _"
            if place is None:
                return f"{node} is not there any more: go back"
            if self._world.exists(place, path):
                return "there is a file of that name, and an image is never written over"
            return ""

        return Ask(
            "name",
            "How shall it be called?",
            "text",
            (f"On {place_words(place, sight)}." if place else "",),
            default=default,
            check=check,
            go="Make the image",
        )


def _path(name: str) -> str:
    kept = name.strip().lstrip("/")
    return kept if kept.endswith(".rescue") else f"{kept}.rescue"


def _ask_source(sight: Sight) -> Ask:
    # Whoever only presses Enter gets the machine's own disk: Linux numbers disks as they come.
    likely = sorted(
        (d for d in sight.disks if not is_medium(d)),
        key=lambda d: (not sight.volumes(d), d.removable or d.transport == "usb"),
    )
    choices = [parts.disk_choice(d, sight) for d in likely]
    choices += [
        parts.disk_choice(d, sight, "this system was started from it")
        for d in sight.disks
        if is_medium(d)
    ]
    return Ask(
        "source",
        "Of which disk?",
        "one",
        ("It is only read; nothing on it changes.",),
        choices=tuple(choices),
        nothing="No disk was found. Look at its cable, then go back and look again.",
    )


def _parents(world: World, sight: Sight, disk: Disk, node: str) -> list[Found]:
    """Earlier images of this disk in the place: a child must find its parent beside it."""
    return [
        found
        for found in likeliest(world.images(), sight)
        if str(found.node) == node
        and found.usable
        and not found.locked
        and found.disk_serial
        and found.disk_serial == disk.serial
        and found.disk_size == disk.size
    ][:5]


def _ask_parent(parents: list[Found]) -> Ask:
    choices = [
        Choice(f.word, f"Only what changed since {f.made}", (f"keep {f.path}, too: it needs it",))
        for f in parents
    ]
    whole = Choice("none", "A full image, which needs no other", ("takes more room and time",))
    return Ask(
        "parent",
        "There is an earlier image of this disk",
        "one",
        ("An image of what changed is small and quick. It needs the earlier one beside it.",),
        choices=(*choices, whole),
    )


def _ask_encrypt() -> Ask:
    return Ask(
        "encrypt",
        "Encrypt it?",
        "one",
        choices=(
            Choice("no", "No: whoever has the image can read it"),
            Choice(
                "passphrase",
                "Yes, with a passphrase",
                ("without it nobody can ever read the image, you neither",),
            ),
        ),
    )


def _ask_new_passphrase() -> Ask:
    def check(answer: Answer) -> str:
        return "" if len(str(answer)) >= 8 else "at least 8 letters, better a sentence"

    return Ask(
        "passphrase",
        "Choose a passphrase",
        "secret",
        (
            "A sentence is easier to remember and harder to guess than a word.",
            "Write it down and keep it away from the image. It is not shown.",
        ),
        check=check,
    )


def _ask_again(first: str) -> Ask:
    def check(answer: Answer) -> str:
        return "" if answer == first else "this is not the same; go back to choose it anew"

    return Ask("passphrase-again", "The same passphrase once more", "secret", check=check)


def _ask_parts() -> Ask:
    return Ask(
        "parts",
        "In one file?",
        "one",
        choices=(
            Choice("one", "Yes", ("on a FAT filesystem it is split by itself",)),
            Choice("4G", "Files of 4 GiB, for disks and services that take no larger ones"),
            Choice("dvd", "Files that fit on DVDs"),
        ),
    )


def _wish(
    answers: Answers, disk: Disk, chosen: tuple[int, ...], parent: Found | None, sealed: bool
) -> TaskWish:
    node = one(answers, "place")
    image = f"{node}:{_path(one(answers, 'name'))}"
    words = ["capture", str(disk.path), image, "--level", one(answers, "level")]
    for number in chosen:
        words += ["--partition", str(number)]
    if parent is not None:
        words += ["--parent", parent.word]
    if one(answers, "parts") not in ("", "one"):
        words += ["--part-size", one(answers, "parts")]
    if sealed:
        words.append("--encrypt")
    if one(answers, "opening"):
        words.append("--unlock")
    return TaskWish(
        tuple(words),
        f"Make an image of {disk.path}",
        writable=(Path(node),),
        passphrase=one(answers, "passphrase").encode() if sealed else b"",
        opening=one(answers, "opening").encode(),
    )
