"""Which filesystem is in a region: blkid's low-level probe, which needs no root for plain files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent

_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
# blkid(8): nothing found; conflicting signatures.
_NOTHING, _CONFLICT = 2, 8
_MAX_OUTPUT = 1 << 16


@dataclass(frozen=True, slots=True)
class Detected:
    """What blkid found.

    Attributes:
        fs: blkid's word ("ext4", "vfat", "crypto_LUKS", …); empty when nothing is known.
        conflict: signatures of two filesystems are there, so that none can be trusted.
        table: a partition table is there as well.
    """

    fs: str = ""
    label: str = ""
    uuid: str = ""
    version: str = ""
    conflict: bool = False
    table: bool = False


def detect(path: Path, region: Extent) -> Detected:
    """Probe ``region`` of a disk or plain file.

    Raises:
        ProgramFailed: blkid is missing, or could not read the disk.
    """
    command = ["blkid", "--probe", "--output", "udev"]
    command += ["--offset", str(region.start), "--size", str(region.length), str(path.absolute())]
    done = process.run(command, check=False)
    if done.status == _CONFLICT:
        return Detected(conflict=True)
    if done.status == _NOTHING:
        return Detected()
    if done.status != 0:
        raise process.failure(done)
    return parse_blkid(done.stdout)


def parse_blkid(output: bytes) -> Detected:
    """Parse ``blkid --output udev``; pure.

    Raises:
        ProgramFailed: this is not what blkid prints.
    """
    if len(output) > _MAX_OUTPUT:
        raise ProgramFailed("blkid printed more than it ever should")
    found: dict[bytes, str] = {}
    for line in output.splitlines():
        key, equals, value = line.partition(b"=")
        if not equals:
            raise ProgramFailed(f"blkid printed something unexpected: {line[:80]!r}")
        found[key] = _decode(value)
    # The _ENC forms keep what udev's plain forms replace by underscores.
    return Detected(
        fs=found.get(b"ID_FS_TYPE", ""),
        label=found.get(b"ID_FS_LABEL_ENC", found.get(b"ID_FS_LABEL", "")),
        uuid=found.get(b"ID_FS_UUID_ENC", found.get(b"ID_FS_UUID", "")),
        version=found.get(b"ID_FS_VERSION", ""),
        table=b"ID_PART_TABLE_TYPE" in found,
    )


def _decode(value: bytes) -> str:
    r"""Text of a value in which odd bytes are written as \xNN."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value)
    return raw.decode(errors="replace")
