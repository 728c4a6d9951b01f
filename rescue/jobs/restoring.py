"""Restore in two steps: prepare (plan, and what would be lost), then execute what was confirmed."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rescue.core.errors import ImageDamaged, RescueError, UsageError
from rescue.core.progress import Reporter
from rescue.core.units import plural
from rescue.jobs import describe, restored, summary
from rescue.jobs.into import plan_into_target, same_table
from rescue.jobs.places import list_filesystems
from rescue.jobs.work import Done

if TYPE_CHECKING:
    from rescue.devices.model import Disk, Layout
    from rescue.devices.target import SafeTarget
    from rescue.image.keys import Secret
    from rescue.image.partreader import Ask
    from rescue.image.reader import Image
    from rescue.restore.plan import RestorePlan
    from rescue.restore.result import Options, RestoreResult
    from rescue.restore.work import Prepared as Ready


@dataclass(frozen=True, slots=True)
class RestoreWish:
    """What is asked of a restore.

    Attributes:
        erase: the confirmed identity, or None.
        fit: as ``--fit`` takes it.
        changed_only: compare first; None: when the target is divided as planned already.
        repair: do what is missing for it to start under UEFI.
        new_identity: give disk, partitions and filesystems new identifiers.
    """

    image: Path
    target: Path
    partitions: tuple[int, ...] = ()
    erase: str | None = None
    secrets: Sequence[Secret] = ()
    look_in: Sequence[Path] = ()
    ask: Ask | None = None
    fit: str | None = None
    changed_only: bool | None = None
    read_back: bool = True
    undo_file: Path | None = None
    into: str | None = None
    leave_out: tuple[int, ...] = ()
    sector_size: int | None = None
    free: Literal["keep", "trim", "wipe"] = "keep"
    repair: bool = True
    new_identity: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A restore that is planned and not begun.

    Attributes:
        disk: the target as it is now; None for a file that does not exist yet.
    """

    wish: RestoreWish
    image: Image
    disk: Disk | None
    plan: RestorePlan

    def lines(self) -> list[str]:
        """The plan and what would be lost, for a person."""
        target = describe.disk_words(self.disk) if self.disk else f"{self.wish.target} (a new file)"
        return [
            f"image:   {self.image.path}, made {self.image.manifest.created}",
            f"of:      {summary.disk_of(self.image.manifest)}",
            f"target:  {target}",
            *self.plan.lines(),
        ]

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "action": "restore",
            "dry_run": True,
            "image": str(self.image.path),
            "image_id": self.image.image_id,
            "target": describe.disk_json(self.disk) if self.disk else str(self.wish.target),
            **self.plan.to_json(),
        }

    def check(self) -> None:
        """Make every refusal that can be made without asking; nothing is opened for writing.

        Where no identity was given the target's own one stands in: this is not a confirmation.

        Raises:
            TargetRefused: the target would be refused.
        """
        from rescue.devices import target

        erase = self.wish.erase
        if erase is None and self.disk is not None:
            erase = self.disk.identity
        target.check(self.wish.target, erase=erase, needed=self.plan.needed, keep=self.image.paths)

    def execute(self, identity: str | None, reporter: Reporter) -> Done:
        """Confirm the target and write it.

        Raises:
            TargetRefused: the identity is not the target's, or it must not be overwritten.
            RescueError: the target failed; a warning says in what state it is.
        """
        from rescue.devices.target import confirm
        from rescue.jobs import fitting, identifying, repairing, undoing
        from rescue.restore import growing, setid, work
        from rescue.restore.result import Options

        growing.require(
            {r.volume.fs for r in self.plan.resizes if r.means not in ("none", "rebuild", "boot")}
        )
        setid.require(self.plan.identity)
        compare = self.wish.changed_only
        options = Options(
            compare=self.plan.same_layout if compare is None else compare,
            read_back=self.wish.read_back,
            free=self.wish.free,
        )
        with confirm(
            self.wish.target, erase=identity, needed=self.plan.needed, keep=self.image.paths
        ) as safe:
            if self.image.parts.one_by_one:
                reporter.warn("the discs are not checked first; rescue verify does that")
            elif not safe.created:
                self._check_image(reporter)
            with fitting.fitted(
                self.wish.image,
                fitting.opener_of(self.wish.secrets, self.wish.look_in),
                self.plan.resizes,
                (self.plan.layout.sector_size, self.plan.sector),
                reporter,
            ) as (pieces, after):
                same_table(safe, self.plan.addition)
                ready = work.prepare(self.plan, self.image, pieces, after)
                ready = repairing.repaired(self.image, self.plan, ready)
                ready = dataclasses.replace(
                    ready, after=(*ready.after, *identifying.steps(self.plan))
                )
                kept = undoing.keep(
                    safe,
                    _layout(self.disk) if self.disk else None,
                    self.image.path,
                    self.wish.undo_file,
                    self.plan.lost,
                    reporter,
                )
                result = self._write(safe, ready, options, reporter)
            if result.complete:
                words = repairing.make_entries(self.plan, safe.path)
                result = dataclasses.replace(result, done=(*result.done, *words))
        return restored.told(self.image, str(self.wish.target), result, kept)

    def _write(
        self, safe: SafeTarget, ready: Ready, options: Options, reporter: Reporter
    ) -> RestoreResult:
        """From here on the target is not what it was."""
        from rescue.restore.pipeline import execute

        try:
            return execute(self.plan, self.image, safe, reporter, options=options, prepared=ready)
        except BaseException:
            words = (
                "holds a part of the image and cannot be used as it is; the same command goes on"
            )
            if self.plan.addition is not None:
                words = (
                    "got no new partition: its free room holds a part of one, all else is as it was"
                )
            reporter.warn(f"outcome: incomplete. {self.wish.target} {words}")
            raise

    def _check_image(self, reporter: Reporter) -> None:
        """Hash the stored bytes before anything on the target is lost.

        Raises:
            ImageDamaged: the image is not whole; nothing was written.
        """
        from rescue.verify.stored import verify_stored

        report = verify_stored(
            self.wish.image, reporter, secrets=self.wish.secrets, look_in=self.wish.look_in
        )
        if not report.ok:
            raise ImageDamaged(
                f"{self.wish.image} is damaged in {plural(len(report.damages), 'place')}; "
                f"nothing was written to {self.wish.target}",
                hint="use another image, or restore what is whole to a new file",
            )


