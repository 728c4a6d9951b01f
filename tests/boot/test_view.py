"""The machine under test started from its image, and from what was exported of it.

Show 3 of the view: ``rescue boot`` reaches the machine's token, and the image is the same after,
byte for byte. Show 2: the exported disk starts too.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from rescue.core.errors import Exit
from rescue.core.process import run
from rescue.view.machine import Machine, command
from tests.boot import under_test
from tests.boot.assemble import ESP
from tests.boot.guest import GuestFailed
from tests.boot.qemu import KVM, Accelerator
from tests.boot.under_test import UnderTest

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(2400)]

RESCUE = Path(sys.executable).parent / "rescue"
SECONDS = 120


def digest(path: Path) -> str:
    return run(["sha256sum", path]).text.split()[0]


@pytest.fixture(scope="module")
def image(machine: UnderTest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "machine.rescue"
    run([RESCUE, "capture", machine.disk, path])
    return path


def proven(words: Sequence[object], machine: UnderTest, accelerator: Accelerator) -> None:
    """Run a machine to its end; it must print its token, with this machine's own proof."""
    text = said(words, accelerator)
    token = rf"MACHINE-OK \S* ?firmware=bios files=\d+ ntfs=\d+ proof={machine.proof}"
    assert re.search(token, text), text[-3000:]
    assert "MACHINE-BAD" not in text


def said(words: Sequence[object], accelerator: Accelerator) -> str:
    """What a machine prints until it switches itself off."""
    child = subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # The machine switches itself off when it has said its verdict.
    timer = threading.Timer(SECONDS * accelerator.patience, child.kill)
    timer.start()
    try:
        out, _ = child.communicate()
    finally:
        timer.cancel()
    text = out.decode(errors="replace")
    if child.returncode == -signal.SIGKILL:
        allowed = SECONDS * accelerator.patience
        raise GuestFailed(f"expected its end: nothing in {allowed:.0f} s\n{text[-3000:]}")
    assert child.returncode == 0, text[-3000:]
    return text


def test_an_image_starts_and_stays_as_it_is(
    machine: UnderTest, accelerator: Accelerator, image: Path
) -> None:
    before = digest(image)
    how = "kvm" if accelerator is KVM else "auto"
    words = [RESCUE, "boot", "--serial", "--memory", "768M", "--accelerator", how, image]
    proven(words, machine, accelerator)
    assert digest(image) == before


def test_the_verdict_holds_every_proof(image: Path) -> None:
    """Every byte, every filesystem, and a start: the machine switches itself off in the end."""
    done = run([RESCUE, "verify", "--filesystems", "--start", "--json", image], check=False)
    if b"power button" in done.stderr + done.stdout and done.status == Exit.UNSOUND:
        raise GuestFailed(done.text)
    assert done.status == 0, (done.text, done.stderr)
    found = json.loads(done.text)
    assert found["safe_to_rely_on"]
    assert found["because"].endswith("filesystems are whole and its machine starts"), found
    assert found["start"]["started"]
    kinds = {one["fs"]: one["result"] for one in found["filesystems"]}
    assert kinds == {
        "": "unchecked",
        "vfat": "whole",
        "ext4": "whole",
        "ntfs": "whole",
        "swap": "unchecked",
    }


def test_an_exported_disk_starts(
    machine: UnderTest, accelerator: Accelerator, image: Path, tmp_path: Path
) -> None:
    out, back = tmp_path / "machine.qcow2", tmp_path / "back.raw"
    run([RESCUE, "export", "--format", "qcow2", image, out])
    run([RESCUE, "restore", image, back])
    same = run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", back, out])
    assert "identical" in same.text
    back.unlink()
    guest = Machine("bios", "virtio", 512, serial="EXPORTED", memory=768)
    kind = "kvm" if accelerator is KVM else "tcg"
    words = command(guest, kind, out, tmp_path / "none", tmp_path / "qmp")
    proven(words, machine, accelerator)


def test_a_loader_that_only_firmware_remembers(
    machine: UnderTest, accelerator: Accelerator, tmp_path: Path
) -> None:
    """An ESP as an installer leaves it: nothing where firmware looks by itself.

    The machine finds that its ESP is not as recorded, and says so: that is how it is seen that it
    runs, and under UEFI.
    """
    disk, image = under_test.copy(machine.disk, tmp_path / "disk.raw"), tmp_path / "x.rescue"
    esp = f"{disk}@@{ESP.start}"
    run(["mmd", "-i", esp, "::/EFI/debian"])
    run(["mcopy", "-i", esp, "::/EFI/BOOT/BOOTX64.EFI", tmp_path / "grub"])
    run(["mcopy", "-i", esp, tmp_path / "grub", "::/EFI/debian/grubx64.efi"])
    run(["mdel", "-i", esp, "::/EFI/BOOT/BOOTX64.EFI"])
    run([RESCUE, "capture", disk, image])
    disk.unlink()
    how = "kvm" if accelerator is KVM else "auto"
    words = ["boot", "--serial", "--firmware", "uefi", "--memory", "768M", "--accelerator", how]
    text = said([RESCUE, *words, image], accelerator)
    assert re.search(r"MACHINE-BAD \S* ?firmware=uefi: not as recorded", text), text[-3000:]
    told = set(re.findall(r"MACHINE-BAD \S* ?(\w+) (?:entry|content)", text))
    assert "esp" in told
    assert "ntfs" not in told
