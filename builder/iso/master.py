"""ISO 9660 with Rock Ridge and El Torito, by pycdlib: the only module that imports it.

pycdlib's own hybrid writing wants isolinux, so the tables for sticks are written elsewhere
(``hybrid``). Its clock is replaced while it works, so that equal input gives equal bytes.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import struct_time
from typing import Any, BinaryIO

from builder.iso.tree import Names, Tree
from rescue.core.errors import DiskTrouble, ImageDamaged
from rescue.core.progress import Reporter

SECTOR = 2048
CATALOG = "boot/grub/boot.cat"
_FILE_MODE = 0o100444


@dataclass(frozen=True, slots=True)
class Boot:
    """Which files of the tree the firmware starts; both empty on a disc that starts nothing."""

    bios: str
    efi: str
    volume: str
    """Volume identifier, at most 32 upper case letters, digits and _."""
    epoch: int
    """Seconds since 1970 for every date on the medium."""


def locate(tree: Tree, boot: Boot) -> dict[str, int]:
    """The sector (2,048 bytes) at which each boot image will lie; nothing is written."""
    with _assembled(tree, boot) as (iso, names):
        iso.force_consistency()
        return {
            path: int(iso.get_record(iso_path=names.file(path)).extent_location())
            for path in (boot.bios, boot.efi)
        }


def write(tree: Tree, boot: Boot, file: BinaryIO, reporter: Reporter) -> None:
    """Write the ISO to ``file``; reports bytes.

    Raises:
        DiskTrouble: a write failed.
    """
    last = 0

    def progress(done: int, total: int) -> None:
        nonlocal last
        reporter.advance(done - last)
        last = done

    with _assembled(tree, boot) as (iso, _):
        try:
            iso.write_fp(file, blocksize=1 << 20, progress_cb=progress)
        except OSError as error:
            raise DiskTrouble(f"cannot write the ISO: {(error.strerror or '').lower()}") from error


def places(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Every file of a finished ISO: its path to its offset and length in bytes.

    Raises:
        ImageDamaged: its descriptors or folders make no sense.
    """
    import pycdlib

    iso = pycdlib.PyCdlib()
    try:
        iso.open_fp(file)
        found: dict[str, tuple[int, int]] = {}
        for folder, _, names in iso.walk(rr_path="/"):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                record = iso.get_record(rr_path=path)
                found[path[1:]] = (
                    int(record.extent_location()) * SECTOR,
                    int(record.get_data_length()),
                )
        iso.close()
        return found
    except Exception as error:
        # pycdlib meets damage with its own errors, and with whatever its parsing trips over.
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageDamaged(f"the folders of the ISO cannot be read: {words}") from error


@contextmanager
def _assembled(tree: Tree, boot: Boot) -> Iterator[tuple[Any, Names]]:
    import pycdlib

    names = Names()
    with ExitStack() as stack:
        stack.enter_context(_fixed_clock(boot.epoch))
        iso = pycdlib.PyCdlib()
        iso.new(
            interchange_level=3,
            rock_ridge="1.09",
            sys_ident="LINUX",
            vol_ident=boot.volume,
            app_ident_str="RESCUE BUILDER",
        )
        stack.callback(iso.close)
        for folder in tree.folders:
            iso.add_directory(names.folder(folder), rr_name=folder.rpartition("/")[2])
        for item in tree.files:
            source: BinaryIO = (
                io.BytesIO(item.source)
                if isinstance(item.source, bytes)
                else stack.enter_context(Path(item.source).open("rb"))
            )
            iso.add_fp(
                source,
                item.size,
                names.file(item.path),
                rr_name=item.path.rpartition("/")[2],
                file_mode=_FILE_MODE,
            )
        if not boot.bios:
            yield iso, names
            return
        # Four sectors are what a BIOS loads; GRUB's first stage loads the rest by itself.
        iso.add_eltorito(
            names.file(boot.bios),
            bootcatfile=names.file(CATALOG),
            rr_bootcatname=CATALOG.rpartition("/")[2],
            boot_load_size=4,
        )
        iso.add_eltorito(names.file(boot.efi), efi=True, platform_id=0xEF)
        yield iso, names


class _Clock:
    """Stands in for the module ``time`` inside pycdlib: one moment, in UTC."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        """Always the same moment."""
        return float(self.epoch)

    def localtime(self, seconds: float | None = None) -> struct_time:
        """UTC, whatever the host's time zone."""
        return time.gmtime(self.epoch if seconds is None else seconds)


@contextmanager
def _fixed_clock(epoch: int) -> Iterator[None]:
    clock = _Clock(epoch)
    changed = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("pycdlib") and getattr(module, "time", None) is time
    ]
    for module in changed:
        module.time = clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in changed:
            module.time = time  # type: ignore[attr-defined]