@contextmanager
def prepare(wish: RestoreWish) -> Iterator[Prepared]:
    """Open the image, look at the target and plan; nothing is written.

    Raises:
        DiskTrouble: image or target cannot be read.
        ImageError: the image cannot be used.
        UsageError: a partition is not in the image.
        TargetRefused: the target is too small.
    """
    from rescue.devices.discover import inspect, list_disks
    from rescue.devices.refusals import check_named, check_place
    from rescue.image.reader import Image
    from rescue.jobs.identifying import seed_for
    from rescue.jobs.repairing import plan_starting
    from rescue.restore.layout import parse_fit
    from rescue.restore.planning import plan_restore

    fit = parse_fit(wish.fit)

    with Image.open(wish.image, secrets=wish.secrets, look_in=wish.look_in, ask=wish.ask) as image:
        check_named(wish.target)
        disk = inspect(wish.target) if os.path.lexists(wish.target) else None
        if disk is not None:
            check_place(disk, image.paths)
        size, there = (disk.size, _layout(disk)) if disk else (None, None)
        sector = _sector(disk, wish)
        if wish.into is not None:
            if fit.mode != "none" or wish.leave_out:
                raise UsageError(
                    "--into takes neither --fit nor --leave-out", hint="leave them away"
                )
            plan = plan_into_target(wish, image, disk, there, sector)
        else:
            plan = plan_restore(
                image,
                size,
                wish.partitions,
                target_layout=there,
                target_sector_size=sector,
                fit=fit,
                leave_out=wish.leave_out,
                seed=seed_for(image, disk) if wish.new_identity else "",
            )
        if disk is not None and not plan.chosen:
            lost = describe.holds_now(disk, list_filesystems())
            notes = plan.notes
            if disk.kind == "block" and not wish.new_identity:
                note = describe.twin_note(image.manifest.disk, disk, list_disks())
                notes += (note,) if note else ()
            plan = dataclasses.replace(plan, lost=tuple(lost), notes=notes)
        if wish.repair and plan.addition is None:
            into = int(wish.into) if wish.into is not None else None
            starting = plan_starting(image, plan, disk, there, into)
            plan = dataclasses.replace(plan, starting=starting)
        yield Prepared(wish, image, disk, plan)


def _sector(disk: Disk | None, wish: RestoreWish) -> int | None:
    """What the target's logical sectors are; None: a file that nothing was said of.

    Raises:
        UsageError: the disk has others than were named.
    """
    if disk is None or disk.kind != "block":
        return wish.sector_size
    if wish.sector_size not in (None, disk.sector_size):
        raise UsageError(
            f"{disk.path} has sectors of {disk.sector_size} bytes, not {wish.sector_size}",
            hint="--sector-size is for a target that is a file",
        )
    return disk.sector_size


def _layout(disk: Disk) -> Layout | None:
    """How the target is divided now; a table that cannot be read counts as none."""
    from rescue.devices.table import read_layout

    try:
        return read_layout(disk)
    except RescueError:
        return None


def command_line(wish: RestoreWish) -> str:
    """The command that does the same."""
    words = ["rescue", "restore", str(wish.image), str(wish.target)]
    for number in wish.partitions:
        words += ["--partition", str(number)]
    if wish.into is not None:
        words += ["--into", wish.into]
    if wish.fit:
        words += ["--fit", wish.fit]
    if wish.leave_out:
        words += ["--leave-out", ",".join(map(str, wish.leave_out))]
    if not wish.repair:
        words.append("--no-repair")
    if wish.new_identity:
        words.append("--new-identity")
    return shlex.join(words)
