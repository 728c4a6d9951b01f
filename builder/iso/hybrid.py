"""What makes the ISO a disk too: MBR and GPT around it, and GRUB told where its image lies.

Pure functions over bytes. Offsets follow the UEFI specification (5.2, 5.3) and GRUB's own sources:
``boot_hybrid.img`` reads at 0x1b0 the 512-byte sector of the El Torito image's second part, and
the El Torito image reads at 2548 where its own second part begins, both counted from the start of
the medium. A 2,048-byte sector is four of them.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

from rescue.core.errors import ProgramFailed

SECTOR = 512
PER_BLOCK = 4
ENTRIES = 128
ENTRY_SIZE = 128
TABLE_SECTORS = ENTRIES * ENTRY_SIZE // SECTOR
ALIGN = 1 << 20
"""The file ends on a whole MiB: some firmware reads a stick in large pieces."""

ESP_TYPE = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
DATA_TYPE = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_READ_ONLY = 1 << 60

_MBR_KERNEL = 0x1B0
_MBR_CODE = 440
_ELTORITO_KERNEL = 2548
_BOOT_INFO = 8
_BOOT_INFO_SIZE = 56
_VOLUME_DESCRIPTOR = 16


@dataclass(frozen=True, slots=True)
class Partition:
    """One GPT entry; sectors of 512 bytes, ``last`` inclusive."""

    kind: uuid.UUID
    unique: uuid.UUID
    first: int
    last: int
    name: str
    attributes: int = 0


@dataclass(frozen=True, slots=True)
class Hybrid:
    """What to write over the finished ISO."""

    head: bytes
    """MBR, GPT header and table: from byte 0, within ISO 9660's unused 32 KiB."""
    tail: bytes
    """Backup table and header: the last bytes of the file."""
    size: int
    """Length of the file with its tail."""


def patch_eltorito(image: bytes, block: int) -> bytes:
    """GRUB's El Torito image for its place on the medium (``block`` of 2,048 bytes).

    Writes GRUB's pointer, then the boot info table, whose checksum covers the pointer.

    Raises:
        ProgramFailed: the image is too short to be GRUB's.
    """
    if len(image) < _ELTORITO_KERNEL + 8:
        raise ProgramFailed("grub-mkimage made an El Torito image that is too short")
    data = bytearray(image)
    struct.pack_into("<Q", data, _ELTORITO_KERNEL, block * PER_BLOCK + 5)
    body = bytes(data[64:])
    body += bytes(-len(body) % 4)
    checksum = sum(struct.unpack(f"<{len(body) // 4}I", body)) & 0xFFFFFFFF
    table = struct.pack("<IIII", _VOLUME_DESCRIPTOR, block, len(image), checksum)
    data[_BOOT_INFO : _BOOT_INFO + _BOOT_INFO_SIZE] = table.ljust(_BOOT_INFO_SIZE, b"\0")
    return bytes(data)


def make(
    boot_code: bytes, iso_size: int, eltorito_block: int, esp_block: int, esp_size: int, seed: bytes
) -> Hybrid:
    """MBR and GPT for an ISO of ``iso_size`` bytes.

    Args:
        boot_code: GRUB's boot_hybrid.img.
        seed: at least 32 bytes that name this build; the GUIDs are made of them.

    Raises:
        ProgramFailed: ``boot_code`` is not a boot sector.
    """
    size = -(-(iso_size + (TABLE_SECTORS + 1) * SECTOR) // ALIGN) * ALIGN
    sectors = size // SECTOR
    first_usable, last_usable = TABLE_SECTORS + 2, sectors - TABLE_SECTORS - 2
    esp_first = esp_block * PER_BLOCK
    esp_last = esp_first + esp_size // SECTOR - 1
    data_last = (last_usable + 1) // PER_BLOCK * PER_BLOCK - 1
    partitions = (
        Partition(ESP_TYPE, _guid(seed, 1), esp_first, esp_last, "rescue EFI", _READ_ONLY),
        Partition(DATA_TYPE, _guid(seed, 2), esp_last + 1, data_last, "rescue data", _READ_ONLY),
    )
    table = b"".join(_entry(partition) for partition in partitions)
    table = table.ljust(ENTRIES * ENTRY_SIZE, b"\0")

    def header(here: int, other: int, table_at: int) -> bytes:
        fields = struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x00010000,
            92,
            0,
            0,
            here,
            other,
            first_usable,
            last_usable,
            _guid(seed, 0).bytes_le,
            table_at,
            ENTRIES,
            ENTRY_SIZE,
            zlib.crc32(table),
        )
        checked = fields[:16] + struct.pack("<I", zlib.crc32(fields)) + fields[20:]
        return checked.ljust(SECTOR, b"\0")

    kernel = eltorito_block * PER_BLOCK + 4
    mbr = boot_sector(boot_code, kernel, sectors, seed[28:32])
    return Hybrid(
        head=mbr + header(1, sectors - 1, 2) + table,
        tail=table + header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS),
        size=size,
    )


def boot_sector(boot_code: bytes, kernel: int, sectors: int, signature: bytes) -> bytes:
    """A protective MBR that starts GRUB from the 512-byte sector ``kernel`` of the disk.

    Args:
        boot_code: GRUB's boot_hybrid.img, or a sector that begins with it.
        sectors: of the whole disk.
        signature: four bytes, the MBR's disk signature.

    Raises:
        ProgramFailed: ``boot_code`` is not a boot sector.
    """
    if len(boot_code) != SECTOR or boot_code[510:] != b"\x55\xaa":
        raise ProgramFailed("GRUB's boot_hybrid.img is not a boot sector")
    data = bytearray(SECTOR)
    data[:_MBR_CODE] = boot_code[:_MBR_CODE]
    struct.pack_into("<Q", data, _MBR_KERNEL, kernel)
    data[440:444] = signature
    protective = struct.pack(
        "<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF)
    )
    # Some BIOSes start only a disk with an active partition; UEFI forbids the flag on the
    # protective one. An empty entry may carry it: firmware that reads it skips type 0.
    active = struct.pack("<B3sB3sII", 0x80, b"\0\0\0", 0, b"\0\0\0", 0, 1)
    data[446:510] = (protective + active).ljust(64, b"\0")
    data[510:] = b"\x55\xaa"
    return bytes(data)


def _entry(partition: Partition) -> bytes:
    return struct.pack(
        "<16s16sQQQ72s",
        partition.kind.bytes_le,
        partition.unique.bytes_le,
        partition.first,
        partition.last,
        partition.attributes,
        partition.name.encode("utf-16-le"),
    )


def _guid(seed: bytes, number: int) -> uuid.UUID:
    """A version 8 (RFC 9562) GUID of the build and a number."""
    value = bytearray(seed[:16])
    value[15] ^= number
    value[6] = (value[6] & 0x0F) | 0x80
    value[8] = (value[8] & 0x3F) | 0x80
    return uuid.UUID(bytes=bytes(value))
