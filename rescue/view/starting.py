"""Starting an image in QEMU: a throw-away overlay, KVM where it works, emulation elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.core.progress import Reporter
from rescue.view.loader import choose, files_of, script
from rescue.view.machine import (
    Accelerator,
    Machine,
    attached_by,
    command,
    firmware_of,
    ovmf,
    safe_serial,
)
from rescue.view.opened import OpenView
from rescue.view.qmp import Monitor

_DISPLAY = ("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "XDG_SESSION_TYPE")
_BROKEN = ("internal-error", "io-error")


def has_screen() -> bool:
    """Whether a window can be shown."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def accelerators(wish: str, cpuinfo: str | None = None) -> tuple[Accelerator, ...]:
    """What to try, in order; ``wish`` is "auto", "kvm" or "tcg".

    /dev/kvm alone says little: some hosts have a KVM without a processor behind it (kvm_pvm), which
    starts a machine and then never gets through its kernel. The processor's own flag decides.
    """
    if wish == "kvm":
        return ("kvm",)
    if wish == "tcg" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ("tcg",)
    if cpuinfo is None:
        with suppress(OSError):
            cpuinfo = Path("/proc/cpuinfo").read_text()
    flags = next((line for line in (cpuinfo or "").splitlines() if line.startswith("flags")), "")
    if not {"vmx", "svm"} & set(flags.split()):
        return ("tcg",)
    return ("kvm", "tcg")


def as_it_was(view: OpenView, firmware: str = "auto") -> Machine:
    """The machine that the image says it came from; ``firmware`` "bios" or "uefi" overrides."""
    image = view.opened.image
    assert image is not None
    manifest, sector_size = image.manifest, view.opened.sector_size
    known = firmware_of(manifest.machine, manifest.disk, manifest.layout, image.read(0, 440))
    if firmware in ("bios", "uefi"):
        known = "uefi" if firmware == "uefi" else "bios"
    is_file = manifest.disk.get("transport") == "file"
    return Machine(
        firmware=known,
        attached=attached_by(manifest.disk, sector_size),
        sector_size=sector_size,
        serial=safe_serial(manifest.disk.get("serial")),
        product="" if is_file else safe_serial(manifest.machine.get("serial"), 60),
    )


def start(view: OpenView, machine: Machine, wish: str, reporter: Reporter) -> int:
    """Run the machine until it is switched off; QEMU's status.

    Raises:
        ProgramFailed: QEMU is missing or does not start.
    """
    process.require("qemu-system-x86_64", package="qemu-system-x86")
    process.require("qemu-img", package="qemu-utils")
    tries = accelerators(wish)
    for place, accelerator in enumerate(tries):
        last = place == len(tries) - 1
        with tempfile.TemporaryDirectory(prefix="rescue-boot-") as room:
            status, broken = _run(view, machine, accelerator, Path(room))
        if not broken and (status == 0 or last):
            return status
        if last:
            raise ProgramFailed("the virtual machine stopped with an internal error")
        reporter.warn("KVM does not run this machine here: starting it again by emulation, slowly")
    raise AssertionError("unreachable")


def _run(
    view: OpenView, machine: Machine, accelerator: Accelerator, room: Path
) -> tuple[int, bool]:
    """One start: QEMU's status, and whether the accelerator broke down."""
    overlay, variables, monitor = room / "overlay.qcow2", room / "variables.fd", room / "qmp"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", view.disk, overlay])
    helper = None
    if machine.firmware == "uefi":
        shutil.copyfile(ovmf()[1], variables)
        helper = helper_for(view, room / "helper")
    words = command(machine, accelerator, overlay, variables, monitor, helper)
    shown = {name: os.environ[name] for name in _DISPLAY if name in os.environ}
    watcher = _Watcher(monitor)
    watcher.start()
    try:
        status = process.interact(words, env=shown if machine.window else None)
    finally:
        # Also when this process is told to end: the machine must not outlive its disk.
        watcher.stop()
    return status, watcher.broken


def helper_for(view: OpenView, folder: Path) -> Path | None:
    """A folder with a start-up script, when the firmware would not find the loader by itself."""
    partitions = [volume for volume in view.opened.volumes if volume.fs == "vfat"]
    found = {volume.number: files_of(view.folder / volume.folder) for volume in partitions}
    chosen = [choose(paths) for paths in found.values() if paths]
    # One that the firmware does find is enough.
    if not chosen or None in chosen or chosen[0] is None:
        return None
    folder.mkdir()
    (folder / "startup.nsh").write_text(script(chosen[0]), newline="")
    return folder


class _Watcher(threading.Thread):
    """Asks QEMU every second whether the machine runs, and ends one that its accelerator broke.

    KVM may start and still not run a kernel (nested hosts): QEMU then stops the machine, says so
    only to its monitor, and would wait for ever.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name="qmp", daemon=True)
        self._path = path
        self._ending = threading.Event()
        self.broken = False

    def run(self) -> None:
        """Watch until QEMU is gone."""
        try:
            monitor = Monitor.connect(self._path, lambda: not self._ending.is_set())
        except (ProgramFailed, OSError, ValueError):
            return
        with suppress(OSError, ValueError):
            while not self._ending.wait(1.0):
                if monitor.ask("query-status").get("status") in _BROKEN:
                    self.broken = True
                    break
            monitor.ask("quit")
        monitor.close()

    def stop(self) -> None:
        """End the machine if it still runs."""
        self._ending.set()
        self.join(timeout=5)
