"""Reading the partition table of a disk, and making one. The one module that imports parted.

libparted opens what it is given for writing and repairs a GPT when told to, so it never sees a
disk: it gets a picture in memory, as long as the disk and sparse, that holds the sectors of the
tables. The structure readers (``gpt``, ``mbr``) find those sectors, tell what libparted does not
(unique GUIDs, attributes, the places of the tables), and mend a damaged copy in the picture. Both
readers must then agree about every partition.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import _ped  # type: ignore[import-not-found, unused-ignore]
import parted  # type: ignore[import-not-found, unused-ignore]

from rescue.core.errors import DiskTrouble, from_os_error
from rescue.core.extent import ExtentMap
from rescue.devices import gpt, mbr
from rescue.devices.blockio import Source
from rescue.devices.model import Disk, Layout, NewPartition, Partition, order

_HINT = "capture the disk with --all-sectors"
# They have no common base.
_PARTED_ERRORS: tuple[type[Exception], ...] = (
    parted.DeviceException,
    parted.DiskException,
    parted.DiskLabelException,
    parted.GeometryException,
    parted.IOException,
    parted.PartedException,
    parted.PartitionException,
    parted.UnknownDeviceException,
    parted.UnknownTypeException,
    OSError,
)
# Sector size and exception handler of libparted belong to the process.
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Tables:
    """What the structure readers found, and the sectors that libparted will see."""

    label: str
    disk_id: str
    partitions: tuple[Partition, ...]
    extents: ExtentMap
    picture: tuple[tuple[int, bytes], ...]
    warnings: tuple[str, ...]


def read_layout(disk: Disk) -> Layout:
    """The partition table of a block device or plain file; nothing is written to it, ever.

    A damaged or misplaced backup (or primary) GPT is told in ``Layout.warnings``; the other copy
    is used. A disk with a filesystem and no table has the label "none".

    Raises:
        DiskTrouble: the disk cannot be read, or its table makes no sense (hint: --all-sectors).
    """
    with Source(disk.path) as source:
        sector = disk.sector_size
        try:
            first = source.pread(max(sector, 512), 0)
            if len(first) < 512:
                return _none(source.size, sector)
            found = gpt.find(source.pread, source.size, sector)
            if found.copy is not None and _gpt_counts(first, found):
                tables = _gpt(disk, first, found, found.copy, source.size, sector)
            elif mbr.is_protective(first):
                raise _no_gpt(disk, source, sector)
            elif mbr.has_signature(first) and not _is_volume(first):
                tables = _msdos(disk, source, sector, found)
            else:
                return _other(disk, source, sector, found)
        except OSError as error:
            told = from_os_error(error, f"read the partition table of {disk.path}")
            raise DiskTrouble(told.message, hint=told.hint or _HINT) from error
        size = source.size
    _check_places(disk, tables, size)
    label, seen = _ask_parted(disk, tables.picture, size, sector)
    if label == "loop" and not tables.partitions:
        return _none(size, sector)
    _compare(disk, tables, label, seen)
    return Layout(
        label="gpt" if tables.label == "gpt" else "msdos",
        sector_size=sector,
        size=size,
        disk_id=tables.disk_id,
        partitions=tuple(sorted(tables.partitions, key=order)),
        table_extents=tables.extents,
        warnings=tables.warnings,
    )


def _no_gpt(disk: Disk, source: Source, sector: int) -> DiskTrouble:
    """The error for a protective MBR without a GPT; USB enclosures that change sectors are told."""
    for other in (512, 4096):
        if other != sector and gpt.find(source.pread, source.size, other).copy is not None:
            return DiskTrouble(
                f"the GPT of {disk.path} is for sectors of {other} bytes, the disk has {sector}",
                hint=f"attach it as it was when it was partitioned, or {_HINT}",
            )
    return DiskTrouble(f"both GPT copies of {disk.path} are damaged", hint=_HINT)


def _gpt_counts(first: bytes, found: gpt.Found) -> bool:
    """Whether the GPT is in force.

    Beside an MBR without a protective entry it is a leftover, as the kernel sees it too; with no
    MBR at all only the MBR was lost.
    """
    return mbr.is_protective(first) or not (
        mbr.has_signature(first) and any(entry.used for entry in mbr.table_entries(first))
    )


def _is_volume(first: bytes) -> bool:
    """Whether sector 0 is a filesystem's boot sector and no MBR."""
    sound = all(entry.active in (0, 0x80) for entry in mbr.table_entries(first))
    empty = not any(entry.used for entry in mbr.table_entries(first))
    return mbr.is_boot_sector(first) and (empty or not sound)


