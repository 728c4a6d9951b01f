"""An update of a stick inside a virtual machine, on its USB disk; QEMU is killed half-way.

The rescue media are started once and their state is kept; every round goes on from it. The builder
itself, which is not on the media, lies with two ISOs on a disk beside them.
"""

from __future__ import annotations

import shutil
import site
import sys
import time
from pathlib import Path

from rescue.core.process import run
from rescue.core.units import MIB
from tests.boot import media
from tests.boot.guest import Guest
from tests.boot.qemu import TCG, Drive, Firmware, Interface, Machine
from tests.torture.calling import Wrong

SERIAL = "TORTURE"
_STORE = "store.raw"
# What the media have no wheels of; pure Python, whatever the versions are.
_PACKAGES = ("jinja2", "markupsafe", "pycdlib")
_UPDATE = (
    "cd /mnt && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/mnt python3 -m builder.cli.main usb "
    f"/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_{SERIAL}-0:0 --update --iso /mnt/{{iso}} "
    f"--erase {SERIAL} >/run/said 2>&1"
)


class InMachine:
    """The machine, as it was kept.

    Args:
        folder: holds the ISOs, the stick, and afterwards the state.
        own: what the machine is started from.
        isos: what the stick is updated to.
    """

    def __init__(self, folder: Path, own: Path, isos: tuple[Path, ...], stick: Path) -> None:
        self.folder, self.own, self.isos, self.stick = folder, own, isos, stick
        self.state = folder / "state"
        if not self.state.exists():
            self._make()

    def _make(self) -> None:
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(media.ROOT / "builder", tree / "builder", ignore=ignored)
        for name in _PACKAGES:
            shutil.copytree(Path(site.getsitepackages()[0]) / name, tree / name, ignore=ignored)
        for iso in self.isos:
            shutil.copyfile(iso, tree / iso.name)
        store = self.folder / _STORE
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
        with store.open("wb") as file:
            file.truncate((size // MIB + 64) * MIB)
        run(["mkfs.ext4", "-q", "-F", "-L", "STORE", "-m", "0", "-d", tree, store])
        shutil.rmtree(tree)
        with Guest(self._machine(), TCG, self.folder / "serial.log") as guest:
            media.start_entry(guest, media.ENTRIES[0])
            media.wait_ready(guest)
            media.root_shell(guest)
            status, text = guest.shell("udevadm settle; mount -o ro,noload LABEL=STORE /mnt", 60)
            if status:
                raise Wrong(f"the media cannot mount the store: {text}")
            # The stick is another one each time that this state goes on.
            guest.shell("echo 3 > /proc/sys/vm/drop_caches")
            guest.monitor.save(self.state)

    def _machine(self, *, incoming: bool = False) -> Machine:
        drives = (
            media.disc(self.own),
            Drive(self.folder / _STORE, serial="STORE01", read_only=True),
            Drive(self.stick, Interface.USB, serial=SERIAL),
        )
        state = self.state if incoming else None
        return Machine(Firmware.BIOS, drives, memory=1024, processors=2, incoming=state)

    def cut(self, iso: Path, seconds: float) -> bool:
        """Begin an update and kill QEMU after so long; whether it was still running.

        Raises:
            Wrong: it ended by itself, and not well.
        """
        with Guest(self._machine(incoming=True), TCG) as guest:
            guest.monitor.go_on()
            guest.shell("test -d /mnt/builder", 60)
            guest.send(f"{_UPDATE.format(iso=iso.name)}; echo UPDATE''-ENDED-$?.\n")
            match = guest.console.expect(r"UPDATE-ENDED-(\d+)\.", seconds)
            if match is None:
                if guest.console.closed:
                    raise Wrong("the machine went away by itself")
                guest.kill()
                return True
            if match[1] != "0":
                _, text = guest.shell("tail -n 5 /run/said")
                raise Wrong(f"an update ended with status {match[1]}: {text}")
            guest.shell("sync")
        return False


def measure(machine: InMachine, iso: Path, patience: float) -> float:
    """Seconds that a whole update takes, from the command on."""
    began = time.monotonic()
    if machine.cut(iso, patience):
        raise Wrong(f"an update did not end in {patience:.0f} s")
    print(f"a whole update takes {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return time.monotonic() - began
