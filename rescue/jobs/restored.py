"""How a restore ended, for a person, a script and the shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rescue.core.errors import Exit
from rescue.core.units import format_duration, format_size, plural
from rescue.jobs import summary
from rescue.jobs.work import Done

if TYPE_CHECKING:
    from rescue.image.reader import Image
    from rescue.restore.result import RestoreResult


def told(image: Image, target: str, result: RestoreResult, kept: Path | None) -> Done:
    """The lines, the exit code and the JSON of a restore that ended.

    Args:
        kept: the undo file, where one was made.
    """
    speed = f" ({format_size(int(result.written / result.seconds))}/s)" if result.seconds else ""
    lines = summary.facts(
        [
            ("image", f"{image.path}, id {image.image_id}"),
            ("target", target),
            (
                "written",
                f"{format_size(result.written)}, in {format_duration(result.seconds)}{speed}",
            ),
        ]
    )
    if result.stored < result.written:
        lines += summary.facts(
            [("compared", f"{format_size(result.stored)} of it differed and were written")]
        )
    if result.resumed:
        words = f"{format_size(result.resumed)} were there from an earlier, interrupted run"
        lines += summary.facts([("resumed", words)])
    if result.read_back:
        words = f"{format_size(result.read_back)}"
        words += ", as written" if not result.differing else ""
        lines += summary.facts([("read back", words)])
    if kept is not None:
        lines += summary.facts([("undo file", str(kept))])
    lines += summary.facts([("also done", words) for words in result.done])
    lines += summary.shortened(
        [f"does not read back: {format_size(e.length)} at byte {e.start:,}"
         for e in result.differing], "places",
    )  # fmt: skip
    for extent in summary.shortened(
        [f"{format_size(e.length)} at byte {e.start:,}" for e in result.damaged], "places"
    ):
        lines.append(f"not written, because the image is damaged there: {extent}")
    outcome, status, error = result.outcome, Exit.COMPLETE, ""
    if result.differing and not result.damaged:
        status = Exit.DISK
        outcome = f"incomplete: {plural(len(result.differing), 'place')} did not read back"
        error = f"{target} does not give back what was written to it: do not rely on this disk"
    elif not result.complete:
        status = Exit.DAMAGED
        outcome = f"incomplete: {plural(len(result.damaged), 'chunk')} of the image is damaged"
        error = f"{target} was not restored completely, because {image.path} is damaged"
    elif result.unreadable:
        status = Exit.UNREADABLE
        lost = sum(extent.length for extent in result.unreadable)
        outcome = f"complete with unreadable sectors: {format_size(lost)} are zeros"
    return Done(
        status,
        (*lines, f"outcome: {outcome}"),
        {
            "action": "restore",
            "image": str(image.path),
            "image_id": image.image_id,
            "target": target,
            "undo_file": str(kept) if kept else None,
            **result.to_json(),
        },
        error,
    )
