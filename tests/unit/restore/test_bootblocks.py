"""Boot code told its new place: GRUB's first stage, its list of sectors, hidden sectors."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace

from rescue.core.extent import Extent
from rescue.core.progress import Silent
from rescue.core.units import MIB
from rescue.restore import bootblocks
from rescue.restore.layout import Place

MOVED = Place(3, Extent(10 * MIB, MIB), Extent(4 * MIB, MIB), "gpt")
SHIFT = -6 * MIB // 512


def first_stage(sector: int) -> bytes:
    head = bytearray(4096)
    struct.pack_into("<Q", head, 0x5C, sector)
    head[0x180:0x185] = b"GRUB "
    return bytes(head)


def second_stage(*blocks: tuple[int, int, int]) -> bytes:
    area = bytearray(512)
    for index, block in enumerate(blocks):
        struct.pack_into("<QHH", area, 0x1F4 - 12 * index, *block)
    return bytes(area)


def test_the_first_stage_follows_the_second() -> None:
    head, second = bootblocks.grub(first_stage(10 * MIB // 512), [MOVED], 512)
    assert struct.unpack_from("<Q", head, 0x5C) == (4 * MIB // 512,)
    assert second == 3


def test_a_first_stage_whose_second_did_not_move_is_left_alone() -> None:
    for head in (first_stage(1), first_stage(20 * MIB // 512), bytes(4096)):
        assert bootblocks.grub(head, [MOVED], 512) == (head, 0)


def test_every_entry_of_the_list() -> None:
    at = 10 * MIB // 512
    before = second_stage((at + 1, 60, 0x820), (at + 90, 7, 0xFA0), (0, 0, 0))
    after = second_stage((at + 1 + SHIFT, 60, 0x820), (at + 90 + SHIFT, 7, 0xFA0))
    assert bootblocks.block_list(before, MOVED, 512) == after


def test_what_names_sectors_elsewhere_is_no_list() -> None:
    at = 10 * MIB // 512
    for blocks in (b"\xff" * 512, bytes(range(256)) * 2, bytes(512), second_stage((at - 1, 9, 8))):
        assert bootblocks.block_list(blocks, MOVED, 512) is None


def run(tmp_path: Path, volume: bytes, second: int = -1) -> bytes:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 * MIB) + volume)
    fd = os.open(path, os.O_RDWR)
    try:
        for step in bootblocks.steps(MOVED, 512, 512, second):
            step.run(SimpleNamespace(fd=fd, path=path), Silent())  # type: ignore[arg-type]
    finally:
        os.close(fd)
    return path.read_bytes()[4 * MIB :]


def test_hidden_sectors_of_ntfs_and_its_copy(tmp_path: Path) -> None:
    boot = bytearray(512)
    boot[3:11] = b"NTFS    "
    struct.pack_into("<H", boot, 11, 512)
    struct.pack_into("<I", boot, 28, 10 * MIB // 512)
    struct.pack_into("<Q", boot, 40, 1000)
    after = run(tmp_path, bytes(boot) + bytes(999 * 512) + bytes(boot))
    wanted = (4 * MIB // 512).to_bytes(4, "little")
    assert after[28:32] == wanted and after[1000 * 512 + 28 : 1000 * 512 + 32] == wanted


def test_hidden_sectors_that_never_were_right_stay(tmp_path: Path) -> None:
    boot = bytearray(512)
    boot[3:11] = b"NTFS    "
    struct.pack_into("<H", boot, 11, 512)
    struct.pack_into("<I", boot, 28, 63)
    assert run(tmp_path, bytes(boot)) == bytes(boot)


def test_what_is_no_boot_code_stays(tmp_path: Path) -> None:
    for volume in (bytes(512), bytes(range(256)) * 2):
        assert run(tmp_path, volume) == volume


def test_only_what_the_first_stage_named_is_taken_for_a_second(tmp_path: Path) -> None:
    stage = second_stage((10 * MIB // 512 + 1, 60, 0x820))
    assert run(tmp_path, stage) == stage
    assert run(tmp_path, stage, second=0) == second_stage((4 * MIB // 512 + 1, 60, 0x820))


def test_a_second_stage_among_the_files_of_a_partition_that_moved(tmp_path: Path) -> None:
    """As grub-install makes it where there is no room in front of the partitions."""
    at = 10 * MIB // 512
    boot = bytearray(8192)
    boot[3:11] = b"NTFS    "
    boot[4096:4608] = second_stage((at + 9, 20, 0x820), (at + 100, 3, 0xAA0))
    head = first_stage(at + 8)
    assert bootblocks.second_stage(head, [MOVED], 512) == (MOVED, 4096)
    moved, number = bootblocks.grub(head, [MOVED], 512)
    assert (struct.unpack_from("<Q", moved, 0x5C), number) == ((at + 8 + SHIFT,), 3)
    after = run(tmp_path, bytes(boot), second=4096)
    wanted = second_stage((at + 9 + SHIFT, 20, 0x820), (at + 100 + SHIFT, 3, 0xAA0))
    assert after[4096:4608] == wanted
    assert bootblocks.second_stage(bytes(4096), [MOVED], 512) is None
    assert bootblocks.second_stage(first_stage(1), [MOVED], 512) is None
