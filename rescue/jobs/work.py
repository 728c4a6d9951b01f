"""The work of each verb as one call: plan, do, and say plainly what came of it.

The command line and jobs both go through here, so that they do and say the same. A ``Done`` holds
the exit code, lines for a person (the verdict last) and the result as JSON.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescue.core import mapfile
from rescue.core.errors import Exit, ImageDamaged, UsageError
from rescue.core.progress import Reporter
from rescue.core.units import format_duration, format_size
from rescue.jobs import describe, summary

if TYPE_CHECKING:
    from rescue.capture.pipeline import CaptureOptions, CaptureResult
    from rescue.capture.plan import CapturePlan, Unlock
    from rescue.image.keys import Secret
    from rescue.upkeep.keyring import Access


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a piece of work.

    Attributes:
        error: one line for stderr when it came to no good end; empty otherwise.
    """

    exit: Exit
    lines: tuple[str, ...]
    data: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True, slots=True)
class CaptureWish:
    """What is asked of a capture.

    Attributes:
        level: 1 to 19, or 0 to choose it while it runs.
        part_size: as ``--part-size`` takes it, or None.
        access: who may open the image; None: it is not encrypted (or as its parent is).
        secrets: what opens the parent, or the image that is resumed.
        mapfile: ddrescue's; taken in when it is there, written when it is not.
        unlock: asked for the passphrases of encrypted partitions; None: they stay closed.
    """

    source: Path
    image: Path
    partitions: tuple[int, ...] = ()
    level: int = 3
    all_sectors: bool = False
    parent: Path | None = None
    part_size: str | None = None
    access: Access | None = None
    secrets: Sequence[Secret] = ()
    resume: bool = False
    retry: int = 1
    mapfile: Path | None = None
    check: str = "sample"
    unlock: Unlock | None = None


def capture(wish: CaptureWish, reporter: Reporter) -> Done:
    """Capture a disk to a new image.

    Raises:
        UsageError: the image exists already.
        RescueError: what the plan or the capture raises; an image that was begun is incomplete,
            and a warning says so.
    """
    from rescue.capture.pipeline import execute
    from rescue.capture.plan import plan_capture

    if not wish.resume:
        check_new(wish.image)
    check_apart(wish)
    options = _options(wish)
    plan = plan_capture(
        wish.source,
        partitions=wish.partitions,
        all_sectors=wish.all_sectors,
        reporter=reporter,
        unlock=wish.unlock,
    )
    for note in _worth_telling(plan):
        reporter.warn(note)
    amount = format_size(plan.allocated)
    reporter.note(f"capturing {amount} of {describe.disk_words(plan.disk)} to {wish.image}")
    try:
        result = execute(plan, wish.image, options, reporter)
    except UsageError:
        raise
    except BaseException:
        if os.path.lexists(wish.image):
            reporter.warn(
                f"outcome: incomplete. {wish.image} cannot be restored; the same command with "
                "--resume goes on with it"
            )
        raise
    if wish.mapfile is not None and not wish.mapfile.exists():
        mapfile.write(wish.mapfile, result.unreadable, plan.disk.size)
    return _captured(wish, result)


def _options(wish: CaptureWish) -> CaptureOptions:
    """How to capture; what the wish names by path or word is read here."""
    from rescue.capture.encode import Check
    from rescue.capture.pipeline import CaptureOptions
    from rescue.image.split import capacity_for
    from rescue.upkeep.keyring import new_lock

    if wish.resume and wish.access is not None and not wish.secrets:
        raise UsageError(
            "the image that is resumed is encrypted already", hint="give what opens it"
        )
    there = wish.mapfile is not None and wish.mapfile.exists()
    return CaptureOptions(
        level=wish.level,
        capacity=capacity_for(wish.image, wish.part_size),
        lock=new_lock(wish.access) if wish.access and not wish.resume else None,
        parent=wish.parent,
        secrets=wish.secrets,
        resume=wish.resume,
        retry=wish.retry,
        check=Check(wish.check),
        bad=mapfile.read(wish.mapfile) if wish.mapfile and there else None,
    )


def _captured(wish: CaptureWish, result: CaptureResult) -> Done:
    """Tell what came of it; the image is opened once before anybody relies on it."""
    from rescue.image.container import Container

    container = Container(wish.image)
    try:
        if container.footer.root.hex() != result.root:
            raise ImageDamaged(f"{wish.image} is not what was written")
        ledger = result.manifest.ledger
        lines = summary.facts(
            [
                ("image", str(wish.image)),
                ("id", result.image_id),
                *summary.ledger_pairs(ledger),
                ("stored", f"{format_size(result.stored_bytes)}{speed_words(result)}"),
            ]
        )
        data = summary.container_json(container, result.manifest)
    finally:
        container.close()
    status = Exit.UNREADABLE if result.unreadable else Exit.COMPLETE
    return Done(
        status,
        (
            *lines,
            f"outcome: {summary.outcome_words(ledger)}",
            f"safe to rely on: not known yet; rescue verify --deep {shlex.quote(str(wish.image))}",
        ),
        {
            "action": "capture",
            "source": str(wish.source),
            **data,
            "seconds": round(result.seconds, 3),
            "content_bytes": result.content_bytes,
            "unreadable_bytes": result.unreadable.total,
        },
    )


def speed_words(result: CaptureResult) -> str:
    """``, in 20 s (310.0 MiB/s)``."""
    rate = (
        f" ({format_size(int(result.content_bytes / result.seconds))}/s)" if result.seconds else ""
    )
    return f", in {format_duration(result.seconds)}{rate}"


def _worth_telling(plan: CapturePlan) -> list[str]:
    """The notes of a plan, without those on filesystems that are mounted but cannot change."""
    quiet = [str(u) for u in plan.disk.uses if u.what == "mounted" and not _is_writable(u.detail)]
    return [note for note in plan.notes if not any(note.startswith(words) for words in quiet)]


def check_apart(wish: CaptureWish) -> None:
    """Refuse to keep the image of a disk on that disk, unless only some partitions are captured.

    Raises:
        UsageError: it would lie on its own source.
    """
    from rescue.devices.below import everything_below, node_of

    try:
        apart = node_of(wish.source) not in everything_below(wish.image)
    except OSError:
        return  # whoever opens the source says what is wrong with it
    if not apart and not wish.partitions:
        raise UsageError(
            f"{wish.image} would lie on {wish.source}, the very disk that is captured",
            hint="keep the image on another disk",
        )


def _is_writable(mount_point: str) -> bool:
    try:
        return not os.statvfs(mount_point).f_flag & os.ST_RDONLY
    except OSError:
        return True


def check_new(image: Path) -> None:
    """Refuse an image path that leads to anything that is there."""
    if image.is_dir():
        raise UsageError(
            f"{image} is a directory", hint=f"name the image's file: {image / 'pc.rescue'}"
        )
    if os.path.lexists(image):
        raise UsageError(
            f"{image} exists already", hint="an image is never written over: choose another name"
        )
