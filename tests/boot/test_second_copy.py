"""Both disks in one machine: the copy with new identifiers starts as itself."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.guest import PANIC, Guest
from tests.boot.qemu import Accelerator, Drive, Firmware, Machine
from tests.boot.under_test import SERIAL, UnderTest
from tests.system.test_round_trip import rescue

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(600)]

# What the machine finds changed when it compares itself with what was recorded: the files that
# name a disk. Of the original it would find nothing changed at all.
_CHANGED = {"./boot/grub/grub.cfg", "./etc/fstab", "./EFI/BOOT/BOOTX64.EFI"}


def test_the_copy_starts_as_itself(
    machine: UnderTest, accelerator: Accelerator, room: Path, log: Callable[[str], Path]
) -> None:
    image, disk = room / "machine.rescue", room / "copy.raw"
    rescue("capture", machine.disk, image)
    done = rescue("restore", "--new-identity", image, disk)
    assert "GRUB's core looks for the new UUID" in done.stdout
    # The original comes first on the bus: whatever goes by name or order would find it.
    drives = (
        Drive(machine.disk, serial=SERIAL, snapshot=True, boot=1),
        Drive(disk, serial="COPY", snapshot=True, boot=0),
    )
    started = Machine(Firmware.BIOS, drives, memory=768, nonce=secrets.token_hex(8))
    with Guest(started, accelerator, log("both")) as guest:
        bad = f"MACHINE-BAD {started.nonce}"
        guest.expect(rf"{bad} firmware=bios: not as recorded", 120, never=rf"MACHINE-OK|{PANIC}")
        text = guest.console.text
    # Root and EFI partition are the copy's; its swap is on, as its fstab names it.
    assert set(re.findall(rf"{bad} \w+ content: (\S+): FAILED", text)) == _CHANGED
    assert f"{bad} swap:" not in text and "is not mounted" not in text
