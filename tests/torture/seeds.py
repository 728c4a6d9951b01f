"""Real images of every kind, small, for the fuzzer to spoil."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import RescueError
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.image.keys import RecoveryKey, parse_recovery
from tests.torture.calling import change, make_disk, must

_FAT = (2 * MIB, 8 * MIB)


@dataclass(frozen=True)
class Seeds:
    """The images, what opens the sealed one, and a FAT volume with files."""

    whole: Path
    split: Path
    sealed: Path
    child: Path
    fat: Path
    key: RecoveryKey


def make(folder: Path) -> Seeds:
    """A GPT disk with FAT and ext4, captured in every way."""
    disk, fat = folder / "disk.raw", folder / "fat.raw"
    make_disk(disk, 20, seed=4)
    with fat.open("wb") as file:
        file.truncate(_FAT[1])
    run(["mkfs.vfat", "-F", "16", "-s", "1", "-n", "SEED", fat])
    for number in range(12):
        one = folder / f"a file with a long name {number}.text"
        one.write_bytes(bytes([number]) * (number * 3000))
        below = f"::/folder {number % 3}"
        run(["mmd", "-i", fat, below], check=False)
        run(["mcopy", "-i", fat, one, below])
        one.unlink()
    lines = "label: gpt\nstart=4096, size=16384, name=fat\nstart=20480, size=16384, name=noise\n"
    run(["sfdisk", "--quiet", "--wipe=always", disk], input=lines.encode())
    with disk.open("r+b") as file:
        file.seek(_FAT[0])
        file.write(fat.read_bytes())
    whole, child = folder / "whole.rescue", folder / "child.rescue"
    must(0, "capture", disk, whole)
    must(0, "capture", "--part-size", "3M", disk, folder / "split.rescue")
    change(disk, 9, places=6)
    run(["sfdisk", "--quiet", "--wipe=never", disk], input=lines.encode())
    must(0, "capture", "--parent", whole, disk, child)
    sealed, key = _sealed(folder, disk)
    return Seeds(whole, folder / "split.rescue", sealed, child, fat, key)


def _sealed(folder: Path, disk: Path) -> tuple[Path, RecoveryKey]:
    """An encrypted image and the recovery key that the capture made and showed."""
    sealed = folder / "sealed.rescue"
    called = must(0, "capture", "--recovery-key", disk, sealed)
    for line in (called.out + "\n" + called.err).splitlines():
        try:
            return sealed, parse_recovery(line.split(":", 1)[-1].strip())
        except RescueError:
            continue
    raise AssertionError(f"the capture showed no recovery key: {called.out}{called.err}")
