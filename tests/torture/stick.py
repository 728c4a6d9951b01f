"""SIGKILL at random moments of ``usb --update``; the stick must start, and its data be the same.

A stick holds a file of 1 GB on its data partition. Each round begins an update to the other of two
media and kills it at a random moment, sometimes twice in a row; then holds:

* ``verify`` finds nothing wrong: the system that starts is whole, under BIOS and under UEFI;
* with ``--boot N``, in every Nth round the stick starts in QEMU, under each firmware in its turn;
* the file is as it was, byte for byte, and so is the filesystem around it;
* an update that nobody stops ends well, now and then, and the next rounds begin from there.

    ci/torture stick --rounds 20 [--qemu] [--boot 5] [--seed N] [--folder DIR]

With ``--qemu`` the update runs in a virtual machine, on its USB disk, and QEMU is killed. A folder
that is kept (``--folder``) keeps media, stick and machine for the next call.

A kill leaves what was written in the host's memory. That writes may also be lost or reordered
between two barriers, as by a power cut, is what tests/system/test_stick.py plays through.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.verify import verify
from rescue.core.process import run
from rescue.core.progress import Silent
from rescue.core.units import MIB
from rescue.devices.discover import inspect
from rescue.devices.table import read_layout
from tests.boot import inspect as inside
from tests.boot import media
from tests.boot.guest import Guest, Panicked
from tests.boot.qemu import TCG, Drive, Firmware, Interface, Machine
from tests.torture.calling import Wrong
from tests.torture.stick_machine import InMachine, measure

BUILDER = [sys.executable, "-m", "builder.cli.main"]
SIZE = 2560 * MIB
FILE = 1000 * 1000 * 1000
FIRMWARE = (Firmware.BIOS, Firmware.UEFI, Firmware.SECURE_BOOT)
PATIENCE = 600.0


def builder(*words: str | Path) -> None:
    run([*BUILDER, *words], cwd=media.ROOT, timeout=PATIENCE)


def media_in(folder: Path, *names: str) -> tuple[Path, ...]:
    """Media that differ."""
    found = []
    for name in names:
        recipe = folder / f"{name}.toml"
        recipe.write_text(f'menu_title = "Rescue {name}"\n')
        found.append(folder / f"{name}.iso")
        if not found[-1].exists():
            builder("iso", found[-1], "--recipe", recipe)
    return tuple(found)


@contextmanager
def data_of(stick: Path) -> Iterator[Path]:
    """The data partition, as a file of its own that is written back."""
    part = read_layout(inspect(stick)).partition(5)
    if part is None:
        raise Wrong("there is no data partition")
    place = ["--offset", str(part.start), "--sizelimit", str(part.length)]
    node = run(["losetup", "--find", "--show", *place, stick]).text.strip()
    try:
        yield Path(node)
    finally:
        run(["losetup", "--detach", node])


def digest(stick: Path) -> str:
    """SHA-256 of the whole data partition: the file, and all around it."""
    part = read_layout(inspect(stick)).partition(5)
    if part is None:
        raise Wrong("there is no data partition")
    hasher = hashlib.sha256()
    with stick.open("rb") as file:
        file.seek(part.start)
        left = part.length
        while left:
            block = file.read(min(left, 8 * MIB))
            hasher.update(block)
            left -= len(block)
    return hasher.hexdigest()


def make(stick: Path, iso: Path, folder: Path) -> None:
    """A stick with its file."""
    with stick.open("wb") as file:
        file.truncate(SIZE)
    builder("usb", stick, "--iso", iso, "--data", "ext4", "--erase", stick)
    where = folder / "mounted"
    where.mkdir(exist_ok=True)
    with data_of(stick) as node:
        run(["mount", node, where])
        try:
            with (where / "large.bin").open("wb") as file:
                for start in range(0, FILE, MIB):
                    file.write(random.Random(start).randbytes(min(MIB, FILE - start)))
        finally:
            run(["umount", where])


def cut(stick: Path, iso: Path, seconds: float) -> bool:
    """Begin an update and kill it after so long; whether it was still running."""
    words = [*BUILDER, "usb", stick, "--update", "--iso", iso, "--erase", stick]
    with subprocess.Popen(
        list(map(str, words)),
        cwd=media.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        try:
            status = running.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return True
    if status != 0:
        raise Wrong(f"an update ended with status {status}")
    return False


def boot(stick: Path, firmware: Firmware, log: Path) -> None:
    """Start it, and let it check itself from inside.

    A kernel that panics is started once more: without KVM a processor may run into a breakpoint
    that another one has just taken out of the kernel's code (seen: int3 in sched_clock_cpu).
    """
    try:
        _boot(stick, firmware, log)
    except Panicked as error:
        print(f"started a second time after: {str(error).splitlines()[0]}", file=sys.stderr)
        _boot(stick, firmware, log.with_stem(f"{log.stem}-again"))


def _boot(stick: Path, firmware: Firmware, log: Path) -> None:
    drive = Drive(stick, Interface.USB, serial="TORTURE", snapshot=True, boot=0)
    with Guest(Machine(firmware, (drive,), 2048, processors=2), TCG, log) as guest:
        media.wait_ready(guest)
        media.root_shell(guest)
        inside.ask(guest, "/usr/lib/rescue/check-medium")


def rounds(asked: argparse.Namespace, folder: Path) -> None:
    """All rounds; what came of them is printed.

    Raises:
        Wrong: the stick is not what it must be.
    """
    rng = random.Random(asked.seed)
    events: Counter[str] = Counter()
    isos = media_in(folder, "one", "two")
    stick, about = folder / "stick.raw", folder / "about"
    if not about.exists():
        make(stick, isos[0], folder)
        about.write_text(digest(stick))
    before = about.read_text()
    machine = None
    if asked.qemu:
        # A third one: started from the stick's own system the machine might take that stick.
        machine = InMachine(folder, media_in(folder, "third")[0], isos, stick)
    timing = folder / ("seconds.qemu" if machine else "seconds")
    if not timing.exists():
        began = time.monotonic()
        if machine:
            measure(machine, isos[1], PATIENCE)
        else:
            cut(stick, isos[1], PATIENCE)
        timing.write_text(f"{time.monotonic() - began:.1f}")
    whole = float(timing.read_text())
    print(f"a whole update takes {whole:.1f} s", flush=True)
    for number in range(1, asked.rounds + 1):
        for _ in range(rng.choice((1, 1, 2))):
            iso, seconds = isos[number % 2], rng.uniform(0.2, whole)
            killed = machine.cut(iso, seconds) if machine else cut(stick, iso, seconds)
            events["killed" if killed else "finished"] += 1
        verdict = verify(stick, Silent())
        if verdict.damages or not verdict.starts:
            raise Wrong(f"round {number}: {verdict.damages or 'nothing starts'}")
        events[f"slot {verdict.starts} starts, {len(verdict.systems)} whole"] += 1
        if digest(stick) != before:
            raise Wrong(f"round {number}: the data partition was changed")
        if asked.boot and number % asked.boot == 0:
            firmware = FIRMWARE[(number // asked.boot - 1) % len(FIRMWARE)]
            boot(stick, firmware, media.ROOT / "build" / f"torture-stick-{number}.log")
            events[f"started under {firmware}"] += 1
        print(f"round {number}: {dict(events)}", flush=True)


def main() -> int:
    """Rounds, and what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--qemu", action="store_true", help="kill QEMU, not the program")
    parser.add_argument("--boot", type=int, default=0, metavar="N", help="start every Nth in QEMU")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="kept, with 5 GB; a temporary one without it")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="torture-stick-") as name:
        folder = asked.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            rounds(asked, folder)
        except Wrong as error:
            print(f"WRONG: {error} (seed {asked.seed})", file=sys.stderr)
            return 1
    print(f"{asked.rounds} rounds, all as they must be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
