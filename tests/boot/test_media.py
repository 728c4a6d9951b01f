"""The ISO boots as a disc and as a stick, under every firmware, touches nothing, lets nobody in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.core.process import run
from tests.boot import containers, inspect, media, under_test
from tests.boot.guest import Guest, GuestFailed
from tests.boot.qemu import Accelerator, Drive, Firmware, Machine
from tests.boot.under_test import UnderTest

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1500)]

Log = Callable[[str], Path]

_SECTOR = 2048


def place_of(iso: Path, path: str) -> tuple[int, int]:
    """Offset and length of a file on the ISO, as xorriso reads it."""
    report = run(["xorriso", "-indev", iso, "-find", path, "-exec", "report_lba", "--"]).text
    for line in report.splitlines():
        if line.startswith("File data lba:"):
            _, sector, _, size, _ = line.removeprefix("File data lba:").split(",")
            return int(sector) * _SECTOR, int(size)
    raise AssertionError(f"{iso} holds no {path}")


def flip(iso: Path, path: str, offset: int) -> None:
    """Change one bit of a file on the ISO."""
    start, size = place_of(iso, path)
    assert 0 <= offset < size
    with iso.open("r+b") as file:
        file.seek(start + offset)
        byte = file.read(1)[0]
        file.seek(start + offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.root
def test_disc_under_bios_touches_nothing(
    iso: Path, machine: UnderTest, accelerator: Accelerator, room: Path, log: Log
) -> None:
    """With a real machine's disk attached for writing: its bytes are the same afterwards."""
    disk = under_test.copy(machine.disk, room / "machine.raw")
    drives = (media.disc(iso), Drive(disk, serial=under_test.SERIAL))
    with Guest(
        Machine(Firmware.BIOS, drives, 2048, network=True), accelerator, log("bios")
    ) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        assert inspect.started_by(guest) == "bios"
        inspect.nothing_failed(guest)
        inspect.disks_are_untouched(guest, {under_test.SERIAL})
        inspect.screen_shows_the_shell(guest)
        inspect.no_port_listens(guest)
        inspect.no_password_works(guest)
        assert under_test.SERIAL in inspect.ask(guest, "rescue disks --json")
        media.leave_root_shell(guest)
        assert guest.console.text.count("rescue shell ready") == 1
        guest.send("7\r")
        guest.expect("Switch the machine off", 60)
        guest.send("yes\r")
        guest.wait_off(240)
    assert run(["cmp", disk, machine.disk], check=False).status == 0, "booting wrote to the disk"


def test_stick_under_bios_checks_itself(
    iso: Path, accelerator: Accelerator, room: Path, log: Log
) -> None:
    """The menu's check says ok; one bit changed behind its back, and it says which file is bad."""
    own = under_test.copy(iso, room / "stick.iso")
    machine = Machine(Firmware.BIOS, (media.stick(own),), 2048)
    with Guest(machine, accelerator, log("bios")) as guest:
        media.start_entry(guest, "Check this medium")
        guest.expect(r"rescue medium ok: \d+ files", 120, never="rescue medium BAD[^\n]*")
        guest.expect("press any key", 60)
        # It throws away what was typed before it asks.
        time.sleep(2)
        guest.send(" ")
        media.wait_ready(guest)
        media.root_shell(guest)
        flip(own, "/live/packages.txt", 100)
        status, text = guest.shell("/usr/lib/rescue/check-medium", 60)
        assert status != 0
        assert "rescue medium BAD: live/packages.txt" in text
        assert "rescue medium ok" not in text


def test_disc_under_secure_boot(iso: Path, accelerator: Accelerator, room: Path, log: Log) -> None:
    """Locked down as it is, its kernel has what volumes inside volumes need."""
    drives = (media.disc(iso), *containers.disks(room))
    machine = Machine(Firmware.SECURE_BOOT, drives, 2048)
    with Guest(machine, accelerator, log("disc")) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        assert inspect.started_by(guest) == "uefi"
        inspect.nothing_failed(guest)
        inspect.secure_boot_is_enforced(guest)
        containers.there_and_back(guest)


def test_stick_under_uefi_can_be_pulled_out(iso: Path, accelerator: Accelerator, log: Log) -> None:
    """Loaded into memory, the media need their stick no more: programs start without it."""
    machine = Machine(Firmware.UEFI, (media.stick(iso),), 3072)
    with media.in_memory(machine, accelerator, log("uefi")) as guest:
        media.root_shell(guest)
        assert inspect.started_by(guest) == "uefi"
        inspect.disks_are_untouched(guest, {"STICK01"})
        guest.monitor.unplug("dev-drive0")
        inspect.ask(guest, "while [ -b /dev/sda ]; do sleep 1; done")
        inspect.ask(guest, "echo 3 > /proc/sys/vm/drop_caches")
        assert "sda" not in inspect.ask(guest, "rescue disks --json")
        inspect.ask(guest, "partclone.ntfs --version; mkfs.xfs -V")


def test_stick_under_secure_boot(iso: Path, accelerator: Accelerator, log: Log) -> None:
    machine = Machine(Firmware.SECURE_BOOT, (media.stick(iso),), 2048, processors=2)
    with Guest(machine, accelerator, log("stick")) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        inspect.secure_boot_is_enforced(guest)
        inspect.disks_are_untouched(guest, {"STICK01"})


def test_a_tampered_kernel_is_refused(
    iso: Path, accelerator: Accelerator, room: Path, log: Log
) -> None:
    """One bit of the kernel changed: GRUB says why it does not start it, and nothing else comes."""
    own = under_test.copy(iso, room / "tampered.iso")
    _, size = place_of(own, "/live/vmlinuz")
    flip(own, "/live/vmlinuz", size // 2)
    machine = Machine(Firmware.SECURE_BOOT, (media.disc(own),), 1024)
    with Guest(machine, accelerator, log("secureboot")) as guest:
        guest.expect("bad shim signature", 60, never="Linux version|rescue shell ready")
        with pytest.raises(GuestFailed, match="nothing in"):
            guest.expect("Linux version|Run /init|rescue shell ready", 3)
