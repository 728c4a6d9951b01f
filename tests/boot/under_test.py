"""The machine under test, made once and kept: its disk, and the token it must print."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rescue.core.process import run
from tests.boot.assemble import assemble
from tests.boot.debian import CACHE, Base, locked
from tests.boot.guest import PANIC, Guest
from tests.boot.qemu import Accelerator, Drive, Firmware, Machine

SERIAL = "MACHINE01"
_RECIPE = ("assemble.py", "bootcode.py", "debian.py", "files.py", "record.py", "under_test.py")


@dataclass(frozen=True, slots=True)
class UnderTest:
    """The machine's disk (never written: copy it) and what its token proves itself with."""

    disk: Path
    proof: str
    sector: int = 512


def ensure_machine(base: Base, accelerator: Accelerator) -> UnderTest:
    """The machine, made and started once if it is not there yet.

    It is started once and really written to, so that what is captured is a filesystem in use: with
    a journal, logs and freed space, as no mkfs leaves behind.
    """
    room = CACHE / f"machine-{_key(base)}"
    disk, about = room / "disk.raw", room / "about.json"
    with locked(room):
        if not about.exists():
            with tempfile.TemporaryDirectory(dir=room) as work:
                fresh = Path(work) / "disk.raw"
                proof = assemble(base.tar, fresh, Path(work))
                check(UnderTest(fresh, proof), Firmware.BIOS, accelerator, write=True)
                fresh.rename(disk)
            about.write_text(json.dumps({"proof": proof}))
    return UnderTest(disk, json.loads(about.read_text())["proof"])


def _key(base: Base) -> str:
    here = Path(__file__).parent
    sources = [here / name for name in _RECIPE] + sorted((here / "machine").iterdir())
    return hashlib.sha256(
        base.key.encode() + b"".join(source.read_bytes() for source in sources)
    ).hexdigest()[:16]


def start(machine: UnderTest, firmware: Firmware, *, write: bool = False) -> Machine:
    """The machine alone, as it would stand on a desk; with ``write`` its disk is really written."""
    drive = Drive(machine.disk, serial=SERIAL, boot=0, snapshot=not write, sector=machine.sector)
    return Machine(firmware, (drive,), memory=768, nonce=secrets.token_hex(8))


def check(
    machine: UnderTest,
    firmware: Firmware,
    accelerator: Accelerator,
    *,
    write: bool = False,
    log: Path | None = None,
) -> re.Match[str]:
    """Start the machine and see its token: this start's nonce, this machine's proof, this firmware.

    Raises:
        GuestFailed: it printed anything else.
    """
    with Guest(start(machine, firmware, write=write), accelerator, log) as guest:
        kind = "bios" if firmware is Firmware.BIOS else "uefi"
        token = rf"^MACHINE-OK {guest.machine.nonce} firmware={kind} files=(\d+) ntfs=(\d+)"
        match = guest.expect(
            rf"{token} proof={machine.proof}\s*$",
            120,
            never=rf"MACHINE-BAD \w+ firmware=.*|{PANIC}",
        )
        bad = f"MACHINE-BAD {guest.machine.nonce}"
        assert bad not in guest.console.text, guest.failure("it found something, and said OK")
        if write:
            guest.wait_off(60)
    return match


def copy(source: Path, target: Path) -> Path:
    """A sparse copy of a disk, shared with the original where the filesystem can."""
    run(["cp", "--sparse=always", "--reflink=auto", source, target])
    return target
