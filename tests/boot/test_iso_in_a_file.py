"""The ISO starts from within a file on a disk, by another GRUB: as Ventoy and loopback menus do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.boot import inspect, media
from tests.boot.bootcode import embed
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Drive, Firmware, Machine
from tests.system import volumes

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(900)]

SERIAL = "HOLDER01"
ISO = "/media/rescue.iso"
_START = MIB
# What a GRUB of somebody else has: the menu of the medium needs no more than these.
_MODULES = (
    *("biosdisk", "part_msdos", "exfat", "iso9660", "loopback", "search", "search_fs_file"),
    *("normal", "configfile", "linux", "serial", "terminal", "echo", "regexp", "test", "true"),
)
_MENU = f"""
search --no-floppy --set=found --file {ISO}
set iso_path={ISO}
export iso_path
loopback loop ($found)$iso_path
set root=(loop)
set prefix=(loop)/boot/grub
configfile /boot/grub/loopback.cfg
"""


def make_disk(iso: Path, room: Path) -> Path:
    """A disk with one exFAT, as Ventoy makes it, that holds the ISO; and a GRUB before it."""
    volume, disk, core, menu = (room / name for name in ("x.volume", "x.raw", "x.core", "x.cfg"))
    size = (iso.stat().st_size // MIB + 64) * MIB
    with volume.open("wb") as file:
        file.truncate(size)
    run(["mkfs.exfat", "-L", "HOLDER", volume])
    with volumes.mounted(volumes.KINDS["exfat"], volume, room / "mounted") as root:
        target = root / ISO[1:]
        target.parent.mkdir()
        run(["cp", iso, target])
    with disk.open("wb") as file:
        file.truncate(_START + size)
    run(["sfdisk", "--quiet", disk], input=f"label: dos\nstart={_START // 512}, type=7\n".encode())
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse"])
    volume.unlink()
    menu.write_text(_MENU)
    run(["grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "/", "-c", menu, *_MODULES])
    embed(disk, core.read_bytes(), 512, _START - 512)
    return disk


def test_an_iso_in_a_file_stops_at_a_job_that_fails(
    iso: Path, accelerator: Accelerator, room: Path, log: Callable[[str], Path]
) -> None:
    """The kernel finds the file again, and with it a job that is not there.

    The screen says so and waits for a person, then the shell comes. The disk that holds the ISO
    is not one that a restore may overwrite.
    """
    disk = make_disk(iso, room)
    drive = Drive(disk, serial=SERIAL, snapshot=True, boot=0)
    with Guest(Machine(Firmware.BIOS, (drive,), 2048), accelerator, log("bios")) as guest:
        job = "rescue/jobs/absent.toml"
        media.start_entry(guest, "restore shell", f"rescue.job=medium:{job}")
        guest.expect("STOPPED: ", 60, never=media.READY)
        guest.expect(rf"error: .*{job}", 60, never=media.READY)
        guest.expect("Press Enter for the rescue shell", 60, never=media.READY)
        guest.expect(r"rescue job failed: exit \d+", 60, never=media.READY)
        # It throws away what was typed before it asks.
        time.sleep(2)
        guest.send("\r")
        media.wait_ready(guest)
        media.root_shell(guest)
        assert inspect.started_by(guest) == "bios"
        mounted = inspect.ask(guest, "findmnt -n -o SOURCE,OPTIONS /run/live/findiso")
        assert mounted.startswith("/dev/vda1 ro,"), mounted
        assert inspect.ask(guest, "findmnt -n -o SOURCE /run/live/medium").startswith("/dev/loop")
        assert inspect.ask(guest, "cat /sys/block/vda/ro") == "1"
        disks = json.loads(inspect.ask(guest, "rescue disks --json"))["disks"]
        (holder,) = (one for one in disks if one["serial"] == SERIAL)
        assert "boot medium" in json.dumps(holder), holder
