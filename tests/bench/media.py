"""What the media weigh, how long they take to make again, and to start.

    ci/bench media [--rounds N] [--cold] [--variants] [--stock] [--out FOLDER]

Writes benchmarks-media.md. With --cold it builds once with nothing kept, downloads and all; with
--stock a stock Debian live (``stock``) starts in turn with ours.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from builder.netboot.write import write as write_netboot
from builder.rootfs.variants import VARIANTS
from builder.usb.payload import open_iso
from rescue.core.process import run
from rescue.core.progress import Silent
from tests.bench import stock
from tests.bench.jobs import ROOT
from tests.boot import accelerator, media
from tests.boot.debian import ensure_base
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Drive, Firmware, Interface, Machine

_PARTS = ("live/base.squashfs", "live/top.squashfs", "live/initrd.img", "live/vmlinuz")


@dataclass(frozen=True, slots=True)
class Start:
    """One way of starting, and the seconds that each run took."""

    name: str
    seconds: tuple[float, ...]


def timed(command: list[str | Path]) -> float:
    """Seconds that a command takes."""
    began = time.monotonic()
    run(command, cwd=ROOT, timeout=1200)
    return time.monotonic() - began


def start(iso: Path, firmware: Firmware, token: str, chosen: Accelerator, rounds: int) -> Start:
    """Start a disc to ``token``, several times."""
    found = []
    for _ in range(rounds):
        drive = Drive(iso, Interface.CDROM, boot=0)
        with Guest(Machine(firmware, (drive,), 2048), chosen) as guest:
            guest.expect(token, 300)
            found.append(guest.age)
    return Start(f"{iso.stem}, {firmware}", tuple(found))


def variants(folder: Path) -> list[tuple[str, int]]:
    """Bytes of each variant's ISO; a base layer that is not kept takes minutes."""
    found = []
    for name in VARIANTS:
        recipe, iso = folder / f"{name}.toml", folder / f"{name}.iso"
        recipe.write_text(f'variant = "{name}"\n')
        words: list[str | Path] = [sys.executable, "-m", "builder.cli.main", "iso", iso]
        run([*words, "--recipe", recipe], cwd=ROOT, timeout=1200)
        found.append((f"the ISO of the variant {name}", iso.stat().st_size))
        iso.unlink()
    return found


def start_in_turn(
    iso: Path, stock_iso: Path, chosen: Accelerator, rounds: int
) -> tuple[Start, Start]:
    """Ours to its shell and the stock one to its login, one after the other in each round."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for seconds, file, token in zip(
            found, (iso, stock_iso), (media.READY, stock.LOGIN), strict=True
        ):
            seconds += start(file, Firmware.BIOS, token, chosen, 1).seconds
    ours, theirs = (tuple(seconds) for seconds in found)
    ratio = statistics.median(ours) / statistics.median(theirs)
    return (
        Start(f"{iso.stem}, bios", ours),
        Start(f"a stock Debian live, bios, to its login; ours takes {ratio:.0%} of it", theirs),
    )


def sizes(iso: Path) -> list[tuple[str, int]]:
    """Bytes of the ISO, its largest parts, and of what a netboot fetches."""
    found = [("the ISO", iso.stat().st_size)]
    with open_iso(iso, Silent()) as opened:
        places = opened.places()
        found += [(f"its {name}", places[name][1]) for name in _PARTS]
        with tempfile.TemporaryDirectory(prefix="netboot-") as folder:
            served = write_netboot(opened, Path(folder) / "served", None, Silent())
    return [*found, ("fetched by a netboot", served.size)]


def report(
    weights: list[tuple[str, int]], builds: list[tuple[str, float]], starts: list[Start], how: str
) -> str:
    """The page."""
    lines = ["# Benchmarks of the media", ""]
    lines += [f"`ci/bench media`, virtual machines by {how}. Seconds are medians.", ""]
    lines += ["| what | MiB |", "|---|---|"]
    lines += [f"| {name} | {size / (1 << 20):.1f} |" for name, size in weights]
    lines += ["", "| build | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.1f} |" for name, seconds in builds]
    lines += ["", "| start | seconds | runs |", "|---|---|---|"]
    for one in starts:
        runs = ", ".join(f"{seconds:.0f}" for seconds in one.seconds)
        lines.append(f"| {one.name} | {statistics.median(one.seconds):.1f} | {runs} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="ci/bench media", description="Measure the media.")
    parser.add_argument("--rounds", type=int, default=1, help="starts of each; default 1")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--cold", action="store_true", help="also build with nothing kept")
    parser.add_argument("--variants", action="store_true", help="weigh each variant, too")
    parser.add_argument("--stock", action="store_true", help="start a stock Debian live beside it")
    given = parser.parse_args()
    base = ensure_base()
    chosen = accelerator.choose(base.kernel, base.initrd)
    iso = media.ensure_iso()
    touched = ROOT / "rescue" / "__init__.py"
    touched.touch()
    with tempfile.TemporaryDirectory(prefix="bench-media-") as name:
        words: list[str | Path] = [sys.executable, "-m", "builder.cli.main", "iso"]
        builds = [("again, after a change of code", timed([*words, Path(name) / "again.iso"]))]
        if given.cold:
            anew = [*words, Path(name) / "cold.iso", "--cache", Path(name) / "cache"]
            builds.append(("with nothing kept, downloads included", timed(anew)))
        weights = [*sizes(iso), *(variants(Path(name)) if given.variants else [])]
    uefi = start(iso, Firmware.UEFI, media.READY, chosen, given.rounds)
    if given.stock:
        peer = stock.ensure(ROOT / "build" / "stock")
        ours, theirs = start_in_turn(iso, peer, chosen, given.rounds)
        starts = [ours, uefi, theirs]
    else:
        starts = [start(iso, Firmware.BIOS, media.READY, chosen, given.rounds), uefi]
    given.out.mkdir(parents=True, exist_ok=True)
    text = report(weights, builds, starts, chosen.name)
    (given.out / "benchmarks-media.md").write_text(text)
    print(re.sub(r"^# .*\n+", "", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
