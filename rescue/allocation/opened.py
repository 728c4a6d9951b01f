"""What the kernel shows of a container that somebody opened: LUKS, BitLocker, a mirror.

Nothing is opened here and no key is seen: ``dmsetup table`` leaves keys out, and only tells where
the bytes of the opened volume stand. Who opened a container can read it, and so can we, through the
node that is there already.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rescue.allocation.pieces import Piece, fault
from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent

_SYSTEM = Path("/sys/dev/block")
_SECTOR = 512
# The largest sector that dm-crypt encrypts at once: half of one cannot be decrypted.
CRYPT_UNIT = 4096


@dataclass(frozen=True, slots=True)
class Opened:
    """The one volume inside a container.

    Attributes:
        node: where its content can be read.
        size: bytes of it.
        pieces: places on the container, in bytes from its start.
        unit: bytes that only have a meaning together.
    """

    node: Path
    size: int
    pieces: tuple[Piece, ...]
    unit: int


def find(container: Path, length: int) -> Opened | None:
    """What lies opened on the block device ``container`` of ``length`` bytes, or None.

    Raises:
        ProgramFailed: it is opened in a way that is not understood.
    """
    try:
        status = container.stat()
    except OSError:
        return None
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    system = _SYSTEM / number
    try:
        holders = sorted((system / "holders").iterdir())
    except OSError:
        return None
    if len(holders) != 1:
        return None
    (holder,) = holders
    node = Path("/dev") / holder.name
    size = int(_text(holder / "size") or 0) * _SECTOR
    if (holder / "dm").is_dir():
        pieces = parse_table(process.run(["dmsetup", "table", str(node)]).text, number)
        unit = CRYPT_UNIT
    elif (holder / "md").is_dir():
        name = system.resolve().name
        pieces, unit = _mirror(holder / "md", name, size), 1
    else:
        return None
    if not pieces or size == 0:
        return None
    if wrong := fault(pieces, size, Extent(0, length)):
        raise ProgramFailed(f"of {node}: {wrong}")
    return Opened(node, size, pieces, unit)


def parse_table(text: str, number: str) -> tuple[Piece, ...]:
    """Pieces that a device-mapper table has on the device ``number`` ("8:3"); pure.

    dm-crypt: start length "crypt" cipher key iv-offset device offset [options]. BitLocker has
    "zero" between, where nothing of the container is shown.

    Raises:
        ProgramFailed: a line is of another kind, or of another device.
    """
    pieces = []
    for line in text.splitlines():
        words = line.split()
        try:
            start, length, kind = int(words[0]), int(words[1]), words[2]
            if kind == "zero":
                continue
            if kind != "crypt":
                raise ProgramFailed(f"a container opened by {kind} is not understood")
            if words[6] != number or any("integrity" in word for word in words[8:]):
                raise ProgramFailed("a container with a device between is not understood")
            place = int(words[7])
        except (ValueError, IndexError) as error:
            raise ProgramFailed("dmsetup printed something unexpected") from error
        pieces.append(Piece(start * _SECTOR, length * _SECTOR, place * _SECTOR))
    return tuple(pieces)


def _mirror(array: Path, member: str, size: int) -> tuple[Piece, ...]:
    """Kernel Documentation/admin-guide/md.rst: every member of a RAID 1 has all of it."""
    level, state = _text(array / "level"), _text(array / f"dev-{member}" / "state")
    if level != "raid1":
        raise ProgramFailed(f"{level or 'an unknown array'} spreads over its disks")
    if state != "in_sync" or _text(array / "sync_action") not in ("idle", "frozen"):
        raise ProgramFailed("this mirror is not in step with itself")
    offset = _text(array / f"dev-{member}" / "offset")
    if not offset.isdecimal():
        raise ProgramFailed("the place of its data is not known")
    return (Piece(0, size, int(offset) * _SECTOR),)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
