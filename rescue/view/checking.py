"""The filesystems of an image checked by their own checkers, on a view of it.

The image is not written to: a checker sees the raw file of its partition, which cannot be written;
where a journal must be replayed first that happens in the view's throw-away overlay.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rescue.core import process
from rescue.core.errors import RescueError
from rescue.core.progress import Reporter
from rescue.view.checkers import CHECKERS, Checker, Finding, why_unchecked
from rescue.view.mounting import loop_mount
from rescue.view.names import SCRATCH, Seen
from rescue.view.opened import OpenView

Result = Literal["whole", "errors", "unchecked"]
_REPLAYED = "once its journal was replayed, as at any start"


@dataclass(frozen=True, slots=True)
class Checked:
    """One volume after its check.

    Attributes:
        result: "unchecked": nobody knows.
        words: why, or what a person should know; may be empty.
    """

    volume: Seen
    result: Result
    words: str = ""

    @property
    def name(self) -> str:
        """``partition 2 (ext4 "root")``."""
        where = f"partition {self.volume.number}" if self.volume.number else "the disk"
        label = f'"{self.volume.label}"' if self.volume.label else ""
        about = " ".join(filter(None, (self.volume.fs, label)))
        return f"{where} ({about})" if about else where

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "partition": self.volume.number,
            "fs": self.volume.fs,
            "label": self.volume.label,
            "result": self.result,
            "words": self.words,
        }


def check_volumes(
    view: OpenView, reporter: Reporter, *, left_out: frozenset[int] = frozenset()
) -> Iterator[Checked]:
    """Check one volume after the other; nothing is raised for one that cannot be checked.

    Args:
        left_out: numbers of partitions whose content was not captured.
    """
    for volume in view.opened.volumes:
        if volume.number in left_out:
            yield Checked(volume, "unchecked", "was not captured")
            continue
        if why := why_unchecked(volume.fs):
            yield Checked(volume, "unchecked", why)
            continue
        checker = CHECKERS[volume.fs]
        if process.find(checker.command[0]) is None:
            why = f"{checker.command[0]} is not installed (package {checker.package})"
            yield Checked(volume, "unchecked", why)
            continue
        reporter.start(f"check the {volume.fs} of partition {volume.number}", None)
        try:
            yield _check(view, volume, checker)
        finally:
            reporter.finish()


def _check(view: OpenView, volume: Seen, checker: Checker) -> Checked:
    overlay = view.folder / SCRATCH / volume.file
    finding = _ask(checker, overlay if checker.writes else view.folder / volume.file)
    known = finding.words
    if finding.state == "journal":
        try:
            if why := _replay(overlay, volume, checker, view.opened.sector_size):
                return Checked(volume, "unchecked", why)
        except RescueError as error:
            return Checked(volume, "errors", f"its journal cannot be replayed: {error.message}")
        finding, known = _ask(checker, overlay), _REPLAYED
    if finding.state == "whole":
        return Checked(volume, "whole", known)
    if finding.state == "errors":
        return Checked(volume, "errors", finding.words)
    said = f": {finding.words}" if finding.words else ""
    return Checked(volume, "unchecked", f"{checker.command[0]} failed{said}")


def _ask(checker: Checker, path: Path) -> Finding:
    done = process.run([*checker.command, path], check=False)
    output = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
    # The path is ours, in a folder that will be gone: it says nothing to a person.
    return checker.judge(done.status, output.replace(f"{path}: ", "").replace(str(path), "it"))


def _replay(overlay: Path, volume: Seen, checker: Checker, sector_size: int) -> str:
    """Have what its journal holds in place; why that cannot be done, empty when it was.

    Raises:
        RescueError: what replays it failed.
    """
    if checker.replay == "program":
        # Whether it went well is what the check says that follows.
        process.run([*checker.replayer, overlay], check=False)
        return ""
    if os.geteuid() != 0:
        return "its journal must be replayed first, which needs root"
    folder = Path(tempfile.mkdtemp(prefix="rescue-check-"))
    try:
        # Two filesystems of one UUID may be there: the machine's own, and this picture of it.
        options = "nosuid,nodev,noexec" + (",nouuid" if volume.fs == "xfs" else "")
        loop_mount(overlay, ["mount", "-t", volume.fs, "-o", options], folder, sector_size)
        process.run(["umount", folder])
    finally:
        with suppress(OSError):
            folder.rmdir()
    return ""
