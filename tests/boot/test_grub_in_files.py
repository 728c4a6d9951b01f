"""GRUB installed by lists of sectors, on a filesystem that is resized: it starts all the same.

GRUB itself says the token, from its menu's file: nothing behind it matters here.
"""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Drive, Firmware, Machine
from tests.system import volumes
from tests.system.test_fit import parts
from tests.system.test_round_trip import rescue

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(300)]

_START = 63 * 512  # no room for a core in front of it
_CORE = "boot/grub/i386-pc/core.img"
_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "configfile", "serial", "terminal", "echo")


def runs(volume: Path) -> list[tuple[int, int]]:
    """Sectors of the core on the disk, as debugfs tells its blocks of 4 KiB."""
    found: list[tuple[int, int]] = []
    for block in run(["debugfs", "-R", f"blocks /{_CORE}", volume]).text.split():
        start = _START // 512 + int(block) * 8
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + 8)
        else:
            found.append((start, 8))
    return found


def make_disk(room: Path, token: str) -> tuple[Path, int]:
    """A disk whose GRUB lies at the end of its only filesystem; it, and the core's first sector."""
    volume, disk = room / "root.volume", room / "disk.raw"
    with volume.open("wb") as file:
        file.truncate(200 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^metadata_csum_seed", volume])
    config = room / "grub.cfg"
    config.write_text(f'serial --unit=0\nterminal_output serial\necho "GRUB-OK {token}"\nhalt\n')
    core = room / "core.img"
    run(["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core, *_MODULES])
    with volumes.mounted(volumes.KINDS["ext4"], volume, room / "root") as root:
        (root / _CORE).parent.mkdir(parents=True)
        (root / "boot/grub/grub.cfg").write_bytes(config.read_bytes())
        with (root / "filler").open("wb") as file:
            file.write(bytes([1]) * (150 * MIB))
        (root / _CORE).write_bytes(core.read_bytes())
        run(["sync", "-f", root])
        (root / "filler").unlink()
    (first, count), *more = runs(volume)
    area = bytearray(core.read_bytes()[:512])
    segment = 0x820
    for index, (start, sectors) in enumerate([(first + 1, count - 1), *more]):
        struct.pack_into("<QHH", area, 500 - 12 * index, start, sectors, segment)
        segment += sectors * 32
    with disk.open("wb") as file:
        file.truncate(_START + 200 * MIB)
    run(["sfdisk", "--quiet", disk], input=f"label: dos\nstart=63, size={200 * 2048}\n".encode())
    run(["dd", f"if={volume}", f"of={disk}", "bs=512", "seek=63", "conv=notrunc,sparse"])
    boot = bytearray(Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()[:512])
    struct.pack_into("<Q", boot, 0x5C, first)
    boot[0x66:0x68] = b"\x90\x90"
    with disk.open("r+b") as file:
        boot[0x1B8:] = file.read(512)[0x1B8:]
        file.seek(0)
        file.write(boot)
        file.seek(first * 512)
        file.write(area)
    volume.unlink()
    return disk, first


def test_grub_starts_from_a_shrunk_filesystem(
    accelerator: Accelerator, room: Path, log: Callable[[str], Path]
) -> None:
    token = secrets.token_hex(8)
    disk, first = make_disk(room, token)
    image, back = room / "machine.rescue", room / "back.raw"
    rescue("capture", disk, image)
    with back.open("wb") as file:
        file.truncate(100 * MIB)
    words = ["restore", "--fit", "1", image, back, "--erase", back]
    assert "list of sectors is made anew" in rescue(*words, "--dry-run").stdout
    done = rescue(*words)
    assert "GRUB's list of sectors on partition 1 was made anew" in done.stdout
    with back.open("rb") as file:
        (now,) = struct.unpack_from("<Q", file.read(512), 0x5C)
    assert now != first and now * 512 < sum(parts(back)[1]) <= 100 * MIB
    for one in (disk, back):
        drive = Drive(one, snapshot=True, boot=0)
        with Guest(Machine(Firmware.BIOS, (drive,)), accelerator, log(one.stem)) as guest:
            guest.expect(rf"GRUB-OK {re.escape(token)}", 60)
