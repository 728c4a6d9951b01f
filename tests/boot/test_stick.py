"""A made stick starts under BIOS and Secure Boot; after an update, and after one that was cut."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.usb import plan, work
from builder.usb.execute import execute
from builder.usb.layout import SECTOR
from builder.usb.payload import load, open_iso
from rescue.core.process import run
from rescue.core.progress import Silent
from rescue.core.units import MIB
from rescue.devices.discover import inspect
from rescue.devices.table import read_layout
from rescue.devices.target import confirm
from tests.boot import inspect as inside
from tests.boot import media
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Drive, Firmware, Interface, Machine

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(1500)]

SIZE = 2048 * MIB
SERIAL = "MADE0001"


def builder(*words: str | Path) -> None:
    run([sys.executable, "-m", "builder.cli.main", *words], cwd=media.ROOT)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def started(stick: Path) -> Drive:
    return Drive(stick, Interface.USB, serial=SERIAL, snapshot=True, boot=0)


def new_key(path: Path) -> tuple[Path, str]:
    """A key pair: the private file, and the public line."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
    return path, Path(f"{path}.pub").read_text().strip()


def remember(stick: Path, where: Path, files: dict[str, str]) -> None:
    """Put files into the folder ``rescue`` of the data partition, as another computer does."""
    part = read_layout(inspect(stick)).partition(5)
    assert part is not None
    place = ["--offset", str(part.start), "--sizelimit", str(part.length)]
    loop = run(["losetup", "--find", "--show", *place, stick]).text.strip()
    where.mkdir()
    try:
        run(["mount.exfat-fuse", loop, where])
        try:
            (where / "rescue").mkdir()
            for name, text in files.items():
                (where / "rescue" / name).write_text(text)
        finally:
            run(["umount", where])
    finally:
        # FUSE writes its last blocks after umount has returned; --detach waits for no one.
        run(["blockdev", "--flushbufs", loop], check=False)
        run(["losetup", "--detach", loop])


def update_until_between_the_switches(stick: Path, iso: Path) -> None:
    """What a power cut leaves at the worst moment: BIOS has the new GRUB, the menus are the old."""
    with open_iso(iso, Silent()) as opened:
        state = work.look(inspect(stick))
        assert state is not None
        assert state.active is not None
        with confirm(stick, erase=str(stick), needed=0) as target:
            with stick.open("rb") as file:
                mbr = file.read(SECTOR)
            steps = plan.update(state.stick, load(opened, state.stick), state.active, mbr)
            switches = [
                number
                for number, step in enumerate(steps)
                if isinstance(step, plan.Put) and step.switch
            ]
            assert len(switches) == 2
            execute(steps[: switches[1]], {"system": opened.read}, target, Silent())


def test_a_stick_starts_before_in_the_middle_of_and_after_an_update(
    iso: Path, accelerator: Accelerator, room: Path, log: Callable[[str], Path]
) -> None:
    stick = room / "stick.raw"
    with stick.open("wb") as file:
        file.truncate(SIZE)
    recipe = room / "two.toml"
    key, public = new_key(room / "key.recipe")
    stick_key, on_stick = new_key(room / "key.stick")
    recipe.write_text(f'menu_title = "Second"\nssh_authorized_keys = ["{public}"]\n')
    second = room / "two.iso"
    builder("iso", second, "--recipe", recipe)
    builder("usb", stick, "--iso", iso, "--erase", stick)
    remember(stick, room / "mounted", {"authorized_keys": f"{on_stick}\n", "wifi.conf": "#\n"})
    update_until_between_the_switches(stick, second)

    machine = Machine(Firmware.BIOS, (started(stick),), 2048, network=True, ssh=free_port())
    with Guest(machine, accelerator, log("bios-cut")) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        assert inside.started_by(guest) == "bios"
        assert inside.ask(guest, "findmnt -n -o SOURCE /run/live/medium") == "/dev/sda3"
        done = "systemctl show -P ActiveState rescue-remembered@sda5.service | grep -qx active"
        inside.ask(guest, f"for i in $(seq 60); do {done} && break; sleep 1; done; {done}")
        inside.disks_are_untouched(guest, {SERIAL})
        mounted = "mount -o ro /dev/disk/by-label/RESCUE-DATA /mnt && findmnt -n -o FSTYPE /mnt"
        assert "exfat" in inside.ask(guest, mounted)
        inside.ask(guest, "umount /mnt")
        # The stick's own key, with no word of keys in the recipe.
        inside.only_keys_open_port_22(guest, stick_key)
        assert inside.ask(guest, "stat -c %a /etc/rescue/wifi.conf") == "600"
        first_keys = inside.host_keys(guest)

    builder("usb", stick, "--update", "--iso", second, "--erase", stick)
    machine = Machine(Firmware.SECURE_BOOT, (started(stick),), 2048, network=True, ssh=free_port())
    with Guest(machine, accelerator, log("secureboot-updated")) as guest:
        guest.expect("Second: restore shell", 60)
        media.wait_ready(guest)
        media.root_shell(guest)
        inside.secure_boot_is_enforced(guest)
        assert inside.ask(guest, "findmnt -n -o SOURCE /run/live/medium") == "/dev/sda4"
        inside.ask(guest, "/usr/lib/rescue/check-medium")
        inside.only_keys_open_port_22(guest, key)
        assert not first_keys & inside.host_keys(guest), "two starts have the same host key"
