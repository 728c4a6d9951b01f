"""The machine on disks twice and 0.6 times as large, and with sectors of 4 KiB: it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.core.process import run
from tests.boot import under_test
from tests.boot.assemble import NTFS, ROOT, SIZE
from tests.boot.qemu import Accelerator, Firmware
from tests.boot.under_test import UnderTest
from tests.system.test_fit import parts, verify_table
from tests.system.test_other_sectors import disk_of
from tests.system.test_round_trip import rescue

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("tenths", "firmware"), [(20, Firmware.BIOS), (6, Firmware.UEFI)], ids=["larger", "smaller"]
)
def test_the_machine_starts_from_another_disk(
    machine: UnderTest,
    accelerator: Accelerator,
    room: Path,
    log: Callable[[str], Path],
    tenths: int,
    firmware: Firmware,
) -> None:
    image, disk = room / "machine.rescue", room / "disk.raw"
    rescue("capture", machine.disk, image)
    with disk.open("wb") as file:
        file.truncate(SIZE * tenths // 10 // 512 * 512)
    rescue("restore", "--fit", "all", image, disk, "--erase", disk)
    verify_table(disk, "gpt")
    places = parts(disk)
    for place in (ROOT, NTFS):
        assert (places[place.number][1] > place.length) == (tenths > 10)
    assert "No problems found" in run(["sgdisk", "--verify", disk]).text
    under_test.check(UnderTest(disk, machine.proof), firmware, accelerator, log=log(firmware))


def test_the_machine_starts_from_sectors_of_4096(
    machine: UnderTest,
    accelerator: Accelerator,
    room: Path,
    log: Callable[[str], Path],
) -> None:
    """A disk of exactly the same size: its FAT laid out anew, its NTFS told of the sectors."""
    image, disk = room / "machine.rescue", room / "disk.raw"
    rescue("capture", machine.disk, image)
    with disk.open("wb") as file:
        file.truncate(SIZE)
    rescue("restore", "--sector-size", 4096, image, disk, "--erase", disk)
    with disk_of(disk, 4096) as loop:
        verify_table(loop, "gpt")
        for place in (ROOT, NTFS):
            assert parts(loop)[place.number] == (place.start, place.length)
    under_test.check(
        UnderTest(disk, machine.proof, 4096), Firmware.UEFI, accelerator, log=log("uefi-4096")
    )
