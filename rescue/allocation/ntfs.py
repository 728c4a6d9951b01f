"""Whether an NTFS volume was closed cleanly: $Volume's flags and the restart area of $LogFile.

Structures as the Linux-NTFS documentation and ntfs-3g's layout.h describe them. Only what lies in
the first records of the MFT is read, bounded, and anything odd raises ``ValueError``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_LOGFILE, _VOLUME, _ROOT = 2, 3, 5
_DATA, _VOLUME_INFORMATION = 0x80, 0x70
_NO_CLIENT = 0xFFFF
_MAX_RECORD = 65536

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Volume:
    """What was read.

    Attributes:
        size: bytes from the boot sector up to its copy, which follows.
        dirty: the volume is marked dirty, or its journal was not closed.
        hibernated: Windows left its state on it, and may have changes in memory.
    """

    size: int
    sector_size: int
    dirty: bool
    hibernated: bool


@dataclass(frozen=True, slots=True)
class _Boot:
    sector: int
    cluster: int
    mft: int
    record: int
    sectors: int


def parse(read: Read) -> Volume:
    """Read the state of the volume.

    Args:
        read: ``read(length, offset)`` within the volume.

    Raises:
        OSError: the disk cannot be read.
        ValueError, struct.error: this is no sound NTFS.
    """
    boot = _boot(read(512, 0))
    volume = _record(read, boot, _VOLUME)
    flags = 0
    for kind, attribute in _attributes(volume):
        if kind == _VOLUME_INFORMATION:
            (at,) = struct.unpack_from("<H", attribute, 20)
            (flags,) = struct.unpack_from("<H", attribute, at + 10)
            break
    else:
        raise ValueError("$Volume has no information")
    closed, fast_start = _journal(read, boot)
    return Volume(
        size=boot.sectors * boot.sector,
        sector_size=boot.sector,
        dirty=bool(flags & 0x0001) or not closed,
        hibernated=fast_start,
    )


def _boot(raw: bytes) -> _Boot:
    """The BIOS parameter block."""
    (sector,) = struct.unpack_from("<H", raw, 11)
    factor = raw[13]
    sectors, mft = struct.unpack_from("<QQ", raw, 40)
    (size,) = struct.unpack_from("<b", raw, 64)
    if sector not in (512, 1024, 2048, 4096):
        raise ValueError("sector size out of bounds")
    # Above 128 it is a negative power of two, for clusters beyond 64 KiB.
    cluster = sector * (factor if factor <= 128 else 1 << (256 - factor))
    if not sector <= cluster <= 2 << 20:
        raise ValueError("cluster size out of bounds")
    if size < -16 or size == 0:
        raise ValueError("record size out of bounds")
    record = size * cluster if size > 0 else 1 << -size
    if not 512 <= record <= _MAX_RECORD:
        raise ValueError("record size out of bounds")
    return _Boot(sector, cluster, mft * cluster, record, sectors)


def _record(read: Read, boot: _Boot, number: int) -> bytes:
    """One of the first MFT records, with its fixups undone. These lie in the MFT's first run."""
    raw = bytearray(read(boot.record, boot.mft + number * boot.record))
    if raw[:4] != b"FILE":
        raise ValueError(f"MFT record {number} is damaged")
    return _fixed(raw)


def _fixed(raw: bytearray) -> bytes:
    """Undo the update sequence: the last word of every 512 bytes is stored in the record's head."""
    at, count = struct.unpack_from("<HH", raw, 4)
    if count < 1 or at + 2 * count > len(raw) or (count - 1) * 512 > len(raw):
        raise ValueError("update sequence out of bounds")
    mark = raw[at : at + 2]
    for index in range(1, count):
        end = index * 512
        if raw[end - 2 : end] != mark:
            raise ValueError("a record was half written")
        raw[end - 2 : end] = raw[at + 2 * index : at + 2 * index + 2]
    return bytes(raw)


def _attributes(record: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of each attribute of a record."""
    (at,) = struct.unpack_from("<H", record, 20)
    while at + 8 <= len(record):
        kind, length = struct.unpack_from("<II", record, at)
        if kind == 0xFFFFFFFF:
            return
        if length < 16 or at + length > len(record):
            raise ValueError("an attribute is out of bounds")
        yield kind, record[at : at + length]
        at += length
    raise ValueError("the attributes have no end")


def _journal(read: Read, boot: _Boot) -> tuple[bool, bool]:
    """Whether $LogFile was closed, and whether it is as Windows leaves it in fast start-up."""
    record = _record(read, boot, _LOGFILE)
    start = next((_first_run(a) for kind, a in _attributes(record) if kind == _DATA), None)
    if start is None:
        raise ValueError("$LogFile has no data")
    base = start * boot.cluster
    head = read(16, base)
    if head == b"\xff" * 16:
        return True, False  # empty, as ntfs-3g and mkntfs leave it
    pages = []
    (page_size,) = struct.unpack_from("<I", read(24, base), 16)
    if page_size not in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        raise ValueError("log page size out of bounds")
    for at in (base, base + page_size):
        raw = bytearray(read(page_size, at))
        if raw[:4] == b"RSTR":
            pages.append(_restart(_fixed(raw)))
    if not pages:
        raise ValueError("$LogFile has no restart page")
    _, closed, major = max(pages)
    # Version 2 is what Windows 8 and later write while running; a full shutdown puts 1.1 back.
    return closed, major >= 2


def _restart(page: bytes) -> tuple[int, bool, int]:
    """(log sequence number, closed, major version) of a restart page."""
    (at,) = struct.unpack_from("<H", page, 24)
    _, major = struct.unpack_from("<HH", page, 26)
    lsn, _, _, in_use, flags = struct.unpack_from("<QHHHH", page, at)
    return lsn, in_use == _NO_CLIENT or bool(flags & 0x0002), major


def _first_run(attribute: bytes) -> int:
    """First cluster of a non-resident attribute."""
    if attribute[8] != 1:
        raise ValueError("the attribute is resident")
    (at,) = struct.unpack_from("<H", attribute, 32)
    sizes = attribute[at]
    length, offset = sizes & 0x0F, sizes >> 4
    raw = attribute[at + 1 + length : at + 1 + length + offset]
    if not 1 <= offset <= 8 or len(raw) != offset:
        raise ValueError("a run is out of bounds")
    cluster = int.from_bytes(raw, "little", signed=True)
    if cluster <= 0:
        raise ValueError("a run is out of bounds")
    return cluster
