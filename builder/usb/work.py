"""One stick from wish to result: what it is now, what will be done, and doing it.

``prepare`` looks and refuses, and writes nothing; ``Prepared.execute`` makes the SafeTarget.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from builder.iso.opened import Opened, reader
from builder.iso.seal import Read
from builder.usb import data, layout, plan
from builder.usb.execute import compared, execute
from builder.usb.layout import SECTOR, Stick
from builder.usb.payload import Payload, load
from rescue.core.errors import DiskTrouble, ImageDamaged, RescueError, TargetRefused, from_os_error
from rescue.core.progress import Reporter
from rescue.core.units import format_size
from rescue.devices.discover import inspect, list_disks
from rescue.devices.model import Disk
from rescue.devices.refusals import check
from rescue.devices.table import make_gpt, read_layout
from rescue.devices.target import SafeTarget, confirm


@dataclass(frozen=True, slots=True)
class State:
    """A stick as it is.

    Attributes:
        active: the system that starts; None when its EFI partition was changed by somebody else.
        builds: what each slot holds, empty for nothing whole.
    """

    stick: Stick
    active: int | None
    builds: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for.

    Attributes:
        kind: the data partition's filesystem.
        fixed: a disk that is built in may be taken too.
    """

    disk: Path
    iso: Path
    kind: str = "exfat"
    update: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that was found out, before anything is written."""

    wish: Wish
    disk: Disk
    stick: Stick
    payload: Payload
    active: int | None
    before: State | None

    def lines(self) -> tuple[str, ...]:
        """The plan, for a person."""
        disk = self.disk
        model = f", {disk.model}" if disk.model else ""
        now = describe(self.before) if self.before else ""
        return (
            f"disk:    {disk.path}, {format_size(disk.size)}{model}, identity {disk.identity}",
            *((f"now:     {now}",) if now else ()),
            *plan.lines(self.stick, self.payload, self.active, self.wish.kind),
        )

    def to_json(self) -> Mapping[str, object]:
        """The plan, for a program."""
        return {
            "disk": str(self.disk.path),
            "identity": self.disk.identity,
            "size": self.disk.size,
            "build": self.payload.build,
            "update": self.wish.update,
            "slot": layout.LETTERS[0 if self.active is None else 1 - self.active],
            "data": None if self.wish.update else self.wish.kind,
            "data_size": self.stick.data_size,
        }

    def check(self, erase: str | None) -> None:
        """Make every refusal that needs no opening for writing.

        Raises:
            TargetRefused: it must not be overwritten.
        """
        check(self.disk.path, erase=erase, needed=self._needed(), keep=(self.wish.iso,))

    def execute(self, erase: str | None, opened: Opened, reporter: Reporter) -> None:
        """Write and read back.

        Raises:
            TargetRefused: nothing was written.
            DiskTrouble: writing failed, or what was read back is not what was written.
        """
        with confirm(
            self.disk.path, erase=erase, needed=self._needed(), keep=(self.wish.iso,)
        ) as target:
            for note in target.notes:
                reporter.note(note)
            if self.active is None:
                self._make(target, opened, reporter)
            else:
                mbr = reader(target.fd)(SECTOR, 0)
                steps = plan.update(self.stick, self.payload, self.active, mbr)
                _do(steps, {"system": opened.read}, target, reporter)

    def _make(self, target: SafeTarget, opened: Opened, reporter: Reporter) -> None:
        stick, kind = self.stick, self.wish.kind
        parts = stick.partitions(shown=kind != "ext4")
        with ExitStack() as stack:
            reporter.start(f"make the {kind} filesystem", None)
            made = stack.enter_context(
                data.filesystem(kind, stick.data_size, layout.DATA_NAME, stick.data // SECTOR)
            )
            reporter.finish()
            file = stack.enter_context(made.path.open("rb"))
            table = make_gpt(stick.size, SECTOR, parts)
            serial = secrets.randbits(32)
            steps = plan.make(stick, self.payload, serial, table, made.extents)
            sources = {"system": opened.read, "data": reader(file.fileno())}
            _do(steps, sources, target, reporter)
        target.reread_partitions()

    def _needed(self) -> int:
        return 0 if self.wish.update else layout.needed(self.payload.size)


def prepare(wish: Wish, opened: Opened) -> Prepared:
    """Look at the disk and the ISO; nothing is written.

    Raises:
        TargetRefused: not a disk for this, or not a stick that can be updated.
        DiskTrouble: it cannot be looked at.
    """
    disk = inspect(wish.disk)
    refuse_fixed(disk, allowed=wish.fixed)
    if disk.sector_size != SECTOR:
        raise TargetRefused(
            f"{disk.path} has sectors of {disk.sector_size} bytes",
            hint="firmware starts only from sticks with sectors of 512 bytes; use another one",
        )
    # What is in use is refused before anything of it is read; the question comes later.
    check(disk.path, erase=disk.identity, needed=0, keep=(wish.iso,))
    before = look(disk)
    if not wish.update:
        payload = load(opened)
        stick = Stick(disk.size, layout.slot_for(payload.size))
        return Prepared(wish, disk, stick, payload, None, before)
    if before is None:
        raise TargetRefused(
            f"{disk.path} is not a stick made by rescue-builder usb",
            hint="leave --update out to make one; all on it is lost then",
        )
    if before.active is None:
        raise TargetRefused(
            f"the EFI partition of {disk.path} was changed by another program",
            hint="save what is on the data partition, then make the stick anew without --update",
        )
    return Prepared(wish, disk, before.stick, load(opened, before.stick), before.active, before)


def refuse_fixed(disk: Disk, *, allowed: bool) -> None:
    """Only what can be pulled out, or stands in a file, unless a person says otherwise.

    Raises:
        TargetRefused: it is built in.
    """
    if disk.kind == "file" or disk.removable or disk.transport == "usb" or allowed:
        return
    raise TargetRefused(
        f"{disk.path} is not removable",
        hint="usb --list shows the sticks; --fixed takes a built-in disk all the same",
    )


def look(disk: Disk) -> State | None:
    """The stick that a disk is, or None for any other disk.

    Raises:
        DiskTrouble: it cannot be opened.
    """
    try:
        os.close(os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        raise from_os_error(error, f"open {disk.path}") from error
    try:
        stick = layout.known(read_layout(disk))
    except DiskTrouble:
        return None  # a table that makes no sense is not one of ours
    if stick is None:
        return None
    try:
        fd = os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            read = reader(fd)
            root = read(SECTOR, stick.efi + stick.fat.root)
            builds = (slot_build(stick, read, 0), slot_build(stick, read, 1))
        finally:
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"read {disk.path}") from error
    return State(stick, stick.fat.shown(root), builds)


def slot(stick: Stick, read: Read, system: int, name: str) -> Opened | None:
    """The system in a slot, or None."""
    start = stick.slot(system)

    def within(length: int, offset: int) -> bytes:
        return read(max(0, min(length, stick.slot_size - offset)), start + offset)

    opened = Opened.of(within, name, whole=False)
    return opened if opened is not None and opened.seal.size <= stick.slot_size else None


def slot_build(stick: Stick, read: Read, system: int) -> str:
    """What a slot says it holds, or an empty text."""
    opened = slot(stick, read, system, f"slot {layout.LETTERS[system]}")
    try:
        return opened.build() if opened is not None else ""
    except ImageDamaged:
        return ""


def describe(state: State) -> str:
    """What a stick holds, in one line."""
    words = [
        f"{layout.LETTERS[number]}: {build}{' (starts)' if number == state.active else ''}"
        for number, build in enumerate(state.builds)
        if build
    ]
    return "Rescue stick, " + ("; ".join(words) or "no system")


def sticks() -> tuple[tuple[Disk, str], ...]:
    """Every disk that can be pulled out, and what it holds."""
    found = []
    for disk in list_disks():
        try:
            refuse_fixed(disk, allowed=False)
        except TargetRefused:
            continue
        try:
            state = look(disk)
            word = describe(state) if state else "other content"
        except RescueError as error:
            word = error.message
        found.append((disk, word))
    return tuple(found)


def _do(
    steps: Sequence[plan.Step], sources: Mapping[str, Read], target: SafeTarget, report: Reporter
) -> None:
    """Write and compare, as one step with one end."""
    report.start("write and read back", plan.total(steps) + compared(steps))
    execute(steps, sources, target, report)
    report.finish()
