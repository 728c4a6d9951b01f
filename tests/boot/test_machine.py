"""The machine under test is what it says: a changed bit takes its token away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.core.process import run
from tests.boot import under_test
from tests.boot.assemble import NTFS, ROOT, Place
from tests.boot.files import AWKWARD_NTFS, content
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Firmware
from tests.boot.under_test import UnderTest

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(1800)]

Log = Callable[[str], Path]


def flip(disk: Path, needle: bytes, place: Place) -> None:
    """Change one bit of the first place in the partition where ``disk`` holds ``needle``."""
    step = 8 << 20
    with disk.open("r+b") as file:
        at, before = place.start, b""
        file.seek(at)
        while data := file.read(step):
            found = (before + data).find(needle)
            if found >= 0:
                file.seek(at - len(before) + found)
                file.write(bytes([needle[0] ^ 1]))
                return
            at, before = at + len(data), data[-len(needle) :]
    raise AssertionError("the disk does not hold what was to be changed")


def test_a_changed_bit_takes_the_token_away(
    machine: UnderTest, accelerator: Accelerator, room: Path, log: Log
) -> None:
    """Under UEFI, which proves that way of starting too: the check runs, and refuses."""
    disk = under_test.copy(machine.disk, room / "changed.raw")
    flip(disk, content("note 107", 50 + 107 * 7)[100:164], ROOT)
    flip(disk, content("film", 24 << 20)[-64:], NTFS)
    root = f"{disk}?offset={ROOT.start}"
    run(["debugfs", "-w", "-R", "write /etc/hostname /home/nobody-made-this", root])
    damaged = under_test.UnderTest(disk, machine.proof)
    with Guest(under_test.start(damaged, Firmware.UEFI), accelerator, log("uefi")) as guest:
        nonce = guest.machine.nonce
        verdict = rf"^MACHINE-BAD {nonce} firmware=uefi: not as recorded"
        guest.expect(verdict, 120, never="MACHINE-OK")
        found = re.findall(
            rf"MACHINE-BAD {nonce} (\w+) content: ./(.*): FAILED", guest.console.text
        )
        assert re.search(rf"MACHINE-BAD {nonce} root entry: .*nobody-made-this", guest.console.text)
    assert set(found) == {("root", "home/many/0107.note"), ("ntfs", "photos/film.bin")}


def test_awkward_names_are_awkward() -> None:
    """The list keeps what it is for: long, not ASCII, dots and spaces at the end."""
    assert any(len(name) == 255 for name in AWKWARD_NTFS)
    assert any(name.endswith(".") for name in AWKWARD_NTFS)
    assert any(name.endswith(" ") for name in AWKWARD_NTFS)
    assert any(max(map(ord, name)) > 0xFFFF for name in AWKWARD_NTFS)
