"""From a tree to the finished file: sums, ISO, hybrid tables, and only then its real name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from builder.iso import hybrid, master, seal
from builder.iso.tree import File, Tree
from rescue.core.digest import file_blake3
from rescue.core.errors import DiskTrouble, from_os_error
from rescue.core.progress import Reporter

SUMS = "sha256sums.txt"
BIOS_IMAGE = "boot/grub/eltorito.img"
EFI_IMAGE = "boot/grub/efi.img"
BOOT_CODE = "boot/grub/boot_hybrid.img"
"""The boot sector's code as GRUB has it, for sticks: the ISO's own is not part of its files."""
VOLUME = "RESCUE"


@dataclass(frozen=True, slots=True)
class Iso:
    """Everything an ISO is made of."""

    content: dict[str, Path | bytes]
    """Files by path, without the boot images and the list of sums."""
    eltorito: bytes
    """GRUB's BIOS image, not yet told where it lies."""
    efi: bytes
    """The EFI system partition."""
    boot_code: bytes
    seed: bytes
    """32 bytes that name this build."""
    epoch: int


def write(iso: Iso, output: Path, reporter: Reporter) -> tuple[int, str, str]:
    """Write the ISO to ``output`` by way of ``output``.partial; return size, BLAKE3, SHA-256.

    The sums are taken of every file that firmware or the check can read back, the boot images as
    they lie on the medium. An interruption or an error leaves nothing behind.

    Raises:
        DiskTrouble: a file cannot be read or written.
        UsageError: something does not fit an ISO.
    """
    boot = master.Boot(BIOS_IMAGE, EFI_IMAGE, VOLUME, iso.epoch)
    content = {
        **iso.content,
        BIOS_IMAGE: iso.eltorito,
        EFI_IMAGE: iso.efi,
        BOOT_CODE: iso.boot_code,
    }
    digest_size = 64
    lines = sum(digest_size + 2 + len(path.encode()) + 1 for path in content)
    tree = Tree.of({**content, SUMS: bytes(lines)})
    places = master.locate(tree, boot)
    tree = tree.with_content(BIOS_IMAGE, hybrid.patch_eltorito(iso.eltorito, places[BIOS_IMAGE]))

    partial = output.with_name(f"{output.name}.partial")
    try:
        reporter.start("sums of what goes on the medium", tree.total)
        sums = "".join(
            f"{file.sha256(reporter)}  {file.path}\n" for file in tree.files if file.path != SUMS
        )
        tree = tree.with_content(SUMS, sums.encode())
        reporter.finish()

        output.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w+b") as file:
            reporter.start("write the ISO", tree.total)
            master.write(tree, boot, file, reporter)
            size = file.seek(0, os.SEEK_END)
            tables = hybrid.make(
                iso.boot_code, size, places[BIOS_IMAGE], places[EFI_IMAGE], len(iso.efi), iso.seed
            )
            _lay(file.fileno(), tables)
            reporter.finish()
            reporter.start("seal of the ISO", tables.size)
            _seal(file.fileno(), size, tables.size, reporter)
            os.fsync(file.fileno())
            reporter.finish()
        reporter.start("BLAKE3 and SHA-256 of the ISO", 2 * tables.size)
        digest = file_blake3(partial, reporter)
        other = File(str(output), partial).sha256(reporter)
        reporter.finish()
        partial.rename(output)
    except OSError as error:
        raise from_os_error(error, f"write {output}") from error
    finally:
        partial.unlink(missing_ok=True)
    return tables.size, digest, other


def _lay(fd: int, tables: hybrid.Hybrid) -> None:
    """Write the hybrid tables over the finished ISO."""
    os.truncate(fd, tables.size)
    for data, offset in ((tables.head, 0), (tables.tail, tables.size - len(tables.tail))):
        if os.pwrite(fd, data, offset) != len(data):
            raise DiskTrouble("cannot write the hybrid tables: the disk is full")


def _seal(fd: int, size: int, total: int, reporter: Reporter) -> None:
    """Put the sums of every other byte into the volume descriptor."""
    made = seal.make(lambda length, at: os.pread(fd, length, at), size, total, reporter)
    os.pwrite(fd, made.encode(), seal.PLACE)
