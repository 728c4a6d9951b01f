"""The Debian of the boot tests through the restore shell by keys alone, on one of its two faces.

On the machine's first console (``screen``), or on its serial line in ``--plain`` (``serial``):

* an image of the Debian's disk is made, onto a disk that is called STORE;
* the image is checked, every chunk of it;
* it is brought back onto an empty disk, whose identity is typed;
* that disk, alone in a machine, starts, and prints the token of this very Debian, which it does
  only when every file of it is as it was.

    ci/torture shell --face screen|serial [--folder DIR] [--pictures DIR]

``--pictures`` keeps a picture of every screen, named as in docs/shell. It takes long where there is
no KVM, which is why ci/test drives a smaller disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rescue.core.process import run
from rescue.core.units import GIB
from tests.boot import accelerator as accelerators
from tests.boot import lines, media, under_test
from tests.boot.debian import ensure_base
from tests.boot.guest import Guest, GuestFailed
from tests.boot.qemu import Accelerator, Drive, Firmware, Interface, Machine
from tests.boot.screen import Screen
from tests.boot.under_test import UnderTest

NEW, STORE = "NEWDISK01", "STORE01"
LONG = 240.0
LOGS = media.ROOT / "build"


@dataclass(frozen=True, slots=True)
class Step:
    """What must stand on the screen, the name of its picture, and the keys that answer it.

    Args:
        text: is typed, and Enter after it.
        disk: the serial number of the disk to choose; Linux numbers disks as they come.
        seconds: how long it may take to come, where there is KVM.
    """

    words: str
    picture: str
    keys: tuple[str, ...] = ("ret",)
    text: str = ""
    seconds: float = 60
    disk: str = ""


_CAPTURE = (
    Step("Which keyboard is this?", "keyboard"),
    Step(f"serial {STORE}", "begin", ("home", "down", "ret")),
    Step("Of which disk?", "capture-source", (), disk=under_test.SERIAL),
    Step("The whole disk: about", "capture-what"),
    Step("STORE (", "capture-place"),
    Step("How small?", "capture-level"),
    Step("Encrypt it?", "capture-encrypt"),
    Step("In one file?", "capture-parts"),
    Step("How shall it be called?", "capture-name"),
    Step("reading the disk", "capture-runs", ()),
    Step("The image is made.", "capture-done", ("end", "ret"), seconds=LONG),
)
_CHECK = (
    Step("Images found: 1", "first", ("home", "down", "down", "ret")),
    Step("Which image?", "check-image"),
    Step("How thoroughly?", "check-level"),
    Step("checking every piece", "check-runs", ()),
    Step("The image is whole.", "check-done", ("end", "ret"), seconds=LONG),
)
_RESTORE = (
    Step("Images found: 1", "again", ("home", "ret")),
    Step("From which image?", "restore-image"),
    Step("What shall come back?", "restore-what"),
    Step("Onto which disk?", "restore-target", (), disk=NEW),
    Step("In place of the first disk, or beside it?", "restore-copy"),
    Step(f"type the identity of the disk: {NEW}", "restore-identity", (), NEW),
    Step("writing to the disk", "restore-runs", (), seconds=LONG),
    Step("The disk is restored.", "restore-done", ("end", "ret"), seconds=LONG),
)
_FILES = (
    Step("Images found: 1", "after", ("home", "down", "down", "down", "ret")),
    Step("Out of what?", "files-what"),
    Step('5-data  ntfs "data"', "files", ("esc",)),
    Step("Images found: 1", "end", ()),
)

Show = Callable[[str], None]


def walk(screen: Screen, steps: Sequence[Step], show: Show) -> None:
    """Press what a person would press, each time after having seen what is asked."""
    for step in steps:
        text = screen.wait(step.words, step.seconds, never="That did not work")
        show(step.picture)
        if step.disk:
            offered = [line for line in text.splitlines() if ", serial " in line]
            place = next(n for n, line in enumerate(offered) if step.disk in line)
            screen.press("home", *["down"] * place, "ret")
        screen.press(*step.keys)
        if step.text:
            screen.type(step.text)


def on_screen(guest: Guest, show: Show) -> None:
    """The whole way on the machine's own console, then off by the serial line."""
    media.root_shell(guest)
    screen = Screen(guest)
    for steps in (_CAPTURE, _CHECK, _RESTORE, _FILES):
        walk(screen, steps, show)
        tell(guest, steps[-1].words)
    guest.send("systemctl poweroff\r")


