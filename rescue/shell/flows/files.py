"""Get files out: of which image or disk, and, once files are chosen, where to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rescue.core.errors import RescueError
from rescue.core.units import format_size, plural
from rescue.jobs.tasks import TaskWish
from rescue.shell.facts import Sight, is_medium, likeliest, place_words
from rescue.shell.flows import parts
from rescue.shell.flows.base import Answer, Answers, Ask, Choice, Ready, one
from rescue.shell.world import World


class FilesFlow:
    """From an image or a disk to its files."""

    title = "Get files out"

    def __init__(self, world: World) -> None:
        self._world = world

    def step(self, answers: Answers) -> Ask | Ready:
        """The next question."""
        word = one(answers, "image")
        if not word:
            return self._ask()
        if self._world.sight().disk(word) is not None:
            return Ready(None, browse=word)
        image = parts.chosen_image(self._world, answers)
        if parts.needs_passphrase(image, answers):
            return parts.ask_passphrase(self._world, image, "The image is encrypted")
        secret = one(answers, "passphrase").encode() if image.sealed else b""
        return Ready(None, browse=word, passphrase=secret)

    def _ask(self) -> Ask:
        sight = self._world.sight()
        images = [
            parts.image_choice(found, sight)
            for found in likeliest(self._world.images(wait=True), sight)
        ]
        disks = [parts.disk_choice(d, sight) for d in sight.disks if not is_medium(d)]
        return Ask(
            "image",
            "Out of what?",
            "one",
            (
                "An image, or a disk of this machine, also of a system that does not start.",
                "Both are only read; nothing on them changes.",
            ),
            choices=(*images, *disks),
            nothing="There is no disk and no image. Plug one in, go back and look again.",
        )


class CopyFlow:
    """From chosen files to a place.

    Args:
        source: an image as a command names it, or a disk.
        paths: ``VOLUME/PATH`` of each.
    """

    title = "Copy files"

    def __init__(
        self, world: World, source: str, paths: Sequence[str], passphrase: bytes = b""
    ) -> None:
        self._world = world
        self._source = source
        self._paths = tuple(paths)
        self._passphrase = passphrase

    def step(self, answers: Answers) -> Ask | Ready:
        """The next question."""
        sight = self._world.sight()
        if not one(answers, "place"):
            return self._ask_place(sight)
        if not one(answers, "folder"):
            return self._ask_folder(sight, one(answers, "place"))
        node = one(answers, "place")
        words = ["copy", self._source, *self._paths, f"{node}:{_folder(one(answers, 'folder'))}"]
        own, colon, _ = self._source.partition(":")
        wish = TaskWish(
            tuple(words),
            f"Copy {plural(len(self._paths), 'entry', 'entries')}",
            places=(Path(own),) if colon and own != node else (),
            writable=(Path(node),),
            passphrase=self._passphrase,
        )
        return Ready(wish)

    def _ask_place(self, sight: Sight) -> Ask:
        disk = sight.disk(self._source)
        choices = []
        for place in parts.places_to_write(sight):
            text = f"{place_words(place, sight)}, {place.kind}, {format_size(place.size)}"
            refused, more = "", ""
            if disk is not None and place.disk == disk.path:
                refused = "the files come from this disk, which is only read"
            elif str(place.node) == self._source.partition(":")[0]:
                refused = "it is being read now; choose another disk"
            else:
                try:
                    more = f"{format_size(self._world.free(place, writable=False))} free"
                except (RescueError, OSError) as error:
                    refused = f"cannot be used: {error}"
            choices.append(Choice(str(place.node), text, (more,) if more else (), refused))
        choices.sort(key=lambda choice: bool(choice.refused))
        return Ask(
            "place",
            "Copy to which disk?",
            "one",
            (f"{plural(len(self._paths), 'entry', 'entries')} chosen.",),
            choices=tuple(choices),
            nothing="There is no other disk with a filesystem. Plug one in and look again.",
        )

    def _ask_folder(self, sight: Sight, node: str) -> Ask:
        place = next((f for f in sight.filesystems if str(f.node) == node), None)

        def check(answer: Answer) -> str:
            path = _folder(str(answer))
            if ".." in path.split("/") or not path or ":" in path or not path.isprintable():
                return "this is no name for a folder"
            return "" if place is not None else f"{node} is not there any more: go back"

        return Ask(
            "folder",
            "Into which folder?",
            "text",
            (
                f"On {place_words(place, sight)}." if place else "",
                "It is made if it is not there. No file in it is written over.",
            ),
            default=f"rescued-{time.strftime('%Y-%m-%d-%H%M')}",
            check=check,
            go="Copy",
        )


def _folder(text: str) -> str:
    return text.strip().strip("/")
