"""Both disks in one machine: the copy with new identifiers starts as itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot import beside
from tests.boot.qemu import Accelerator, Firmware
from tests.boot.under_test import UnderTest
from tests.system.test_round_trip import rescue

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(600)]


def test_the_copy_starts_as_itself(
    machine: UnderTest, accelerator: Accelerator, room: Path, log: Callable[[str], Path]
) -> None:
    """By BIOS, where GRUB's core was rewritten; ci/torture starts has the other three."""
    image, disk = room / "machine.rescue", room / "copy.raw"
    rescue("capture", machine.disk, image)
    done = rescue("restore", "--new-identity", image, disk)
    assert "GRUB's core looks for the new UUID" in done.stdout
    beside.check(machine, disk, beside.COPY, Firmware.BIOS, accelerator, log("both"))
