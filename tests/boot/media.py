"""The rescue media under test: the ISO, its GRUB menu typed at over the serial line, its shell."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rescue.core.process import run
from tests.boot.guest import Guest, Panicked
from tests.boot.qemu import Accelerator, Drive, Interface, Machine

ROOT = Path(__file__).parents[2]
ISO = ROOT / "dist" / "rescue.iso"
READY = "rescue shell ready"

# The menu's entries, in its order.
ENTRIES = ("restore shell", "load into memory", "Check this medium", "all messages as text")
_SOURCES = ("builder", "overlays", "rescue", "ci/build", "ci/media.lock", "pyproject.toml")
_DOWN, _END, _START = "\x0e", "\x05", "\x18"  # GRUB's keys: Ctrl-N, Ctrl-E, Ctrl-X


def ensure_iso() -> Path:
    """The ISO, built by ``ci/build`` if it is missing or older than what it is made of.

    ``RESCUE_TEST_ISO`` in the environment names another one, used as it is.
    """
    if wish := os.environ.get("RESCUE_TEST_ISO"):
        return Path(wish)
    if not ISO.exists() or ISO.stat().st_mtime < _newest():
        run([ROOT / "ci" / "build"], cwd=ROOT, timeout=3000)
    return ISO


def _newest() -> float:
    """When the newest source of the ISO was changed."""
    files = [ROOT / name for name in _SOURCES]
    found = [path for top in files for path in (top.rglob("*") if top.is_dir() else [top])]
    return max(
        path.stat().st_mtime for path in found if path.is_file() and "__pycache__" not in path.parts
    )


def disc(iso: Path) -> Drive:
    """The ISO as a disc in a drive."""
    return Drive(iso, Interface.CDROM, boot=0)


def stick(iso: Path) -> Drive:
    """The ISO, byte for byte, as a USB stick that cannot be written."""
    return Drive(iso, Interface.USB, serial="STICK01", read_only=True, boot=0)


def wait_menu(guest: Guest) -> None:
    """Wait for GRUB's menu."""
    guest.expect("Use the . and . keys to select", 60)


def start_entry(guest: Guest, entry: str, arguments: str = "") -> None:
    """Choose a menu entry, as a person would, and start it.

    Args:
        entry: one of ``ENTRIES``.
        arguments: added to the kernel line in GRUB's editor, on the medium as it is.
    """
    wait_menu(guest)
    guest.send(_DOWN * ENTRIES.index(entry))
    if arguments:
        guest.send("e")
        guest.expect("Minimum Emacs-like screen editing", 60)
        # The entry is an empty line, then the one that starts the kernel.
        guest.send(f"{_DOWN}{_DOWN}{_END} {arguments}{_START}")
    else:
        guest.send("\r")
    guest.expect("loading the kernel", 60)


def start_recovery(guest: Guest) -> None:
    """Choose the first recovery of a medium that has one: the entry behind ``ENTRIES``."""
    wait_menu(guest)
    guest.send(_DOWN * len(ENTRIES) + "\r")
    guest.expect("loading the kernel", 60)


@contextmanager
def in_memory(machine: Machine, accelerator: Accelerator, log: Path) -> Iterator[Guest]:
    """The medium loaded into memory, at the restore shell.

    A kernel without KVM has been seen to panic about once in ten such starts, while the layers are
    copied. That, and nothing else, is tried a second time; a warning says so.
    """
    with ExitStack() as stack:
        try:
            guest = stack.enter_context(Guest(machine, accelerator, log))
            start_entry(guest, "load into memory")
            wait_ready(guest)
        except Panicked as error:
            stack.close()
            warnings.warn(f"started a second time after: {error}", stacklevel=2)
            again = log.with_stem(f"{log.stem}-again")
            guest = stack.enter_context(Guest(machine, accelerator, again))
            start_entry(guest, "load into memory")
            wait_ready(guest)
        yield guest


def wait_ready(guest: Guest) -> None:
    """Wait for the restore shell.

    Raises:
        GuestFailed: it did not come.
    """
    guest.expect(READY, 60)
    guest.expect("Type a number and press Enter", 60)


def root_shell(guest: Guest) -> None:
    """From the restore shell's menu into a root shell, where ``guest.shell`` works."""
    guest.send("5\r")
    guest.expect(r"[#] ?$", 60)
    # No line editing: the echo of what is typed stays on its line, and no prompt is in the way.
    guest.send("exec /bin/sh\r")
    guest.expect(r"[#] ?$", 60)
    guest.send("stty -echo; PS1=; export LC_ALL=C SYSTEMD_PAGER= TERM=dumb\r")
    guest.shell("true")


def leave_root_shell(guest: Guest) -> None:
    """Back to the menu."""
    guest.send("stty echo; exit\r")
    guest.expect("Type a number and press Enter", 60)
