"""Whether a medium is what was built: an ISO, a disc or stick that is a copy of one, a made stick.

Every byte of a system is compared with its seal; where that fails, the list of sums tells which
files it is. On a stick the boot sector, GRUB's core image and the EFI partition are compared with
what the system in the slot says they should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.iso.hybrid import boot_sector
from builder.iso.opened import MAGIC, Opened, reader
from builder.iso.seal import SYSTEM_AREA, Read
from builder.usb import work
from builder.usb.layout import LETTERS, SECTOR, Stick
from builder.usb.payload import Payload, load
from rescue.core.errors import DiskTrouble, ImageDamaged, UsageError
from rescue.core.progress import Reporter
from rescue.devices.blockio import Source
from rescue.devices.discover import inspect
from rescue.devices.table import read_layout


@dataclass(frozen=True, slots=True)
class System:
    """One system that was checked; ``slot``: A or B on a stick, else empty."""

    slot: str
    build: str
    size: int
    damages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked, and all that is wrong.

    Attributes:
        starts: the slot that starts, on a stick.
        around: what is wrong with boot sector, table or EFI partition.
    """

    systems: tuple[System, ...]
    starts: str
    around: tuple[str, ...]

    @property
    def damages(self) -> tuple[str, ...]:
        """Everything that is wrong, in words."""
        inside = (
            f"{f'slot {system.slot}: ' if system.slot else ''}{damage}"
            for system in self.systems
            for damage in system.damages
        )
        return (*inside, *self.around)


def verify(path: Path, reporter: Reporter) -> Verdict:
    """Read all of a medium; it is only read.

    Raises:
        DiskTrouble: it cannot be opened.
        UsageError: it is no medium of rescue-builder.
        ImageDamaged: it is one whose seal cannot be read.
    """
    disk = inspect(path)
    state = work.look(disk)
    with Source(path) as source:
        read = reader(source.fd)
        if state is not None:
            return _stick(path, state, read, reporter)
        opened = Opened.of(read, str(path), whole=True)
        if opened is not None:
            return Verdict((_system(opened, "", reporter),), "", ())
        if read(len(MAGIC), SYSTEM_AREA + 1) == MAGIC:
            raise ImageDamaged(
                f"{path} has no seal that can be read",
                hint="it is damaged, or not made by this rescue-builder",
            )
    raise UsageError(
        f"{path} is neither an ISO nor a stick of rescue-builder",
        hint="name an ISO file, or the whole disk of a stick",
    )


def _system(opened: Opened, slot: str, reporter: Reporter) -> System:
    """Compare one system with its seal; name the files where they differ."""
    reporter.start(f"check {f'slot {slot}' if slot else opened.name}", opened.to_check)
    wrong = opened.check_seal(reporter)
    reporter.finish()
    build = "unknown build"
    if wrong:
        try:
            build = opened.build()
            reporter.start("look for the files that differ", None)
            named = opened.bad_files(reporter.advance)
            reporter.finish()
            # What no file covers (folders, gaps) is told in general.
            wrong = (*named, *(() if named and len(wrong) == 1 else wrong))
        except ImageDamaged as error:
            wrong = (*wrong, error.message)
    else:
        build = opened.build()
    return System(slot, build, opened.seal.size, wrong)


def _stick(path: Path, state: work.State, read: Read, reporter: Reporter) -> Verdict:
    """Both systems, and everything that starts one of them."""
    stick = state.stick
    found = [work.slot(stick, read, number, f"slot {LETTERS[number]}") for number in (0, 1)]
    systems = tuple(
        _system(opened, LETTERS[number], reporter)
        for number, opened in enumerate(found)
        if opened is not None
    )
    around = list(_table(path))
    active = state.active
    if active is None:
        around.append("the EFI partition was changed by another program")
        return Verdict(systems, "", tuple(around))
    opened = found[active]
    if opened is None:
        around.append(f"slot {LETTERS[active]}, which starts, holds no whole system")
        return Verdict(systems, LETTERS[active], tuple(around))
    try:
        around += _efi(stick, read, active, load(opened))
    except (ImageDamaged, UsageError) as error:
        around.append(f"slot {LETTERS[active]}: {error.message}")
    around += _bios(stick, read, found)
    return Verdict(systems, LETTERS[active], tuple(around))


def _table(path: Path) -> tuple[str, ...]:
    """What is wrong with the partition table."""
    try:
        return read_layout(inspect(path)).warnings
    except DiskTrouble as error:
        return (error.message,)


def _efi(stick: Stick, read: Read, active: int, payload: Payload) -> list[str]:
    """Compare the EFI partition's tree that is shown."""
    tree = stick.fat.tree(active, payload.tree(active))
    for at, data in tree.body:
        # A table's sectors may hold more behind this: other systems put files there as well.
        wanted = data.rstrip(b"\0")
        if read(len(wanted), stick.efi + at) != wanted:
            return ["the EFI partition differs from what was written"]
    return []


def _bios(stick: Stick, read: Read, found: list[Opened | None]) -> list[str]:
    """Compare the boot sector, and the core image that it starts."""
    sector = read(SECTOR, 0)
    kernels = [stick.core(number) // SECTOR for number in (0, 1)]
    pointed = int.from_bytes(sector[0x1B0:0x1B8], "little")
    opened = found[kernels.index(pointed)] if pointed in kernels else None
    if opened is None:
        return ["the boot sector does not start a system of this stick"]
    try:
        payload = load(opened)
        core = payload.core_at(pointed)
    except (ImageDamaged, UsageError) as error:
        return [f"the BIOS boot image cannot be checked: {error.message}"]
    bad = []
    # A stick copied to a larger one keeps the old length in its protective entry.
    wanted = boot_sector(payload.boot_code, pointed, stick.size // SECTOR, sector[440:444])
    if sector[:440] != wanted[:440] or sector[510:] != wanted[510:]:
        bad.append("the boot sector differs from what was written")
    if read(len(core), pointed * SECTOR) != core:
        bad.append("GRUB's BIOS image differs from what was written")
    return bad
