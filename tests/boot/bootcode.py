"""GRUB for a disk image, without mounting it and without root: what grub-install does, by hand.

BIOS: boot.img goes into the first sector (its partition table kept), told at 0x5c which sector
comes next; core.img goes into the BIOS boot partition, told in the last 12 bytes of its own first
sector where its remainder lies (GRUB's grub-core/boot/i386/pc/boot.S and diskboot.S; util/setup.c
does the same). UEFI: one EFI program on the fallback path.
"""

from __future__ import annotations

import struct
from pathlib import Path

from rescue.core.process import run

_SECTOR = 512
_GRUB = Path("/usr/lib/grub")
_MODULES = (
    "part_gpt",
    "ext2",
    "search",
    "search_fs_uuid",
    "configfile",
    "normal",
    "linux",
    "serial",
    "terminal",
    "echo",
)
# Where diskboot.S loads the remainder: 0x8200, as a real-mode segment.
_LOAD_SEGMENT = 0x820


def make_core(target: Path, root: str, room: Path, *, efi: bool) -> None:
    """Write GRUB's core that finds /boot/grub/grub.cfg on the filesystem with UUID ``root``."""
    early = room / "early.cfg"
    early.write_text(
        f"search.fs_uuid {root} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    )
    platform, modules = ("x86_64-efi", _MODULES) if efi else ("i386-pc", ("biosdisk", *_MODULES))
    options: list[str | Path] = ["-O", platform, "-o", target, "-p", "/boot/grub", "-c", early]
    run(["grub-mkimage", *options, *modules])


def embed(disk: Path, core: bytes, start: int, length: int) -> None:
    """Write boot.img and ``core`` into ``disk``, whose BIOS boot partition is at ``start``."""
    assert len(core) <= length, "the core does not fit into the BIOS boot partition"
    sector = start // _SECTOR
    first = bytearray(core)
    rest = -(-len(core) // _SECTOR) - 1
    struct.pack_into("<QHH", first, _SECTOR - 12, sector + 1, rest, _LOAD_SEGMENT)
    boot = bytearray((_GRUB / "i386-pc" / "boot.img").read_bytes()[:_SECTOR])
    struct.pack_into("<Q", boot, 0x5C, sector)
    # Hard disks: check the drive number the BIOS gives (two NOPs for the jump over the check).
    boot[0x66:0x68] = b"\x90\x90"
    with disk.open("r+b") as file:
        boot[0x1B8:] = file.read(_SECTOR)[0x1B8:]
        file.seek(0)
        file.write(boot)
        file.seek(start)
        file.write(first)
