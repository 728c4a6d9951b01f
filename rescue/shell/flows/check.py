"""Check an image: which, and how thoroughly; each way says what it proves and how long it takes."""

from __future__ import annotations

from rescue.core.units import format_duration, format_size, plural
from rescue.jobs.tasks import TaskWish
from rescue.shell.facts import Found
from rescue.shell.flows import parts
from rescue.shell.flows.base import Answers, Ask, Choice, Ready, one
from rescue.shell.world import World

# Bytes a second that a slow disk reads and a slow processor decodes; estimates err upwards.
_READ = 100 << 20
_DECODE = 150 << 20
_WORDS = {"whole": ("--filesystems",), "deep": ("--deep",)}


class CheckFlow:
    """From an image to its verdict."""

    title = "Check an image"

    def __init__(self, world: World) -> None:
        self._world = world

    def step(self, answers: Answers) -> Ask | Ready:
        """The next question."""
        if not one(answers, "image"):
            return parts.ask_image(self._world, "Which image?")
        image = parts.chosen_image(self._world, answers)
        if not one(answers, "level"):
            return _ask_level(image)
        more = _WORDS.get(one(answers, "level"), ())
        deep = bool(more)
        if deep and parts.needs_passphrase(image, answers):
            return parts.ask_passphrase(self._world, image, "The image is encrypted")
        words = ["verify", *more, image.word]
        wish = TaskWish(
            tuple(words),
            f"Check {image.path}",
            places=(image.node,) if image.node else (),
            passphrase=one(answers, "passphrase").encode() if deep and image.sealed else b"",
        )
        return Ready(wish, again=wish)


def _ask_level(image: Found) -> Ask:
    used = sum(volume.captured for volume in image.volumes)
    quick = image.stored / _READ if image.stored else 0
    deep = max(quick, used / _DECODE) if used else 0
    return Ask(
        "level",
        "How thoroughly?",
        "one",
        (
            f"Image: {image.line() or image.where()}",
            *((f"{format_size(image.stored)} are stored.",) if image.stored else ()),
        ),
        choices=(
            Choice(
                "whole",
                "Deep, and its filesystems" + _takes(deep),
                (
                    "As the next one; then each filesystem in it is checked by its own program.",
                    "Proves, too, that the disk was in order when the image was made.",
                ),
            ),
            Choice(
                "deep",
                "Deep" + _takes(deep),
                (
                    "Every piece is unpacked and compared with what was read from the disk.",
                    "Proves that all of it can be brought back."
                    + (" Its passphrase is needed." if image.sealed else ""),
                ),
            ),
            Choice(
                "stored",
                "Quick" + _takes(quick),
                (
                    "The stored bytes are compared with their hashes.",
                    "Proves that nothing has changed since the image was made.",
                ),
            ),
        ),
    )


def _takes(seconds: float) -> str:
    """A guess is told in whole minutes: nobody believes its seconds."""
    if not seconds:
        return ""
    if seconds < 45:
        return ": less than a minute"
    minutes = max(1, round(seconds / 60))
    return f": about {plural(minutes, 'minute') if minutes < 90 else format_duration(seconds)}"
