"""The machine and its copy in one machine: each must start as itself, and share no identifier."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from tests.boot.guest import PANIC, Guest
from tests.boot.identifiers import identifiers
from tests.boot.qemu import Accelerator, Drive, Firmware, Machine
from tests.boot.under_test import SERIAL, UnderTest

COPY = "COPY01"
# What the copy finds changed when it compares itself with what was recorded: the files that name a
# disk. (And GRUB's core, which looks for the root.) The original finds nothing changed at all.
CHANGED = {"./boot/grub/grub.cfg", "./etc/fstab", "./EFI/BOOT/BOOTX64.EFI"}


def check(
    machine: UnderTest,
    copy: Path,
    serial: str,
    firmware: Firmware,
    accelerator: Accelerator,
    log: Path | None = None,
) -> int:
    """Start one of them beside the other, which comes first on the bus: names and order mislead.

    Args:
        serial: of the one that is started: SERIAL or COPY.

    Returns:
        How many identifiers the copy has, none of which is the original's.

    Raises:
        AssertionError: it is not what it must be.
    """
    own, common = identifiers(copy), identifiers(copy) & identifiers(machine.disk)
    assert own and not common, f"both have {sorted(common)}"
    files = {COPY: copy, SERIAL: machine.disk}
    other = SERIAL if serial == COPY else COPY
    drives = (
        Drive(files[other], serial=other, snapshot=True, boot=1),
        Drive(files[serial], serial=serial, snapshot=True, boot=0),
    )
    started = Machine(firmware, drives, memory=768, nonce=secrets.token_hex(8))
    kind = "bios" if firmware is Firmware.BIOS else "uefi"
    good = rf"MACHINE-OK {started.nonce} firmware={kind} [^\n]*proof={machine.proof}"
    bad = rf"MACHINE-BAD {started.nonce} firmware={kind}: not as recorded"
    wanted, never = (bad, good) if serial == COPY else (good, bad)
    with Guest(started, accelerator, log) as guest:
        guest.expect(wanted, 120, never=f"{never}|{PANIC}")
        text = guest.console.text
    _check_disks(text, started.nonce, serial)
    if serial == COPY:
        _check_copy(text, started.nonce)
    return len(own)


def _check_disks(text: str, nonce: str, serial: str) -> None:
    """Everything that was mounted and swapped on lies on this disk."""
    match = re.search(rf"MACHINE-ON {nonce} ([^\r\n]*)", text)
    assert match is not None, text[-2000:]
    assert match[1] == " ".join(f"{one}={serial}" for one in ("/", "/boot/efi", "/data", "swap"))


def _check_copy(text: str, nonce: str) -> None:
    """What the copy finds changed is what has to be, and nothing else."""
    bad = f"MACHINE-BAD {nonce}"
    assert set(re.findall(rf"{bad} \w+ content: (\S+): FAILED", text)) == CHANGED
    changed = "|".join(re.escape(one) for one in CHANGED)
    known = (
        rf"firmware=|\w+ content: |\w+ (contents|entries) differ|boot code: "
        rf"|\w+ entry: .* ({changed})$"
    )
    others = [one for one in re.findall(rf"{bad} ([^\r\n]*)", text) if not re.match(known, one)]
    assert not others, others
