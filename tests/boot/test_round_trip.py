"""The whole way: capture a real machine, destroy its disk, bring it back from a set of discs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.capture.plan import plan_capture
from rescue.core.process import run
from tests.boot import inspect, media, under_test
from tests.boot.assemble import ESP, NTFS, ROOT, Place
from tests.boot.guest import PANIC, Guest, Panicked
from tests.boot.qemu import Accelerator, Drive, Firmware, Interface, Machine
from tests.boot.under_test import UnderTest
from tests.boot.wreck import wreck

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(2400)]

Log = Callable[[str], Path]

_JOBS = Path(__file__).parent / "jobs"
_FAILED = rf"rescue job failed[^\n]*|STOPPED: [^\n]*|{PANIC}"
_STORE_SERIAL = "STORE01"
_PIECE = 4 << 20
_STORE_SIZE = 2 << 30


@pytest.fixture
def store(room: Path) -> Path:
    """A disk to keep images on: one ext4 over the whole of it, labelled STORE, holding the jobs."""
    disk, tree = room / "store.raw", room / "store"
    shutil.copytree(_JOBS, tree / "jobs")
    with disk.open("wb") as file:
        file.truncate(_STORE_SIZE)
    run(["mkfs.ext4", "-q", "-F", "-L", "STORE", "-d", tree, disk])
    return disk


@contextmanager
def booted_for(
    job: str, iso: Path, disks: tuple[Path, Path], accelerator: Accelerator, log: Path
) -> Iterator[Guest]:
    """The medium, started with a job on its kernel line; its verdict from inside is "complete".

    With 1 GiB of memory, which is promised to be enough, and two processors.

    Args:
        disks: the machine's, and the one that images are kept on.
    """
    drives = (
        media.disc(iso),
        Drive(disks[0], serial=under_test.SERIAL),
        Drive(disks[1], Interface.SATA, serial=_STORE_SERIAL),
    )
    machine = Machine(Firmware.BIOS, drives, memory=1024, processors=2)
    with Guest(machine, accelerator, log) as guest:
        media.start_entry(guest, "restore shell", f"rescue.job=STORE:jobs/{job}.toml")
        guest.expect(rf"rescue job STORE:jobs/{job}\.toml", 60, never=_FAILED)
        guest.expect(r"rescue job complete\s*$", 180, never=_FAILED)
        yield guest


def recovery_discs(store: Path, iso: Path, room: Path) -> list[Path]:
    """A set of discs that carries the image in the store, each a little larger than a system."""
    image = room / "machine.rescue"
    run(["debugfs", "-R", f"dump /images/machine.rescue {image}", store])
    size = iso.stat().st_size + image.stat().st_size // 3
    first = room / "set.iso"
    words: list[str | Path] = [
        "--include",
        image,
        "--job",
        _JOBS / "recover.toml",
        "--media-size",
        str(size),
    ]
    run([sys.executable, "-m", "builder.cli.main", "iso", first, *words], cwd=media.ROOT)
    image.unlink()
    discs = [first, *sorted(room.glob("set-*.iso"))]
    assert len(discs) > 1
    assert all(disc.stat().st_size <= size for disc in discs)
    return discs


def recover(discs: list[Path], disk: Path, accelerator: Accelerator, log: Path) -> list[int]:
    """Start the first disc, confirm by choosing the entry, put in what is asked for; what that was.

    Args:
        disk: the dead machine's.
    """
    asked = []
    drives = (media.disc(discs[0]), Drive(disk, serial=under_test.SERIAL))
    with Guest(Machine(Firmware.BIOS, drives, memory=2048), accelerator, log) as guest:
        media.start_recovery(guest)
        guest.expect(r"rescue job rescue/recovery/recover\.toml", 60, never=_FAILED)
        while True:
            wanted = r"put in disc (\d+) of (\d+)|rescue job complete\s*$"
            match = guest.expect(wanted, 180, never=_FAILED)
            if match[1] is None:
                break
            assert int(match[2]) == len(discs)
            asked.append(int(match[1]))
            guest.monitor.change_disc("dev-drive0", discs[asked[-1] - 1])
        guest.wait_off(60)
    return asked


def kept(store: Path, path: str) -> bytes:
    """A file of the store's filesystem, read without mounting it."""
    return run(["debugfs", "-R", f"cat {path}", store]).stdout


def table(disk: Path) -> list[str]:
    """The partition table as sfdisk tells it, without the file's own name."""
    return run(["sfdisk", "--dump", disk]).text.replace(str(disk), "disk").splitlines()


def first_difference(one: Path, other: Path) -> int | None:
    """Offset of the first byte in use on ``one`` that ``other`` has differently."""
    used = plan_capture(one).captured
    assert used.total > 200 << 20, "most of the machine counts as free"
    with one.open("rb") as left, other.open("rb") as right:
        for extent in used:
            for start in range(extent.start, extent.end, _PIECE):
                length = min(_PIECE, extent.end - start)
                if os.pread(left.fileno(), length, start) != os.pread(
                    right.fileno(), length, start
                ):
                    return start
    return None


def check_filesystem(disk: Path, place: Place, room: Path, *command: str) -> None:
    """Run a filesystem's own checker over one partition; its status is the answer."""
    volume = room / f"{place.name}.part"
    where = [f"skip={place.start >> 20}", f"count={place.length >> 20}"]
    run(["dd", f"if={disk}", f"of={volume}", "bs=1M", "conv=sparse", "status=none", *where])
    run([*command, volume])
    volume.unlink()


def test_a_dead_machine_comes_back(
    machine: UnderTest,
    iso: Path,
    store: Path,
    accelerator: Accelerator,
    room: Path,
    log: Log,
) -> None:
    disk = under_test.copy(machine.disk, room / "machine.raw")
    before = table(disk)

    with booted_for("capture", iso, (disk, store), accelerator, log("capture")) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        # The store was written, and cannot be any more; the job is not run a second time.
        inspect.disks_are_untouched(guest, {under_test.SERIAL, _STORE_SERIAL})
        assert "rescue job not run again" in inspect.ask(guest, "rescue job --boot")
        guest.send("systemctl poweroff\r")
        guest.wait_off(60)
    result = json.loads(kept(store, "images/machine.rescue.capture.json"))
    assert result["exit"] == 0
    assert run(["cmp", disk, machine.disk], check=False).status == 0, "the capture wrote its source"

    wreck(disk, "the round trip")
    assert run(["sfdisk", "--dump", disk], check=False).status != 0, "the disk is not destroyed"

    discs = recovery_discs(store, iso, room)
    try:
        asked = recover(discs, disk, accelerator, log("recover"))
    except Panicked as error:
        # As ``media.in_memory``: without KVM a start into memory panics now and then.
        warnings.warn(f"started a second time after: {error}", stacklevel=1)
        asked = recover(discs, disk, accelerator, log("recover-again"))
    # The last part first, because the index is there; then one disc after the other.
    assert asked == [len(discs), *range(1, len(discs) + 1)]

    assert table(disk) == before
    assert "No problems found" in run(["sgdisk", "--verify", disk]).text
    assert first_difference(machine.disk, disk) is None
    check_filesystem(disk, ESP, room, "fsck.vfat", "-n")
    check_filesystem(disk, ROOT, room, "e2fsck", "-f", "-n")
    check_filesystem(disk, NTFS, room, "ntfsfix", "--no-action")

    back = UnderTest(disk, machine.proof)
    for firmware in (Firmware.BIOS, Firmware.UEFI):
        under_test.check(back, firmware, accelerator, log=log(firmware))