def _none(size: int, sector: int, warnings: tuple[str, ...] = ()) -> Layout:
    """No partition table."""
    return Layout("none", sector, size, "", (), ExtentMap(), warnings)


def _gpt(
    disk: Disk, first: bytes, found: gpt.Found, copy: gpt.Copy, size: int, sector: int
) -> _Tables:
    """Everything about a GPT, and a picture in which both copies are whole."""
    warnings = []
    if found.primary is None:
        warnings.append(f"the primary GPT of {disk.path} is damaged, the backup is used")
    last = size // sector - 1
    if found.backup is None:
        warnings.append(f"the backup GPT of {disk.path} is missing or damaged")
    elif found.backup.lba != last:
        warnings.append(f"the backup GPT of {disk.path} is not at the end of the disk")
    if found.backup and found.primary and found.backup.array != found.primary.array:
        warnings.append(f"the two GPT copies of {disk.path} differ, the primary is used")
    if not mbr.is_protective(first):
        warnings.append(f"the protective MBR of {disk.path} is missing")
    pairs = [(0, sector)]
    for one in (found.primary, found.backup):
        pairs += one.extents(sector) if one else ()
    if found.primary is None:  # its place is known, and a capture is to be exact there too
        pairs += [(sector, 2 * sector + -(-len(copy.array) // sector) * sector)]
    entries = gpt.entries(copy, sector)
    return _Tables(
        "gpt",
        copy.disk_id,
        entries,
        ExtentMap.of(pairs),
        gpt.picture(copy, last, sector),
        tuple(warnings),
    )


def _msdos(disk: Disk, source: Source, sector: int, found: gpt.Found) -> _Tables:
    """Everything about an MBR and its chain of EBRs."""
    parsed = mbr.parse(source.pread, source.size, sector)
    if parsed.trouble:
        raise DiskTrouble(f"the table of {disk.path} is broken: {parsed.trouble}", hint=_HINT)
    offsets = (0, *parsed.ebr_offsets)
    return _Tables(
        "msdos",
        parsed.disk_id,
        parsed.partitions,
        ExtentMap.of((offset, offset + sector) for offset in offsets),
        tuple((offset, source.pread(sector, offset)) for offset in offsets),
        (f"{disk.path} has an MBR and the remains of a GPT, the MBR counts",)
        if found.signed
        else (),
    )


def _other(disk: Disk, source: Source, sector: int, found: gpt.Found) -> Layout:
    """No MBR and no valid GPT: nothing, a whole-disk filesystem, or a table that we do not know."""
    if found.signed:
        raise DiskTrouble(f"both GPT copies of {disk.path} are damaged", hint=_HINT)
    head = source.pread(min(source.size, 1 << 16), 0)
    try:
        label, _ = _ask_parted(disk, ((0, head),), source.size, sector)
    except DiskTrouble:
        return _none(source.size, sector)
    if label in ("loop", "msdos"):
        return _none(source.size, sector)
    warning = f"the {label} partition table of {disk.path} is not known here, all is captured"
    return _none(source.size, sector, (warning,))


def _check_places(disk: Disk, tables: _Tables, size: int) -> None:
    """Refuse partitions that lie outside the disk or over each other."""
    reached, holder = 0, 0
    for one in sorted(tables.partitions, key=order):
        if one.length == 0 or one.start + one.length > size:
            raise DiskTrouble(
                f"partition {one.number} of {disk.path} lies outside the disk", hint=_HINT
            )
        if one.kind == "logical":
            continue  # inside the extended one; libparted checks the order within
        if one.start < reached:
            raise DiskTrouble(
                f"partitions {holder} and {one.number} of {disk.path} overlap", hint=_HINT
            )
        reached, holder = one.start + one.length, one.number


def _compare(
    disk: Disk, tables: _Tables, label: str, seen: tuple[tuple[int, int, int], ...]
) -> None:
    """Both readers must tell the same, else nothing may be built on it."""
    ours = {(p.number, p.start, p.length) for p in tables.partitions}
    theirs = set(seen)
    # libparted cuts an extended partition's length where the kernel does not; its start counts.
    if label != tables.label or {o[:2] for o in ours} != {t[:2] for t in theirs}:
        raise DiskTrouble(
            f"the partition table of {disk.path} is ambiguous: libparted reads it differently",
            hint=_HINT,
        )


def _ask_parted(
    disk: Disk, picture: tuple[tuple[int, bytes], ...], size: int, sector: int
) -> tuple[str, tuple[tuple[int, int, int], ...]]:
    """libparted's label and its (number, start, length in bytes) of each partition.

    Raises:
        DiskTrouble: libparted refuses the table, in its own words.
    """
    memory = os.memfd_create("partition-table", os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, size)
        for offset, data in picture:
            os.pwrite(memory, data, offset)
        with _LOCK, _sectors_of(sector), _quiet():
            device = parted.getDevice(f"/proc/self/fd/{memory}")
            try:
                table = parted.newDisk(device)
                found = tuple(
                    (p.number, p.geometry.start * sector, p.geometry.length * sector)
                    for p in table.partitions
                )
                return str(table.type), found
            finally:
                # The next picture may get the same descriptor, and libparted caches by path.
                device.removeFromCache()
    except _PARTED_ERRORS as error:
        words = " ".join(str(error).split()).replace(f"/proc/self/fd/{memory}", str(disk.path))
        words = words.rstrip(".")
        raise DiskTrouble(f"the table of {disk.path} is broken: {words}", hint=_HINT) from error
    finally:
        os.close(memory)


def make_gpt(
    size: int, sector: int, wanted: Sequence[NewPartition]
) -> tuple[tuple[int, bytes], ...]:
    """The sectors of a new GPT with new GUIDs, as (offset, bytes); made in memory, by libparted.

    Args:
        wanted: in the order of their numbers, each at a place that is aligned and free.

    Raises:
        DiskTrouble: libparted refuses a partition, in its own words.
    """
    memory = os.memfd_create("new-table", os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, size)
        with _LOCK, _sectors_of(sector), _quiet():
            device = parted.getDevice(f"/proc/self/fd/{memory}")
            try:
                table = parted.freshDisk(device, "gpt")
                for one in wanted:
                    _add(table, device, one, sector)
                table.commitToDevice()
            finally:
                device.removeFromCache()
        copy, last = (
            gpt.find(lambda n, at: os.pread(memory, n, at), size, sector).copy,
            size // sector,
        )
        if copy is None:
            raise OSError("libparted made a table that cannot be read")
        return gpt.picture(copy, last - 1, sector)
    except _PARTED_ERRORS as error:
        words = " ".join(str(error).split()).rstrip(".")
        raise DiskTrouble(f"cannot make a partition table: {words}") from error
    finally:
        os.close(memory)


def _add(table: parted.Disk, device: parted.Device, one: NewPartition, sector: int) -> None:
    """One partition of ``make_gpt``. A type that Windows shows follows from a filesystem's name."""
    place = parted.Geometry(device, start=one.start // sector, length=one.length // sector)
    shown = parted.FileSystem(type="ntfs", geometry=place) if one.use == "data" else None
    made = parted.Partition(table, parted.PARTITION_NORMAL, fs=shown, geometry=place)
    table.addPartition(made, constraint=parted.Constraint(exactGeom=place))
    made.getPedPartition().set_name(one.name)
    flag = {"bios": parted.PARTITION_BIOS_GRUB, "esp": parted.PARTITION_BOOT}.get(one.use)
    if flag is not None:
        made.setFlag(flag)


@contextmanager
def _sectors_of(size: int) -> Iterator[None]:
    """libparted takes the sector size of a plain file from the environment."""
    before = os.environ.get("PARTED_SECTOR_SIZE")
    os.environ["PARTED_SECTOR_SIZE"] = str(size)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PARTED_SECTOR_SIZE"]
        else:
            os.environ["PARTED_SECTOR_SIZE"] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Answer libparted's questions with "ignore", so that it goes on without repairing."""
    ignore = int(_ped.EXCEPTION_RESOLVE_IGNORE)

    def answer(_kind: int, options: int, _message: str) -> int:
        return ignore if options & ignore else int(_ped.EXCEPTION_RESOLVE_UNHANDLED)

    parted.register_exn_handler(answer)
    try:
        yield
    finally:
        parted.clear_exn_handler()
