"""How long the restore shell takes from its process's start until a person can use it, in QEMU.

The medium is started as a disc, several times, on a host that should be quiet. For each start it
tells, by the guest's own clock:

* ``lines``: from the start of the serial shell's process to "rescue shell ready";
* ``screen``: from the start of the process on the first console to its first drawn screen;
* ``lines work`` and ``screen work``: seconds of the host's processors that QEMU used meanwhile,
  which tell more than the clock does where the host has other things to do;
* with ``--again``, the same two once more in the running system, one after the other: with files
  in memory and, after dropping them, with none.

    ci/torture start [--rounds N] [--again] [--iso FILE]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.boot import accelerator as accelerators
from tests.boot import lines, media
from tests.boot.debian import ensure_base
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Firmware, Machine
from tests.boot.qmp import Monitor

_BLUE = b"\x00\x00\xaa"  # the head of every screen, in the console's colours
_STARTED = "systemctl show -P ExecMainStartTimestampMonotonic rescue-shell@{}"


class Watch(threading.Thread):
    """Looks at the screen until the first of the shell's own is drawn."""

    def __init__(self, guest: Guest) -> None:
        super().__init__(daemon=True)
        self._guest = guest
        self._monitor: Monitor = guest.monitor
        self._worked: list[tuple[float, float]] = []
        self.seen = 0.0
        self.done = threading.Event()

    def run(self) -> None:
        """A look costs a few milliseconds: twice a second does not slow the guest."""
        with tempfile.TemporaryDirectory(prefix="look-") as name:
            picture = Path(name) / "screen.ppm"
            while not self.done.wait(0.25):
                now = time.monotonic()
                self._worked.append((now, self._guest.work))
                if not self.seen:
                    self._monitor.execute("screendump", filename=str(picture))
                    self.seen = now if _is_drawn(picture.read_bytes()) else 0.0

    def work(self, begin: float, end: float) -> float:
        """Seconds of the host's processors between two moments."""
        low, high = (min(self._worked, key=lambda one: abs(one[0] - at)) for at in (begin, end))
        return high[1] - low[1]


def _is_drawn(picture: bytes) -> bool:
    """Whether the first line of letters is the shell's head, from one end to the other."""
    match = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", picture)
    if match is None:
        return False
    width = int(match[1])
    row = picture[match.end() + 3 * width * 14 : match.end() + 3 * width * 15]
    return row.count(_BLUE) > width * 3 // 4


def one_start(iso: Path, accelerator: Accelerator, number: int, *, again: bool) -> dict[str, float]:
    """Seconds by name, of one start of the medium."""
    log = media.ROOT / "build" / f"torture-start-{number}.log"
    found: dict[str, float] = {}
    with Guest(
        Machine(Firmware.BIOS, (media.disc(iso),), 2048, processors=2), accelerator, log
    ) as guest:
        watch = Watch(guest)
        watch.start()
        guest.expect(media.READY, 60)
        ready = time.monotonic()
        guest.expect(lines.MENU, 60)
        while not watch.seen and guest.age < 120 * accelerator.patience:
            time.sleep(0.1)
        watch.done.set()
        watch.join()
        media.root_shell(guest)
        skew = time.monotonic() - float(_ask(guest, "cut -d' ' -f1 /proc/uptime"))
        for name, terminal, at in (("lines", "ttyS0", ready), ("screen", "tty1", watch.seen)):
            began = int(_ask(guest, _STARTED.format(terminal))) / 1e6
            found[f"{name} began"], found[name] = began, at - skew - began
            found[f"{name} work"] = watch.work(began + skew, at)
        if again:
            found |= _again(guest)
    return found


def _again(guest: Guest) -> dict[str, float]:
    """The serial shell to its first question, nothing beside it: from memory, and from the disc."""
    found = {}
    quiet = "rescue shell --plain --announce < /dev/null > /dev/null"
    for name, before in (("warm", "true"), ("cold", "echo 3 > /proc/sys/vm/drop_caches")):
        guest.shell(before)
        clock = "cut -d' ' -f1 /proc/uptime"
        line = f"a=$({clock}); {quiet}; b=$({clock}); echo $a $b"
        begin, end = _ask(guest, line).split()
        found[f"lines alone, {name}"] = float(end) - float(begin)
    return found


def _ask(guest: Guest, line: str) -> str:
    status, text = guest.shell(line, 60)
    assert status == 0, text
    return text.strip().splitlines()[-1]


def main() -> int:
    """Starts, and their times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="also in the running system")
    parser.add_argument("--iso", type=Path, help="this medium; without it dist/rescue.iso")
    asked = parser.parse_args()
    base = ensure_base()
    accelerator = accelerators.choose(base.kernel, base.initrd)
    iso = asked.iso or media.ensure_iso()
    found: list[dict[str, float]] = []
    for number in range(1, asked.rounds + 1):
        found.append(one_start(iso, accelerator, number, again=asked.again))
        told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found[-1].items())
        print(f"start {number} (load {os.getloadavg()[0]:.1f}): {told}", flush=True)
    for name in found[0]:
        print(f"{name}: median {statistics.median(one[name] for one in found):.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
