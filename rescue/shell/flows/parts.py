"""Questions that several flows ask: which image, its passphrase, which partitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rescue.core.units import format_size
from rescue.devices.model import Disk
from rescue.image.manifest import Volume
from rescue.jobs import describe
from rescue.jobs.places import Filesystem
from rescue.shell.facts import Found, Sight, is_of_this_machine, likeliest
from rescue.shell.flows.base import Answer, Answers, Ask, Choice, many, one
from rescue.shell.world import World

NOTHING = "nothing known on it: it is empty, or its content is of an unknown kind"
NO_IMAGES = (
    "No image was found. Plug in the disk or stick that holds one, wait a few seconds, go back and "
    "look again. Images are files that end in .rescue."
)


def ask_image(world: World, title: str, *, intro: tuple[str, ...] = ()) -> Ask:
    """Which image; the likeliest first."""
    sight = world.sight()
    choices = [image_choice(found, sight) for found in likeliest(world.images(wait=True), sight)]
    return Ask("image", title, "one", intro, choices=tuple(choices), nothing=NO_IMAGES)


def image_choice(found: Found, sight: Sight) -> Choice:
    """An image to choose from; one that cannot be used says why."""
    mine = "  (of this machine)" if is_of_this_machine(found, sight) else ""
    if found.why:
        return Choice(found.word, found.where(), (), found.why)
    more = [found.where()]
    if found.disk:
        more.append(f"of {found.disk}")
    return Choice(found.word, found.line() + mine, tuple(more))


def chosen_image(world: World, answers: Answers) -> Found:
    """The image that was chosen, opened if a passphrase was given."""
    word = one(answers, "image")
    found = next((f for f in world.images() if f.word == word), None)
    if found is None:
        node, colon, path = word.partition(":")
        found = Found(Path(node), path) if colon and path else Found(None, word)
    passphrase = one(answers, "passphrase")
    if found.locked and passphrase:
        return world.unlock(found, passphrase.encode())
    return found


def ask_passphrase(world: World, found: Found, title: str) -> Ask:
    """What opens an encrypted image; a wrong one is refused here."""

    def check(answer: Answer) -> str:
        if not answer:
            return "the image is encrypted: it cannot be opened without its passphrase"
        opened = world.unlock(found, str(answer).encode())
        if opened.locked:
            return "this passphrase does not open the image; look at Caps Lock, and try again"
        return opened.why

    return Ask(
        "passphrase",
        title,
        "secret",
        (f"{found.where()} is encrypted.", "Type its passphrase. It is not shown."),
        check=check,
    )


def needs_passphrase(found: Found, answers: Answers) -> bool:
    """Whether the passphrase is still to be asked."""
    return found.locked and not one(answers, "passphrase")


def ask_partitions(title: str, verb: str, volumes: Sequence[Volume]) -> Ask:
    """Which partitions, once "only some" was chosen."""
    choices = tuple(Choice(str(v.partition), volume_words(v)) for v in volumes if v.partition)

    def check(answer: Answer) -> str:
        return "" if answer else f"choose at least one partition to {verb}"

    return Ask("partitions", title, "many", choices=choices, check=check)


def volume_words(volume: Volume) -> str:
    """``3  ntfs "Windows"  400.0 GiB, 120.3 GiB used``."""
    return f"{volume.partition}  {about(volume)}, {format_size(volume.captured)} used"


def about(volume: Volume) -> str:
    """``ntfs "Windows"  400.0 GiB``."""
    label = f' "{volume.label}"' if volume.label else ""
    return f"{volume.fs or 'unknown'}{label}  {format_size(volume.extent.length)}"


def numbers(answers: Answers) -> tuple[int, ...]:
    """The partitions that were chosen; empty means all."""
    if one(answers, "what") != "some":
        return ()
    return tuple(sorted(int(value) for value in many(answers, "partitions") if value.isdigit()))


def disk_choice(disk: Disk, sight: Sight, refused: str = "") -> Choice:
    """A disk to choose from, with what is on it."""
    held = [describe.volume_words(one) for one in sight.volumes(disk)]
    if held:
        more = ["; ".join(held[:4]) + (" ..." if len(held) > 4 else "")]
    else:
        # A use that refuses it is told once.
        more = describe.use_words(disk) or [NOTHING] if not refused else []
    return Choice(str(disk.path), describe.disk_words(disk), tuple(more), refused)


def places_to_write(sight: Sight) -> list[Filesystem]:
    """Filesystems that can hold files; those on disks that a person plugged in come first."""
    kinds = {"iso9660", "squashfs", "udf", "erofs"}
    known = {disk.path: disk for disk in sight.disks}
    found = [f for f in sight.filesystems if f.mountable and f.kind not in kinds]
    there = [f for f in found if f.disk in known]

    def inside(one: Filesystem) -> bool:
        disk = known[one.disk]
        return not (disk.removable or disk.transport == "usb")

    return sorted(there, key=inside)
