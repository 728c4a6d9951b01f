"""What an ISO gives to a stick: its filesystem, GRUB for both firmwares, the signed chain.

A stick is made of an ISO alone, so that the one that was tested is the one that is written.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.bootloader import grub
from builder.iso.opened import Opened, reader
from builder.iso.write import BIOS_IMAGE, BOOT_CODE, EFI_IMAGE
from builder.usb.layout import CORE_AREA, EFI_NUMBER, SECTOR, Stick
from rescue.core import process
from rescue.core.errors import ImageDamaged, UsageError, from_os_error
from rescue.core.progress import Reporter

_CDROM_PART = 2048
"""GRUB's El Torito image begins with what a disc needs; behind it lies a core image for disks."""
# grub: include/grub/offsets.h, GRUB_BOOT_MACHINE_LIST and GRUB_DECOMPRESSOR_I386_PC_BOOT_DEVICE
_BLOCK_LIST = 0x1F4
_BOOT_DEVICE = SECTOR + 0x18
_SIGNED = ("EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/GRUBX64.EFI", "EFI/BOOT/MMX64.EFI")


@dataclass(frozen=True, slots=True)
class Payload:
    """Parts of one ISO.

    Attributes:
        size: end of its filesystem.
        build: what /.disk/info says.
        boot_code: GRUB's boot sector.
        core: GRUB's BIOS core image, not told yet where it lies.
        efi: path to content of the signed programs.
    """

    size: int
    build: str
    boot_code: bytes
    core: bytes
    efi: dict[str, bytes]

    def core_at(self, sector: int) -> bytes:
        """The core image for its place, told that its menu is on the EFI partition.

        Raises:
            ImageDamaged: it is no core image of GRUB.
        """
        if len(self.core) > CORE_AREA or self.core[_BOOT_DEVICE : _BOOT_DEVICE + 4] != (
            b"\xff\xff\xff\0"
        ):
            raise ImageDamaged("the ISO's BIOS boot image is not one that a stick can start")
        data = bytearray(self.core)
        struct.pack_into("<Q", data, _BLOCK_LIST, sector + 1)
        # A little-endian word: an unused byte, BSD partition, partition counted from 0, drive.
        data[_BOOT_DEVICE + 2] = EFI_NUMBER - 1
        return bytes(data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0"))

    def tree(self, system: int) -> dict[str, bytes]:
        """The files of a system's half of the EFI partition."""
        slots = tuple(f"gpt{EFI_NUMBER + 1 + slot}" for slot in (system, 1 - system))
        return {**self.efi, "boot/grub/grub.cfg": grub.render_stick(slots).encode()}


def load(opened: Opened, stick: Stick | None = None) -> Payload:
    """Take the parts out of an ISO.

    Raises:
        ImageDamaged: one is missing.
        UsageError: ``stick`` has slots that are too small.
        ProgramFailed: mtools are missing.
    """
    size = opened.seal.size
    if stick is not None and size > stick.slot_size:
        raise UsageError(
            f"the system is {size} bytes, and the stick's slots have {stick.slot_size}",
            hint="save what is on the data partition, then write the stick anew without --update",
        )
    eltorito = opened.file(BIOS_IMAGE)
    return Payload(
        size,
        opened.build(),
        opened.file(BOOT_CODE),
        eltorito[_CDROM_PART:],
        _signed(opened.file(EFI_IMAGE)),
    )


def _signed(image: bytes) -> dict[str, bytes]:
    """The signed programs in a FAT image."""
    process.require("mcopy", package="mtools")
    with tempfile.TemporaryDirectory(prefix="efi-") as folder:
        path = Path(folder) / "efi.img"
        path.write_bytes(image)
        return {
            name: process.run(["mcopy", "-i", path, f"::/{name}", "-"]).stdout for name in _SIGNED
        }


@contextmanager
def open_iso(path: Path, reporter: Reporter) -> Iterator[Opened]:
    """An ISO file, after every byte of it was compared with its seal.

    Raises:
        DiskTrouble: it cannot be read.
        UsageError: it is not an ISO of this program, or one of an earlier version.
        ImageDamaged: it is not what was built.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(error, f"open {path}") from error
    try:
        opened = Opened.of(reader(fd), str(path), whole=True)
        if opened is None:
            raise UsageError(
                f"{path} is not a sealed ISO of rescue-builder",
                hint="make one: rescue-builder iso rescue.iso",
            )
        reporter.start(f"check {path.name}", opened.to_check)
        wrong = opened.check_seal(reporter)
        if wrong:
            raise ImageDamaged(f"{path}: {wrong[0]}", hint="build or copy it again")
        reporter.finish()
        yield opened
    finally:
        os.close(fd)
