"""What stood at the places that decide what a disk is, kept before a restore writes over them.

Tables, boot areas, and the head and tail of every partition, where filesystems keep their
superblocks. Putting them back makes partitions and filesystems known again; it does not bring back
what a restore wrote between them.

One file: a magic line, the length of a JSON header, the header, its BLAKE3, then each region as a
zlib stream. Nothing in it is trusted: every length is bounded and every region is hashed.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from rescue.core.errors import DiskTrouble, ImageDamaged, UsageError, from_os_error
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB, format_size
from rescue.devices.model import Layout
from rescue.devices.target import SafeTarget

MAGIC = b"RESCUE UNDO 1\n"
_LENGTH = struct.Struct("<I")
_MAX_HEADER = 1 << 20
_MAX_REGION = MIB  # regions are cut to this, which bounds what a reader holds
_MAX_REGIONS = 4096
_EDGE = MIB
_TAIL = 64 << 10
_HEAD = 4096
_LUKS = b"LUKS\xba\xbe"
_LUKS_HEADER = 16 * MIB


@dataclass(frozen=True, slots=True)
class Region:
    """One kept extent: its bytes compressed, and their hash."""

    extent: Extent
    stored: int
    digest: str


@dataclass(frozen=True, slots=True)
class Undo:
    """What an undo file says about itself.

    Attributes:
        held: what the disk held, in words.
        start: where the regions begin in the file.
    """

    identity: str
    size: int
    created: str
    image: str
    held: tuple[str, ...]
    regions: tuple[Region, ...]
    start: int

    @property
    def bytes(self) -> int:
        """How much is put back."""
        return sum(region.extent.length for region in self.regions)


def places(layout: Layout | None, size: int) -> ExtentMap:
    """Which bytes decide what a disk of this layout is. Pure."""
    pairs = [(0, min(size, _EDGE)), (max(0, size - _EDGE), size)]
    for partition in layout.partitions if layout else ():
        end = partition.extent.end
        pairs.append((partition.start, min(end, partition.start + _EDGE)))
        pairs.append((max(partition.start, end - _TAIL), end))
    found = ExtentMap.of(pairs)
    return found.union(layout.table_extents) if layout else found


def _luks_headers(target: SafeTarget, layout: Layout | None) -> ExtentMap:
    """The 16 MiB at the start of a LUKS partition: without its key slots nothing opens it."""
    pairs = []
    for partition in layout.partitions if layout else ():
        try:
            magic = os.pread(target.fd, len(_LUKS), partition.start)
        except OSError:
            continue
        if magic == _LUKS:
            end = min(partition.extent.end, partition.start + _LUKS_HEADER)
            pairs.append((partition.start, end))
    return ExtentMap.of(pairs)


def save(
    target: SafeTarget,
    layout: Layout | None,
    path: Path,
    *,
    created: str,
    image: str,
    held: tuple[str, ...],
) -> int:
    """Keep what decides what the target is; how many bytes were kept.

    Raises:
        DiskTrouble: the target cannot be read or the file cannot be written.
        UsageError: the file exists.
    """
    regions: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    kept = places(layout, target.size).union(_luks_headers(target, layout))
    for extent in kept:
        for start in range(extent.start, extent.end, _MAX_REGION):
            length = min(_MAX_REGION, extent.end - start)
            try:
                data = os.pread(target.fd, length, start)
            except OSError:
                continue  # unreadable: nothing can be kept of it
            blobs.append(zlib.compress(data, 1))
            regions.append(
                {
                    "start": start,
                    "length": len(data),
                    "stored": len(blobs[-1]),
                    "blake3": blake3(data).hexdigest(),
                }
            )
    if len(regions) > _MAX_REGIONS:
        raise DiskTrouble("the target has too many partitions for an undo file")
    header = json.dumps(
        {
            "identity": target.disk.identity,
            "size": target.size,
            "created": created,
            "image": image,
            "held": list(held),
            "regions": regions,
        }
    ).encode()
    try:
        with path.open("xb") as file:
            path.chmod(0o600)  # a LUKS header is a secret
            file.write(MAGIC + _LENGTH.pack(len(header)) + header + blake3(header).digest())
            file.writelines(blobs)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", hint="name another undo file") from error
    except OSError as error:
        # On a disc nothing was made, and not even what is not there can be removed.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise from_os_error(error, f"write {path}") from error
    return sum(region["length"] for region in regions)


def load(path: Path) -> Undo:
    """Read and check what an undo file says about itself.

    Raises:
        DiskTrouble: it cannot be read.
        UsageError: it is no undo file.
        ImageDamaged: it is not what was written.
    """
    try:
        with path.open("rb") as file:
            return _header(file, path)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _header(file: BinaryIO, path: Path) -> Undo:
    start = file.read(len(MAGIC) + _LENGTH.size)
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + _LENGTH.size:
        raise UsageError(f"{path} is no undo file", hint="a restore makes one beside its image")
    (length,) = _LENGTH.unpack(start[len(MAGIC) :])
    text = file.read(length) if length <= _MAX_HEADER else b""
    if len(text) != length or file.read(32) != blake3(text).digest():
        raise ImageDamaged(f"{path} is damaged")
    try:
        return _parse(json.loads(text), file.tell())
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageDamaged(f"{path} is damaged") from error


def _parse(value: Any, start: int) -> Undo:
    """The header's values, each within its bounds.

    Raises:
        ValueError, KeyError, TypeError: they are not what a restore writes.
    """
    size = int(value["size"])
    regions = tuple(
        Region(Extent(int(r["start"]), int(r["length"])), int(r["stored"]), str(r["blake3"]))
        for r in value["regions"][: _MAX_REGIONS + 1]
    )
    for one in regions:
        if not (one.extent.start >= 0 and 0 < one.extent.length <= _MAX_REGION):
            raise ValueError("a region is out of bounds")
        if not (0 < one.stored <= 2 * _MAX_REGION and one.extent.end <= size):
            raise ValueError("a region is out of bounds")
    if len(regions) > _MAX_REGIONS:
        raise ValueError("too many regions")
    held = tuple(str(line) for line in value["held"])
    texts = (str(value["identity"]), str(value["created"]), str(value["image"]))
    return Undo(texts[0], size, texts[1], texts[2], held, regions, start)


def contents(undo: Undo, path: Path) -> list[tuple[int, bytes]]:
    """Every region's bytes, checked, with their places; all of them before one is written.

    Raises:
        ImageDamaged: one is not what was kept.
        DiskTrouble: the file cannot be read.
    """
    found: list[tuple[int, bytes]] = []
    try:
        with path.open("rb") as file:
            file.seek(undo.start)
            for region in undo.regions:
                stored = file.read(region.stored)
                try:
                    data = zlib.decompressobj().decompress(stored, region.extent.length + 1)
                except zlib.error:
                    data = b""
                if len(data) != region.extent.length or blake3(data).hexdigest() != region.digest:
                    raise ImageDamaged(
                        f"{path} is damaged at what stood at byte {region.extent.start:,}",
                        hint="nothing was written",
                    )
                found.append((region.extent.start, data))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    return found


def put_back(found: list[tuple[int, bytes]], target: SafeTarget) -> None:
    """Write everything to its place, the first sectors last.

    Raises:
        DiskTrouble: the target failed.
    """
    head = b""
    try:
        for start, data in found:
            if start == 0:
                head, rest = data[:_HEAD], data[_HEAD:]
                os.pwrite(target.fd, bytes(len(head)), 0)
                _write(target.fd, rest, len(head))
            else:
                _write(target.fd, data, start)
        target.flush()
        _write(target.fd, head, 0)
        target.flush()
    except OSError as error:
        raise from_os_error(error, f"write {target.path}") from error
    target.reread_partitions()


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def is_blank(target: SafeTarget) -> bool:
    """Whether a target has nothing at either end, so that there is nothing to keep.

    Raises:
        DiskTrouble: it cannot be read.
    """
    try:
        ends = os.pread(target.fd, _EDGE, 0) + os.pread(
            target.fd, _EDGE, max(0, target.size - _EDGE)
        )
    except OSError as error:
        raise from_os_error(error, f"read {target.path}") from error
    return not any(ends)


def words(undo: Undo) -> list[str]:
    """What putting it back will do, and what it will not, a line each."""
    return [
        f"made {undo.created}, before {undo.image} was restored to {undo.identity}",
        "the disk held then:",
        *(f"  {line}" for line in undo.held),
        f"put back: {format_size(undo.bytes)} of tables, boot areas and superblocks",
        "note: what the restore wrote between them stays lost; files there are damaged or gone. "
        "Check every filesystem, reading only, and copy off what can be read",
    ]
