"""Warnings, refusals and endings in the words of a person who is frightened already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rescue.core.errors import Exit, RescueError
from rescue.devices.model import Disk
from rescue.jobs import describe, held
from rescue.jobs.tasks import Task
from rescue.shell.facts import Found, Sight, is_medium

if TYPE_CHECKING:
    from rescue.image.manifest import Volume


def failed(error: RescueError) -> str:
    """What went wrong and what to do, as sentences."""
    hint = f" What to do: {error.hint}." if error.hint else ""
    return f"That did not work: {error.message}.{hint}"


def safe(text: str) -> str:
    """``text`` with every letter that could move a cursor shown as ``?``; ends of lines stay.

    Names of disks, labels and files come from hardware and filesystems that may be hostile.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


# Names of uses that make a disk no target; "read-only" is what the rescue media set on all.
_TAKEN = ("mounted", "swap", "holder", "loop device", "boot medium")


def target_refusal(disk: Disk, image: Found, sight: Sight) -> str:
    """Why a disk cannot be the target of a restore; empty when it can.

    ``rescue restore`` decides in the end; this says the same beforehand, in time to choose. Of its
    size ``sizes`` speaks, of its sectors ``onto``.
    """
    if is_medium(disk):
        return "this system was started from it"
    if image.node and (on := sight.filesystem(image.node)) and on.disk == disk.path:
        return "the image is on it"
    for use in disk.uses:
        if use.what in _TAKEN:
            return f"in use: {use}"
    same = [d for d in sight.disks if d.path != disk.path and d.identity == disk.identity]
    if same:
        return f"{same[0].path} has the same serial number: unplug one of them"
    return ""


def partition_refusal(disk: Disk, image: Found, chosen: Sequence[int], there: object) -> str:
    """Why single partitions cannot go back to a disk; ``there`` is its layout, or None."""
    from rescue.devices.model import Layout

    layout = there if isinstance(there, Layout) else None
    for volume in image.volumes:
        if volume.partition in chosen:
            found = layout.partition(volume.partition) if layout else None
            if found is None or found.extent != volume.extent:
                return f"it has no partition {volume.partition} at the place it has in the image"
    return ""


def source_warnings(
    disk: Disk, volumes: Sequence[Volume], chosen: Sequence[int], failing: str = ""
) -> list[str]:
    """What a person should know before a disk is captured, and what to do about it."""
    told = []
    if failing:
        told.append(
            f"This disk is failing: {failing}. Make the image now, before anything else, and do "
            "not start the machine from it meanwhile. What cannot be read is tried again, counted "
            "and named; all the rest is kept."
        )
    for use in disk.uses:
        if held.is_own(use):
            continue  # a look at what is on it, which writes nothing and ends by itself
        if use.what == "mounted":
            told.append(
                f"{use}. What is written to it meanwhile may be missing from the image or half "
                "there. Unmount it first, or start this computer from the rescue medium."
            )
        elif use.what == "swap":
            told.append(f"{use}. That does no harm: swap content is left out.")
    for volume in volumes:
        if chosen and volume.partition not in chosen:
            continue
        name = f"Partition {volume.partition}" if volume.partition else "The disk"
        label = f' ("{volume.label}")' if volume.label else ""
        if volume.state == "hibernated":
            told.append(
                f"{name}{label} holds a Windows that is asleep, not shut down. The image will be "
                "larger, and Windows will wake from this sleep when it is restored. Better: start "
                'Windows, choose "Restart", and start this medium instead.'
            )
        elif volume.state == "dirty" and volume.fs == "ntfs":
            told.append(
                f"{name}{label} was not closed properly by Windows. The image will hold it just "
                "as it is, every sector. After a restore Windows checks it by itself. If Windows "
                "still starts: start it, shut it down, and make the image then."
            )
        elif volume.state == "dirty":
            told.append(
                f"{name}{label} ({volume.fs}) was not closed properly: the machine was switched "
                "off while it ran. The image will hold it just as it is, every sector."
            )
    return told


_ENDS = {
    Exit.BUG: "This went wrong because of a mistake in this program.",
    Exit.USAGE: "It was not started. Nothing was changed.",
    Exit.UNREADABLE: "Done, but something could not be read: see below.",
    Exit.DISK: "A disk made trouble.",
    Exit.REFUSED: "The disk was not accepted, and NOTHING was written to it.",
    Exit.DAMAGED: "The image is damaged.",
    Exit.UNSUPPORTED: "The image was made by a newer version of Rescue.",
    Exit.INCOMPLETE: "The image is incomplete: making it never finished. It cannot be used.",
    Exit.LOCKED: "The image is encrypted, and it was not opened: the key was missing or wrong.",
    Exit.UNSOUND: "The image is as the disk was, but the disk had errors: see below.",
    Exit.PROGRAM: "Another program failed.",
    Exit.INTERRUPTED: "Stopped, as you asked.",
}
_GOOD = {
    "restore": "The disk is restored.",
    "capture": "The image is made.",
    "verify": "The image is whole.",
    "copy": "The files are copied.",
}


_QUICK = "Nothing in the image has changed since it was made. A deep check proves more."


def meaning(verb: str, status: int) -> str:
    """What an exit code means to a person who has never seen one."""
    if status == Exit.COMPLETE:
        return _GOOD.get(verb, "Done.")
    known = _ENDS.get(Exit(status), "") if status in set(Exit) else ""
    return known or f"It ended with {status}."


_START = "Take out the rescue medium and start the machine."


def ending(task: Task) -> list[str]:
    """How a task ended, as sentences: what happened, what it means, what to do now."""
    if task.exit == Exit.COMPLETE:
        said = [meaning(task.verb, 0)]
        if task.verb == "verify" and not {"--deep", "--filesystems"} & set(task.words):
            said = [_QUICK]
        if task.verb == "restore":
            live = describe.is_live()
            said.append(_START if live else "Put the disk into its machine and start it.")
        return said
    error, hint = task.failure()
    if task.killed:
        said = ["It ended without a word: something killed it, or the memory was full."]
    else:
        said = [meaning(task.verb, task.exit if task.exit is not None else 1)]
    if error:
        said.append(_sentence(error))
    if hint:
        said.append(f"What to do: {_sentence(hint)}")
    if is_gone(error):
        said.append(
            "A disk is not there any more. Look at its cable, plug it in again and wait a few "
            'seconds; then choose "Once more".'
        )
    if task.verb == "restore" and began_writing(task):
        said.append(
            "The disk holds a part of the image only and cannot be used as it is. The image is "
            "unharmed: restore it again, to this disk or another one."
        )
    if task.verb == "capture" and task.exit not in (Exit.UNREADABLE, Exit.USAGE):
        said.append("The disk was only read; nothing on it has changed.")
    return said


def began_writing(task: Task) -> bool:
    """Whether a restore that ended badly may have written to its target."""
    if task.exit in (Exit.USAGE, Exit.REFUSED, Exit.LOCKED, Exit.INCOMPLETE, Exit.UNSUPPORTED):
        return False
    steps = [*map(str, task.state.get("steps", ())), str(task.state.get("step", ""))]
    warned = any("outcome: incomplete" in str(one) for one in task.state.get("warnings", ()))
    return warned or any(step.startswith("restore") for step in steps)


_GONE = ("no such device", "input/output error", "not there any more", "no such file", "no medium")


def is_gone(error: str) -> bool:
    """Whether an error looks like a disk that was pulled out."""
    return any(words in error.lower() for words in _GONE)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
