"""The machine of the boot tests on other disks and beside its copy: it starts, by each firmware.

``ci/test`` keeps a few of these; here are all. A disk counts as started by the token alone that the
machine prints when it has found every file, its boot code and its swap as they were recorded:

    larger     twice the size, --fit all        BIOS, UEFI
    same       exactly the size                 BIOS, UEFI
    smaller    0.6 times the size, --fit all    BIOS, UEFI
    sectors    sectors of 4096 bytes            UEFI; a BIOS refuses it, as the plan said
    original   beside its copy                  BIOS, UEFI: everything on its own disk
    copy       --new-identity, beside it        BIOS, UEFI: everything on its own disk

    ci/torture starts [--only WORD]... [--folder DIR]

``--only`` takes a name, a firmware, or both (``copy-uefi``). A folder that is kept keeps the image.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.boot import accelerator as accelerators
from tests.boot import beside, under_test
from tests.boot.assemble import SIZE
from tests.boot.debian import ensure_base
from tests.boot.guest import Guest, GuestFailed
from tests.boot.qemu import Accelerator, Firmware
from tests.boot.under_test import SERIAL, UnderTest, ensure_machine
from tests.torture.calling import Wrong, must

FIRMWARE = (Firmware.BIOS, Firmware.UEFI)


@dataclass(frozen=True)
class Shape:
    """A disk to restore to."""

    size: int
    options: tuple[str, ...] = ()
    sector: int = 512


SHAPES = {
    "larger": Shape(2 * SIZE, ("--fit", "all")),
    "same": Shape(SIZE),
    "smaller": Shape(SIZE * 6 // 10 // 512 * 512, ("--fit", "all")),
    "sectors": Shape(SIZE, ("--sector-size", "4096"), 4096),
}


@dataclass(frozen=True)
class Bench:
    """The machine, its image, and a folder for the disks."""

    machine: UnderTest
    accelerator: Accelerator
    folder: Path

    @property
    def image(self) -> Path:
        """The image of the machine, made once."""
        image = self.folder / "machine.rescue"
        if not image.exists():
            must(0, "capture", self.machine.disk, image)
        return image

    def restored(self, name: str, shape: Shape, *more: str) -> Path:
        """A disk of this shape, restored now or for the case before."""
        disk = self.folder / f"{name}.raw"
        if not disk.exists():
            with disk.open("wb") as file:
                file.truncate(shape.size)
            must(0, "restore", *shape.options, *more, self.image, disk, "--erase", disk)
        return disk

    def log(self, name: str) -> Path:
        """Where the serial log is kept."""
        return accelerators.LOGS / f"starts-{name}.log"


def _starts(bench: Bench, name: str, firmware: Firmware) -> str:
    shape = SHAPES[name]
    disk = bench.restored(name, shape)
    started = UnderTest(disk, bench.machine.proof, shape.sector)
    if shape.sector != 512 and firmware is Firmware.BIOS:
        return _is_refused(bench, started)
    log = bench.log(f"{name}-{firmware}")
    match = under_test.check(started, firmware, bench.accelerator, log=log)
    return f"{match[1]} files of the root and {match[2]} of the NTFS as recorded"


def _is_refused(bench: Bench, disk: UnderTest) -> str:
    """The BIOS has no start from it, and the plan has said so."""
    plan = must(0, "restore", "--dry-run", "--sector-size", "4096", bench.image, disk.disk)
    if "a BIOS does not start from such a disk" not in plan.out:
        raise Wrong("the plan does not say that no BIOS starts from it")
    started = under_test.start(disk, Firmware.BIOS)
    with Guest(started, bench.accelerator, bench.log("sectors-bios")) as guest:
        time.sleep(10)  # its words stand on the screen alone
        if guest.console.text.strip():
            raise Wrong(f"something has started: {guest.console.tail()}")
    return "no BIOS starts from such sectors, and the plan says so"


def _beside(bench: Bench, serial: str, firmware: Firmware) -> str:
    copy = bench.restored("copy", SHAPES["same"], "--new-identity")
    log = bench.log(f"{serial}-{firmware}")
    count = beside.check(bench.machine, copy, serial, firmware, bench.accelerator, log)
    return f"root, EFI partition, NTFS and swap are its own; {count} identifiers, none in common"


def cases() -> dict[str, Callable[[Bench], str]]:
    """Every case by its name."""
    found: dict[str, Callable[[Bench], str]] = {}
    for firmware in FIRMWARE:
        for name in SHAPES:
            found[f"{name}-{firmware}"] = lambda bench, n=name, f=firmware: _starts(bench, n, f)
        for who, serial in (("original", SERIAL), ("copy", beside.COPY)):
            found[f"{who}-{firmware}"] = lambda bench, s=serial, f=firmware: _beside(bench, s, f)
    return dict(sorted(found.items()))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ci/torture starts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="a part of a case's name")
    parser.add_argument("--folder", type=Path, help="where to work; kept. A temporary one if not")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="rescue-starts-"))
    folder.mkdir(parents=True, exist_ok=True)
    base = ensure_base()
    accelerator = accelerators.choose(base.kernel, base.initrd)
    bench = Bench(ensure_machine(base, accelerator), accelerator, folder)
    failed, done = 0, 0
    for name, case in cases().items():
        if given.only and not any(word in name for word in given.only):
            continue
        begun = time.monotonic()
        try:
            told = case(bench)
        except (Wrong, GuestFailed, AssertionError) as error:
            failed += 1
            told = f"FAILED: {error}"
        done += 1
        print(f"{name}: {told} ({time.monotonic() - begun:.0f} s)", flush=True)
    if given.folder is None:
        shutil.rmtree(folder)
    print(f"{done - failed} of {done} as they must be, with {accelerator.name}")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
