"""The restore shell by keys alone, on the screen and on the serial line: capture, proof, restore.

On the screen the target is pulled out in the middle; on the serial line it is a larger disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.capture.plan import plan_capture
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.devices.discover import inspect as inspect_disk
from rescue.devices.table import read_layout
from tests.boot import inspect, media
from tests.boot.guest import Guest
from tests.boot.lines import choose, run_to, to_menu, type_it
from tests.boot.qemu import Accelerator, Drive, Firmware, Interface, Machine
from tests.boot.screen import Screen

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(1800)]

Log = Callable[[str], Path]

_SIZE = 192 * MIB


def make_machine(disk: Path, room: Path) -> None:
    """A disk with one ext4 that holds 40 MiB of what does not shrink."""
    tree, volume = room / "tree", room / "volume"
    (tree / "home").mkdir(parents=True)
    (tree / "home" / "film").write_bytes(os.urandom(40 * MIB))
    with volume.open("wb") as file:
        file.truncate(128 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-L", "root", "-d", tree, volume])
    with disk.open("wb") as file:
        file.truncate(_SIZE)
    run(["sfdisk", "--quiet", disk], input=b"label: gpt\nstart=2048, size=262144, name=root\n")
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse"])


def is_equal(one: Path, other: Path) -> bool:
    """Whether every byte in use on ``one`` is the same on ``other``."""
    used = plan_capture(one).captured
    assert used.total > 40 * MIB
    with one.open("rb") as left, other.open("rb") as right:
        return all(
            os.pread(left.fileno(), e.length, e.start)
            == os.pread(right.fileno(), e.length, e.start)
            for e in used
        )


def check_larger(disk: Path, room: Path) -> None:
    """The filesystem on the larger disk fills its room, is whole, and holds the film."""
    (part,) = read_layout(inspect_disk(disk)).partitions
    assert part.length > 310 * MIB
    volume, film = room / "grown.raw", room / "film.raw"
    words = [f"skip={part.start}", f"count={part.length}", "iflag=skip_bytes,count_bytes"]
    run(["dd", f"if={disk}", f"of={volume}", "bs=1M", *words, "conv=sparse"])
    assert run(["e2fsck", "-f", "-n", volume], check=False).status == 0
    told = run(["dumpe2fs", "-h", volume]).text
    size = [int(n) for n in re.findall(r"^Block (?:count|size): +(\d+)$", told, re.M)]
    assert part.length - size[0] * size[1] < MIB
    run(["debugfs", "-R", f"dump /home/film {film}", volume])
    assert film.read_bytes() == (room / "tree" / "home" / "film").read_bytes()


def keep(guest: Guest, log: Path) -> None:
    """A picture of the screen, beside the logs, for a person to look at."""
    log.parent.mkdir(parents=True, exist_ok=True)
    guest.monitor.screenshot(log.with_suffix(".png"))


def choose_restore(screen: Screen, image: str) -> None:
    """From the first screen to the question for the target."""
    screen.press("home", "ret")
    screen.wait(image, 60)
    screen.press("ret")
    screen.wait("The whole disk, as it was", 30)
    screen.press("ret")


_HALF = """d=$(lsblk -ndo PATH,SERIAL | sed -n 's/ *BLANK01//p')
until head -c 64 $d | grep -q 'HALF RESTORED'; do sleep 0.2; done"""


def confirm_blank(screen: Screen, *, half: bool = False) -> None:
    """The second disk of the list, or the first when it is half restored; its identity typed."""
    text = screen.wait("Onto which disk?", 30)
    assert "NOT POSSIBLE: the image is on it" in text
    assert text.count("NOT POSSIBLE") == 1, text
    order = ["BLANK01", "MACHINE01"] if half else ["MACHINE01", "BLANK01"]
    places = [text.index(serial) for serial in (*order, "LARGE01")]
    assert places == sorted(places), text
    assert ("goes on where it stopped" in text) == half, text
    screen.press(*(["home"] if half else ["home", "down"]), "ret")
    # The machine's own disk is still in it.
    screen.wait("In place of the first disk, or beside it?", 30)
    screen.press("ret")
    screen.wait("type the identity of the disk: BLANK01", 30)
    screen.type("BLANK01")


def again_in_lines(guest: Guest) -> None:
    """On the serial line: what changed, its proof, both onto a larger disk, and off."""
    guest.send("2\r")
    choose(guest, "Of which disk?", "serial MACHINE01")
    choose(guest, "What shall be in the image?", "The whole disk")
    choose(guest, "Where shall the image be kept?", "STORE")
    choose(guest, "There is an earlier image of this disk", "Only what changed since")
    choose(guest, "How small?", "")
    choose(guest, "In one file?", "Yes")
    type_it(guest, "How shall it be called?", "images/lines")
    run_to(guest, "The image is made", 90)
    guest.expect("Check the image now", 30)
    guest.send("\r")
    run_to(guest, "The image is whole", 60)
    to_menu(guest)

    guest.send("1\r")
    choose(guest, "From which image?", "images/lines.rescue on STORE")
    choose(guest, "What shall come back?", "The whole disk")
    choose(guest, "Onto which disk?", "serial LARGE01")
    choose(guest, "In place of the first disk, or beside it?", "exactly as it was")
    choose(guest, "This disk is larger: who gets the room?", "Make partition 1")
    type_it(guest, "Before anything is erased", "LARGE01")
    run_to(guest, "The disk is restored", 120)
    guest.expect("Start the machine now", 30)
    guest.send("\r")
    to_menu(guest)
    guest.send("7\r")
    guest.expect("Switch the machine off", 30)
    guest.send("yes\r")
    guest.wait_off(60)


def test_capture_proof_and_restore_by_keys_alone(
    iso: Path, accelerator: Accelerator, room: Path, log: Log
) -> None:
    """On both faces; a target that was pulled out is an equal disk in the end."""
    machine, blank, store = room / "pc.raw", room / "blank.raw", room / "store.raw"
    large = room / "large.raw"
    make_machine(machine, room)
    for path, size in ((blank, _SIZE), (store, 400 * MIB), (large, 320 * MIB)):
        with path.open("wb") as file:
            file.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-L", "STORE", store])
    drives = (
        media.disc(iso),
        Drive(machine, Interface.SATA, serial="MACHINE01"),
        Drive(blank, Interface.USB, serial="BLANK01"),
        Drive(store, serial="STORE01"),
        Drive(large, serial="LARGE01"),
    )
    with Guest(Machine(Firmware.BIOS, drives, 2048), accelerator, log("shell")) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        screen = Screen(guest)
        screen.wait("Which keyboard is this?", 30)
        screen.press("ret")
        screen.wait("serial STORE01", 30)

        screen.press("down", "ret")
        screen.wait("Of which disk?", 30)
        screen.press("ret")
        screen.wait("The whole disk: about", 30)
        screen.press("ret")
        screen.wait("STORE (vda", 60)
        screen.press("ret")
        for question in ("How small?", "Encrypt it?", "In one file?"):
            screen.wait(question, 30)
            screen.press("ret")
        screen.wait("How shall it be called?", 30)
        screen.press("ret")
        screen.wait("The image is made.", 90, never="trouble")
        screen.press("ret")
        screen.wait("The image is whole.", 60, never="trouble")
        screen.press("end", "ret")
        screen.wait("Images found: 1", 60)
        keep(guest, log("first"))

        choose_restore(screen, "(of this machine)")
        slow = {"bps": 0, "bps_rd": 0, "bps_wr": 2 * MIB, "iops": 0, "iops_rd": 0, "iops_wr": 0}
        guest.monitor.execute("block_set_io_throttle", device="drive2", **slow)
        confirm_blank(screen)
        screen.wait("writing to the disk", 60)
        assert guest.shell(_HALF.replace("\n", "; "), 60)[0] == 0
        guest.monitor.unplug("dev-drive2")
        text = screen.wait("Once more", 60)
        keep(guest, log("pulled-out"))
        assert "A disk is not there any more." in text
        assert "part of the image only" in text

        add = f"drive_add 0 if=none,id=again,format=raw,cache=unsafe,file={blank}"
        guest.monitor.execute("human-monitor-command", **{"command-line": add})
        stick = {"driver": "usb-storage", "bus": "xhci.0", "drive": "again", "removable": True}
        guest.monitor.execute("device_add", serial="BLANK01", id="dev-again", **stick)
        guest.shell("until lsblk -no SERIAL | grep -q BLANK01; do sleep 1; done; udevadm settle")
        screen.press("home", "ret")
        confirm_blank(screen, half=True)
        screen.wait("The disk is restored.", 90, never="trouble")
        screen.wait("Start the machine now", 30)
        keep(guest, log("restored"))
        inspect.disks_are_untouched(guest, {"MACHINE01", "BLANK01", "STORE01", "LARGE01"})

        media.leave_root_shell(guest)
        again_in_lines(guest)
    assert is_equal(machine, blank)
    check_larger(large, room)
