"""Undo files: made beside the image before a restore writes, and put back by ``rescue undo``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rescue.core.errors import Exit, RescueError, TargetRefused
from rescue.core.progress import Reporter
from rescue.core.units import format_size
from rescue.devices import target as targets
from rescue.devices.discover import inspect
from rescue.devices.model import Layout
from rescue.devices.refusals import check_named
from rescue.devices.target import SafeTarget
from rescue.jobs.work import Done
from rescue.restore import marker, undo
from rescue.restore.undo import Undo


def keep(
    safe: SafeTarget,
    layout: Layout | None,
    image: Path,
    wanted: Path | None,
    held: tuple[str, ...],
    reporter: Reporter,
) -> Path | None:
    """Make the undo file of a restore that is about to write; None where there is nothing to keep.

    Beside the image unless another place was named. Where it cannot be made beside the image (a
    disc, a full stick), that is said and the restore goes on: whoever has only that disc must be
    able to restore from it.

    Raises:
        RescueError: it cannot be made at the place that was named.
    """
    if safe.created or undo.is_blank(safe):
        return None
    if marker.is_marked(os.pread(safe.fd, marker.SIZE, 0)):
        return None  # an earlier run of a restore made one
    now = datetime.now(UTC)
    name = re.sub(r"[^A-Za-z0-9]+", "-", safe.disk.identity).strip("-")[-40:] or "disk"
    path = wanted or image.with_name(f"{image.name}.{name}.{now:%Y%m%d-%H%M%S}.undo")
    try:
        undo.save(
            safe,
            layout,
            path,
            created=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            image=str(image),
            held=held,
        )
    except RescueError as error:
        if wanted is not None:
            raise
        reporter.warn(f"no undo file: {error.message}; rescue undo will not be possible")
        return None
    return path


@dataclass(frozen=True, slots=True)
class Undoing:
    """An undo file and the disk it is for, looked at; nothing is written."""

    file: Path
    target: Path
    undo: Undo

    def lines(self) -> list[str]:
        """What will be done, for a person."""
        return [f"undo file: {self.file}", f"target:    {self.target}", *undo.words(self.undo)]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "action": "undo",
            "file": str(self.file),
            "target": str(self.target),
            "identity": self.undo.identity,
            "size": self.undo.size,
            "created": self.undo.created,
            "image": self.undo.image,
            "held": list(self.undo.held),
            "bytes": self.undo.bytes,
        }

    def check(self, erase: str | None) -> None:
        """Make every refusal that can be made without writing.

        Raises:
            TargetRefused: it is another disk, or must not be written.
        """
        check_named(self.target)
        disk = inspect(self.target)
        known = self.undo
        if disk.size != known.size:
            raise TargetRefused(
                f"{self.target} has {disk.size} bytes, the undo file is of a disk with "
                f"{known.size}",
                hint="name the disk that was restored to",
            )
        if disk.serial and disk.identity != known.identity:
            raise TargetRefused(
                f"{self.target} is {disk.identity!r}, the undo file is of {known.identity!r}",
                hint="name the disk that was restored to",
            )
        targets.check(
            self.target,
            erase=disk.identity if erase is None else erase,
            needed=known.size,
            keep=[self.file],
        )

    def execute(self, identity: str | None, _reporter: Reporter) -> Done:
        """Confirm the disk and put everything back.

        Raises:
            TargetRefused: it is another disk, or must not be written.
            ImageDamaged: the undo file is; nothing was written.
        """
        self.check(identity)
        found = undo.contents(self.undo, self.file)
        with targets.confirm(
            self.target, erase=identity, needed=self.undo.size, keep=[self.file]
        ) as safe:
            undo.put_back(found, safe)
        lines = (
            f"put back: {format_size(self.undo.bytes)} of tables, boot areas and superblocks",
            "outcome: complete",
        )
        return Done(Exit.COMPLETE, lines, {**self.to_json(), "outcome": "complete"})


def prepare(file: Path, target: Path) -> Undoing:
    """Read an undo file.

    Raises:
        RescueError: it cannot be used.
    """
    return Undoing(file, target, undo.load(file))