def on_serial(guest: Guest, _show: Show) -> None:
    """The same way on the serial line, in a shell that draws nothing."""
    guest.send("5\r")
    guest.expect(r"[#] ?$", 60)
    guest.send("exec rescue shell --plain\r")
    guest.expect(lines.MENU, 60)

    guest.send("2\r")
    lines.choose(guest, "Of which disk?", f"serial {under_test.SERIAL}")
    lines.choose(guest, "What shall be in the image?", "The whole disk")
    lines.choose(guest, "Where shall the image be kept?", "STORE")
    lines.choose(guest, "How small?", "")
    lines.choose(guest, "Encrypt it?", "No")
    lines.choose(guest, "In one file?", "Yes")
    lines.type_it(guest, "How shall it be called?", "images/debian")
    lines.run_to(guest, "The image is made", LONG)
    guest.expect("Check the image now", 60)
    guest.send("no\r")
    lines.to_menu(guest)
    tell(guest, "captured")

    guest.send("3\r")
    lines.choose(guest, "Which image?", "images/debian.rescue on STORE")
    lines.choose(guest, "How thoroughly?", "Deep")
    lines.run_to(guest, "The image is whole", LONG)
    lines.to_menu(guest)
    tell(guest, "checked")

    guest.send("1\r")
    lines.choose(guest, "From which image?", "images/debian.rescue on STORE")
    lines.choose(guest, "What shall come back?", "The whole disk")
    lines.choose(guest, "Onto which disk?", f"serial {NEW}")
    lines.choose(guest, "In place of the first disk, or beside it?", "exactly as it was")
    lines.type_it(guest, "Before anything is erased", NEW)
    lines.run_to(guest, "The disk is restored", LONG)
    guest.expect("Start the machine now", 60)
    guest.send("no\r")
    lines.to_menu(guest)
    tell(guest, "restored")
    guest.send("7\r")
    guest.expect("Switch the machine off", 60)
    guest.send("yes\r")


def tell(guest: Guest, what: str) -> None:
    """How far it is."""
    print(f"{guest.age:6.0f} s  {what}", flush=True)


def drive(
    face: str, machine: UnderTest, folder: Path, accelerator: Accelerator, pictures: Path | None
) -> Path:
    """Capture, check and restore; the disk that was restored."""
    new, store = folder / "new.raw", folder / "store.raw"
    for path, size in ((new, machine.disk.stat().st_size), (store, 2 * GIB)):
        with path.open("wb") as file:
            file.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-L", "STORE", store])
    drives = (
        media.disc(media.ensure_iso()),
        Drive(machine.disk, Interface.SATA, serial=under_test.SERIAL, snapshot=True),
        Drive(new, Interface.SATA, serial=NEW),
        Drive(store, Interface.SATA, serial=STORE),
    )
    walked = {"screen": on_screen, "serial": on_serial}[face]
    log = LOGS / f"torture-shell-{face}.log"
    with Guest(Machine(Firmware.BIOS, drives, 2048, processors=2), accelerator, log) as guest:

        def show(name: str) -> None:
            if pictures is not None:
                guest.monitor.screenshot((pictures / f"{name}.png").absolute())

        media.wait_ready(guest)
        tell(guest, "ready")
        walked(guest, show)
        guest.wait_off(60)
    return new


def main() -> int:
    """One face, from the first key to the token."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--face", choices=("screen", "serial"), default="screen")
    parser.add_argument("--folder", type=Path, help="room for 2 GB; a temporary one without it")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="a picture of each screen")
    asked = parser.parse_args()
    if asked.pictures is not None:
        asked.pictures.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    base = ensure_base()
    accelerator = accelerators.choose(base.kernel, base.initrd)
    machine = under_test.ensure_machine(base, accelerator)
    with tempfile.TemporaryDirectory(prefix="torture-shell-", dir=asked.folder) as name:
        try:
            new = drive(asked.face, machine, Path(name), accelerator, asked.pictures)
            log = LOGS / f"torture-shell-{asked.face}-restored.log"
            restored = UnderTest(new, machine.proof)
            match = under_test.check(restored, Firmware.BIOS, accelerator, log=log)
        except GuestFailed as error:
            print(f"WRONG: {error}", file=sys.stderr)
            return 1
    print(match[0].strip())
    seconds = time.monotonic() - began
    print(f"by {asked.face}: captured, checked, restored, started: {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
