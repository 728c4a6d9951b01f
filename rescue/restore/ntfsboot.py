"""The boot sector of an NTFS told that the disk's sectors have another size. Pure.

Nothing else in an NTFS counts in sectors: clusters, records and their check numbers (one for each
512 bytes, on every disk) stay. So it can be had where a cluster is whole sectors. A copy of the
boot sector stands in the last sector of the volume.
"""

from __future__ import annotations

import struct

_BYTES, _EACH, _HIDDEN, _TOTAL = 11, 13, 28, 40
_MOST_EACH = 128


class NotSo(ValueError):
    """It cannot be told so; says why."""


def told(boot: bytes, sector: int, hidden: int | None) -> tuple[bytes, int]:
    """The boot sector for such sectors, and the byte of the volume at which its copy goes.

    Args:
        boot: the first bytes of the volume, as many as a new sector has (boot code among them).
        hidden: first sector of its partition, for boot code; None leaves what it says.

    Raises:
        NotSo: the volume cannot be on such a disk.
    """
    old, each = int.from_bytes(boot[_BYTES : _BYTES + 2], "little"), boot[_EACH]
    (total,) = struct.unpack_from("<Q", boot, _TOTAL)
    if boot[3:11] != b"NTFS    " or old not in (512, 1024, 2048, 4096) or not each or not total:
        raise NotSo("its boot sector makes no sense")
    if each > _MOST_EACH:
        each = 1 << (256 - each)  # a negative power of two
    cluster = each * old
    per_cluster = cluster // sector
    if not per_cluster:
        raise NotSo(f"its clusters of {cluster} bytes are shorter than a sector")
    if per_cluster > _MOST_EACH:
        per_cluster = 256 - (per_cluster.bit_length() - 1)
    length = (total + 1) * old
    sectors = length // sector - 1
    if sectors * sector // cluster != total * old // cluster:
        raise NotSo("its last cluster has no room beside the copy of the boot sector")
    area = bytearray(boot[:sector])
    struct.pack_into("<HB", area, _BYTES, sector, per_cluster)
    struct.pack_into("<Q", area, _TOTAL, sectors)
    if hidden is not None and hidden < 1 << 32:
        struct.pack_into("<I", area, _HIDDEN, hidden)
    return bytes(area), sectors * sector
