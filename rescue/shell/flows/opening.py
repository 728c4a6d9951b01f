"""Encrypted partitions of a disk that is to be captured: open them for the look, or keep all."""

from __future__ import annotations

from collections.abc import Sequence

from rescue.core.units import format_size
from rescue.devices.model import Disk
from rescue.image.manifest import Volume
from rescue.shell.flows.base import Answer, Answers, Ask, Choice, one
from rescue.shell.world import World

_NAMES = {"crypto_LUKS": "LUKS", "BitLocker": "BitLocker"}


def opening_step(world: World, disk: Disk, closed: Sequence[Volume], answers: Answers) -> Ask:
    """Whether the closed partitions are to be opened; then with which passphrase."""
    if one(answers, "open") == "yes":
        return _ask_passphrase(world, disk, closed)
    size = format_size(sum(volume.extent.length for volume in closed))
    return Ask(
        "open",
        "Part of this disk is encrypted",
        "one",
        (
            f"{_sentence(closed)} Nobody can tell from outside which sectors are in use.",
            "With the passphrase it is opened while the disk is looked at, to be read only. The "
            "image holds it encrypted as it is either way.",
        ),
        choices=(
            Choice("yes", "Open it: the image holds only what is in use"),
            Choice("no", "Leave it closed", (f"all {size} are read, and do not get smaller",)),
        ),
    )


def _listed(closed: Sequence[Volume]) -> str:
    """ "partition 3 (LUKS, 80.0 GiB) and partition 4 (BitLocker, 1.0 GiB)"."""
    words = []
    for volume in closed:
        name = f"partition {volume.partition}" if volume.partition else "the disk"
        kind = _NAMES.get(volume.fs, volume.fs)
        words.append(f"{name} ({kind}, {format_size(volume.extent.length)})")
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]


def _sentence(closed: Sequence[Volume]) -> str:
    told = _listed(closed)
    return f"{told[0].upper()}{told[1:]}."


def _ask_passphrase(world: World, disk: Disk, closed: Sequence[Volume]) -> Ask:
    numbers = tuple(volume.partition for volume in closed)

    def check(answer: Answer) -> str:
        if not answer:
            return "type the passphrase, or go back and leave it closed"
        left = world.estimate(disk, str(answer).encode()).closed(numbers)
        if not left:
            return ""
        return f"this passphrase does not open {_listed(left)}; look at Caps Lock, and try again"

    more = "A BitLocker partition is opened by its recovery key, too: 48 digits with their hyphens."
    kinds = {volume.fs for volume in closed}
    return Ask(
        "opening",
        "Passphrase of what is encrypted",
        "secret",
        (
            _sentence(closed),
            "Type its passphrase. It is not shown. This takes some seconds.",
            *([more] if "BitLocker" in kinds else []),
        ),
        check=check,
        go="Open it",
    )
