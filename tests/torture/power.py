"""The power goes while the media restore a disk: QEMU killed, and every flush looked at.

The media are started once, their state is kept, and every round goes on from it: a restore begins,
QEMU is killed at a random moment, once to four times in a row, and then the same command is given
once more. Four of five kills come after the first write, however long the start takes here. Held is
that after each kill the disk

* says that it is half restored, or
* is as it was before, but for tables that were taken away, or
* is complete;

and that at the end it is, bit for bit, what an uninterrupted restore makes of such a disk.

``--flushes`` records one restore with QEMU's ``blklogwrites`` instead. The disk is then put
together as it was at every flush, and at random moments between them with some of the writes done
in any order and some of them torn; each such disk is judged by the same rule.

    ci/torture power --rounds 20 [--seed N] [--folder DIR]
    ci/torture power --flushes 200 [--seed N] [--folder DIR]

A folder that is kept (``--folder``) keeps the machine's state for the next call.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.restore import marker
from tests.boot import media
from tests.boot.guest import Guest, GuestFailed
from tests.boot.qemu import TCG, Drive, Firmware, Machine
from tests.boot.qmp import MonitorFailed
from tests.torture import writelog
from tests.torture.calling import Wrong, must

SIZE = 192 * MIB
FILES = 110  # MiB
RATE = 8 * MIB
SERIAL = "TARGET01"
_COMMAND = (
    "rescue restore --write-all --undo-file /run/undo --erase {serial} /mnt/pc.rescue "
    "/dev/disk/by-id/virtio-{serial} --json >/run/result 2>/run/words"
)
_EDGE = MIB  # what is taken away of the old tables, at each end


@dataclass
class Bench:
    """The folder, its machine, and what happened so far."""

    folder: Path
    rng: random.Random
    events: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    writing: float = 0.0
    wanted: str = ""

    def __post_init__(self) -> None:
        self.store, self.state = self.folder / "store.raw", self.folder / "state"
        self.old, self.target = self.folder / "old.raw", self.folder / "target.raw"
        self.about = self.folder / "about"
        if not self.state.exists():
            self._make()
        if not self.about.exists() or len(self.about.read_text().split()) != 3:
            self._restore_whole()
        self.wanted, seconds, writing = self.about.read_text().split()
        self.seconds, self.writing = float(seconds), float(writing)

    def _make(self) -> None:
        """A disk to restore, one to restore to, the state of the media."""
        _make_store(self.folder, self.store)
        _make_old(self.old)
        shutil.copyfile(self.old, self.target)
        with Guest(self.machine(), TCG, self.folder / "serial.log") as guest:
            media.start_entry(guest, media.ENTRIES[0])
            media.wait_ready(guest)
            media.root_shell(guest)
            status, text = guest.shell("udevadm settle; mount -o ro,noload LABEL=STORE /mnt", 60)
            if status:
                raise Wrong(f"the media cannot mount the store: {text}")
            guest.monitor.save(self.state)

    def _restore_whole(self) -> None:
        """What has to come of it, and how long that takes."""
        shutil.copyfile(self.old, self.target)
        begun = time.monotonic()
        with self.going_on() as guest:
            old, first = self.target.stat().st_mtime_ns, begun
            end = "; printf '\\nEN''DED-%s.\\n' $?\n"
            guest.send(_COMMAND.format(serial=SERIAL) + end)
            if self.is_written(old):
                first = time.monotonic()
            status = guest.expect(r"^ENDED-(\d+)\.", 120)[1]
            ended = time.monotonic()
        if status != "0":
            raise Wrong(f"an uninterrupted restore ended with {status}")
        self.about.write_text(f"{digest(self.target)} {ended - begun:.1f} {ended - first:.1f}")

    def is_written(self, old: int, seconds: float = 120) -> bool:
        """Wait for a write to the target, whose file had this time before."""
        until = time.monotonic() + seconds
        while self.target.stat().st_mtime_ns == old and time.monotonic() < until:
            time.sleep(0.02)
        return self.target.stat().st_mtime_ns != old

    def machine(self, *, incoming: bool = False, log: Path | None = None) -> Machine:
        """The media, the store and the disk to restore to."""
        drives = (
            media.disc(media.ensure_iso()),
            Drive(self.store, serial="STORE01", read_only=True),
            Drive(self.target, serial=SERIAL, rate=RATE, write_log=log),
        )
        state = self.state if incoming else None
        return Machine(Firmware.BIOS, drives, memory=1024, processors=2, incoming=state)

    @contextmanager
    def going_on(self, log: Path | None = None) -> Iterator[Guest]:
        """The machine as it was kept, at its shell."""
        with Guest(self.machine(incoming=True, log=log), TCG) as guest:
            guest.monitor.go_on()
            status, text = guest.shell(f"test -b /dev/disk/by-id/virtio-{SERIAL}", 30)
            if status:
                raise Wrong(f"the machine does not go on: {text}")
            yield guest

    def finish(self, guest: Guest) -> None:
        """The restore to its end."""
        status, _ = guest.shell(_COMMAND.format(serial=SERIAL), 120)
        if status:
            _, words = guest.shell("cat /run/words /run/result")
            raise Wrong(f"the restore ended with {status}: {words}")
        _, words = guest.shell("cat /run/words")
        self.events["gone on with" if "goes on" in words else "begun again"] += 1

    def kill_once(self) -> str:
        """Begin or go on, and kill QEMU somewhere; what the disk is then."""
        with self.going_on() as guest:
            old = self.target.stat().st_mtime_ns
            guest.send(_COMMAND.format(serial=SERIAL) + "\n")
            if self.rng.random() < 0.2:
                time.sleep(self.rng.uniform(0.0, self.seconds - self.writing))
            elif not self.is_written(old):
                raise Wrong("nothing is written")
            else:
                time.sleep(self.rng.uniform(0.0, self.writing))
            guest.kill()
        with self.target.open("rb") as file, self.old.open("rb") as old:
            return judge(file.read(), old.read(), self.wanted)

    def round(self, kills: int) -> int:
        """Kills in a row on one disk, then the restore to its end; how many there were."""
        shutil.copyfile(self.old, self.target)
        for done in range(1, kills + 1):
            found = self.kill_once()
            self.events[f"killed: {found}"] += 1
            print(f"  killed, the disk is {found}", file=sys.stderr, flush=True)
            if found == "complete":
                kills = done
                break
        with self.going_on() as guest:
            self.finish(guest)
        if digest(self.target) != self.wanted:
            raise Wrong("the disk is not what an uninterrupted restore makes of it")
        self.events["equal at the end"] += 1
        return kills


def judge(disk: bytes | bytearray, old: bytes, wanted: str) -> str:
    """What a disk is whose restore was cut off.

    Raises:
        Wrong: it is neither marked nor complete, and not as it was either.
    """
    if marker.is_marked(disk[: marker.SIZE]):
        whole = marker.parse(bytes(disk[: marker.SIZE]))
        if whole is None:
            raise Wrong("its mark is torn")
        return "half restored, resizing" if whole.resized else "half restored"
    if disk[_EDGE:-_EDGE] == old[_EDGE:-_EDGE]:
        if disk == old:
            return "as it was"
        return "as it was, but for its tables"
    if hashlib.sha256(disk).hexdigest() == wanted:
        return "complete"
    raise Wrong("it is written to, not marked, and not complete")


def flushes(bench: Bench, count: int) -> None:
    """One restore recorded; the disk at each flush, and so many times between them.

    Raises:
        Wrong: one of them is what must never be.
    """
    shutil.copyfile(bench.old, bench.target)
    log = bench.folder / "writes.log"
    log.write_bytes(b"")
    with bench.going_on(log) as guest:
        bench.finish(guest)
        guest.monitor.quit()
        guest.wait_off(10)
    if digest(bench.target) != bench.wanted:
        raise Wrong("the recorded restore is not what another one was")
    intervals = writelog.read(log)
    old = bench.old.read_bytes()
    disk = bytearray(old)
    tries = bench.rng.choices(range(len(intervals)), k=count)
    for number, interval in enumerate(intervals):
        for _ in range(tries.count(number)):
            chosen = writelog.torn(interval, bench.rng)
            kept = [(w.offset, bytes(disk[w.offset : w.offset + len(w.data)])) for w in chosen]
            for write in chosen:
                disk[write.offset : write.offset + len(write.data)] = write.data
            bench.events[f"between flushes: {judge(disk, old, bench.wanted)}"] += 1
            for offset, data in reversed(kept):
                disk[offset : offset + len(data)] = data
        for write in interval.writes:
            disk[write.offset : write.offset + len(write.content)] = write.content
        bench.events[f"at a flush: {judge(disk, old, bench.wanted)}"] += 1
    if hashlib.sha256(disk).hexdigest() != bench.wanted:
        raise Wrong("the log does not lead to the disk as it is")
    writes = sum(len(interval.writes) for interval in intervals)
    print(f"{writes} writes between {len(intervals) - 1} flushes", file=sys.stderr)
    log.unlink()


def _make_store(folder: Path, store: Path) -> None:
    """A filesystem with the image of a small machine: GPT, an ext4 full of files."""
    files, disk = folder / "files", folder / "machine.raw"
    files.mkdir()
    rng = random.Random(1)
    for number in range(FILES // 2):
        (files / f"{number}.bin").write_bytes(rng.randbytes(2 * MIB))
    volume = folder / "volume"
    with volume.open("wb") as file:
        file.truncate(SIZE - 8 * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", files, volume])
    with disk.open("wb") as file:
        file.truncate(SIZE)
    run(["sfdisk", "--quiet", disk], input=b"label: gpt\nstart=4M, size=%dM\n" % (SIZE // MIB - 8))
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", "seek=4", "conv=sparse,notrunc"])
    kept = folder / "kept"
    kept.mkdir()
    must(0, "capture", disk, kept / "pc.rescue")
    with store.open("wb") as file:
        file.truncate((FILES + 60) * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "STORE", "-d", kept, store])
    for path in (volume, disk):
        path.unlink()
    shutil.rmtree(files)
    shutil.rmtree(kept)


def _make_old(path: Path) -> None:
    """Another system's disk: its table, and nothing on it reads as zero."""
    noise = random.Random(2).randbytes(MIB)
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(noise)
    run(["sfdisk", "--quiet", "--wipe", "never", path], input=b"label: gpt\nsize=100M\n,\n")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/torture power", description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="how often QEMU is killed")
    parser.add_argument("--flushes", type=int, default=0, help="how often writes are reordered")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no kill after that")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="where to work; kept. A temporary one if not")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="rescue-power-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {given.seed}, in {folder}", file=sys.stderr)
    try:
        bench = Bench(folder, random.Random(given.seed))
        print(f"a restore takes {bench.seconds:.0f} s here", file=sys.stderr, flush=True)
        done, end = 0, time.monotonic() + 60 * given.minutes
        while done < given.rounds and time.monotonic() < end:
            done += bench.round(min(bench.rng.randint(1, 4), given.rounds - done))
            print(f"{done} of {given.rounds} kills", file=sys.stderr, flush=True)
        if given.flushes:
            flushes(bench, given.flushes)
    except (Wrong, GuestFailed, MonitorFailed) as error:
        print(f"FAILED (seed {given.seed}; see {folder}): {error}", file=sys.stderr)
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    print(f"{done} kills: " if given.rounds else "", end="")
    print(", ".join(f"{n} {w}" for w, n in sorted(bench.events.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
