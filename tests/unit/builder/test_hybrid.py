"""MBR, GPT and GRUB's pointers, decoded again from the specification's offsets."""

from __future__ import annotations

import struct
import uuid
import zlib

import pytest

from builder.iso import hybrid
from rescue.core.errors import ProgramFailed

SEED = bytes(range(32))
CODE = bytes(range(256)) + bytes(254) + b"\x55\xaa"
ISO_SIZE = 300 * 2048 * 512 + 2048


def made() -> hybrid.Hybrid:
    return hybrid.make(CODE, ISO_SIZE, 2600, 31, 5 << 20, SEED)


def test_the_file_ends_on_a_whole_mib_behind_both_tables() -> None:
    tables = made()
    assert tables.size % (1 << 20) == 0
    assert tables.size - len(tables.tail) >= ISO_SIZE
    assert len(tables.head) == 34 * 512 <= 32768
    assert len(tables.tail) == 33 * 512


def test_boot_code_is_kept_but_for_the_pointer() -> None:
    head = made().head
    assert head[:0x1B0] == CODE[:0x1B0]
    assert struct.unpack_from("<Q", head, 0x1B0) == (2600 * 4 + 4,)
    assert head[510:512] == b"\x55\xaa"


def test_the_protective_entry_covers_the_file_and_is_not_active() -> None:
    tables = made()
    status, kind, start, count = struct.unpack_from("<B3xB3xII", tables.head, 446)
    assert (status, kind, start) == (0, 0xEE, 1)
    assert count == tables.size // 512 - 1


@pytest.mark.parametrize("backup", [False, True])
def test_each_header_checks_out(backup: bool) -> None:
    tables = made()
    sectors = tables.size // 512
    header = tables.tail[-512:] if backup else tables.head[512:1024]
    table = tables.tail[:-512] if backup else tables.head[1024:]
    signature, revision, size, crc = struct.unpack_from("<8sIII", header)
    assert (signature, revision, size) == (b"EFI PART", 0x10000, 92)
    assert crc == zlib.crc32(header[:16] + bytes(4) + header[20:92])
    here, other, first, last = struct.unpack_from("<QQQQ", header, 24)
    assert (here, other) == ((sectors - 1, 1) if backup else (1, sectors - 1))
    assert (first, last) == (34, sectors - 34)
    at, entries, entry_size, table_crc = struct.unpack_from("<QIII", header, 72)
    assert at == (sectors - 33 if backup else 2)
    assert (entries, entry_size, table_crc) == (128, 128, zlib.crc32(table))


def test_the_partitions_lie_where_the_iso_has_them() -> None:
    table = made().head[1024:]
    kind, unique, first, last = struct.unpack_from("<16s16sQQ", table)
    assert uuid.UUID(bytes_le=kind) == hybrid.ESP_TYPE
    assert (first, last) == (31 * 4, 31 * 4 + (5 << 20) // 512 - 1)
    kind, other, data_first, data_last = struct.unpack_from("<16s16sQQ", table, 128)
    assert uuid.UUID(bytes_le=kind) == hybrid.DATA_TYPE
    assert data_first == last + 1
    assert data_last <= made().size // 512 - 34
    assert (data_last + 1) % 4 == 0
    assert unique != other


def test_another_build_has_other_guids() -> None:
    other = hybrid.make(CODE, ISO_SIZE, 2600, 31, 5 << 20, bytes(32))
    assert other.head[512 + 56 : 512 + 72] != made().head[512 + 56 : 512 + 72]


def test_a_file_that_is_no_boot_sector_is_refused() -> None:
    with pytest.raises(ProgramFailed, match="not a boot sector"):
        hybrid.make(bytes(512), ISO_SIZE, 2600, 31, 5 << 20, SEED)


def test_eltorito_gets_its_pointer_and_boot_info_table() -> None:
    image = bytes(range(256)) * 40 + b"xyz"
    patched = hybrid.patch_eltorito(image, 2600)
    assert len(patched) == len(image)
    assert struct.unpack_from("<Q", patched, 2548) == (2600 * 4 + 5,)
    volume, block, length, checksum = struct.unpack_from("<IIII", patched, 8)
    assert (volume, block, length) == (16, 2600, len(image))
    body = patched[64:] + b"\0"
    words = struct.unpack(f"<{len(body) // 4}I", body)
    assert checksum == sum(words) % (1 << 32)
    assert patched[24:64] == bytes(40)
    kept = [i for i in range(64, len(image)) if not 2548 <= i < 2556]
    assert all(patched[i] == image[i] for i in kept)


def test_a_short_image_is_not_grubs() -> None:
    with pytest.raises(ProgramFailed, match="too short"):
        hybrid.patch_eltorito(bytes(2000), 1)
