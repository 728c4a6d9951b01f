"""Which accelerator really runs guests here: found out by starting one, never by looking.

/dev/kvm may exist and still not run a kernel (seen: nested hosts whose emulated KVM ends with an
internal error in the kernel's own decompressor). The probe boots Debian's kernel and its initramfs
to a shell, which is kernel and user space; only then is KVM believed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.boot.guest import Guest, GuestFailed
from tests.boot.qemu import KVM, TCG, Accelerator, Machine
from tests.boot.qmp import MonitorFailed

CHOSEN = pytest.StashKey[str]()
LOGS = Path(__file__).parents[2] / "build" / "boot-logs"
_PROBE = "console=ttyS0 panic=-1 break=top"
_TOKEN = "Spawning shell within the initramfs"
_SECONDS = 30


def choose(kernel: Path, initrd: Path) -> Accelerator:
    """KVM where it boots ``kernel`` to user space, TCG elsewhere.

    ``RESCUE_TEST_ACCELERATOR=tcg`` (or ``kvm``) in the environment skips the probe.
    """
    wish = os.environ.get("RESCUE_TEST_ACCELERATOR", "")
    if wish:
        return {"kvm": KVM, "tcg": TCG}[wish]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    return KVM if boots(kernel, initrd, KVM) else TCG


def boots(kernel: Path, initrd: Path, accelerator: Accelerator) -> bool:
    """Whether ``kernel`` reaches its initramfs with this accelerator."""
    machine = Machine(memory=512, processors=1, kernel=kernel, initrd=initrd, append=_PROBE)
    try:
        with Guest(machine, accelerator) as guest:
            while guest.age < _SECONDS:
                if guest.console.expect(_TOKEN, 1):
                    return True
                # QEMU stops the machine at an internal error of KVM and says so only here.
                if guest.monitor.execute("query-status")["status"] != "running":
                    return False
    except (GuestFailed, MonitorFailed, OSError):
        return False
    return False
