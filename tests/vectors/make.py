"""Makes the good vectors anew, with the real writer, into tests/vectors/good.

    python -m tests.vectors.make OUTPUT-FOLDER

Needs root (a loop device with sectors of 4,096 bytes) and mkfs.ext4, mkfs.vfat, sgdisk, sfdisk.
Image ids and salts are random, so what this makes differs from run to run; the disks do not. The
bad vectors are not made here: vectors.toml says how each differs from a good one.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from rescue.capture import pipeline
from rescue.capture.pipeline import CaptureOptions
from rescue.capture.plan import plan_capture
from rescue.core.extent import ExtentMap
from rescue.core.progress import Silent
from rescue.image import codec, keys, slots, writer
from rescue.image.record import Coding
from rescue.image.writer import Lock
from rescue.upkeep import keyring
from rescue.upkeep.merge import merge

MIB = 1 << 20
PASSPHRASE = "correct horse battery staple"
CHEAP = slots.Cost(memory_kib=64, passes=1, lanes=1)
MASTER = blake3(b"master key of the vectors").digest()
RECOVERY = keys.RecoveryKey(blake3(b"recovery key of the vectors").digest())
PRIVATE = keys.PrivateKey(blake3(b"private key of the vectors").digest())
OTHERS = (
    keys.RecoveryKey(blake3(b"another recovery key").digest()),
    keys.PrivateKey(blake3(b"another private key").digest()),
)


class Stop(Exception):
    """What a killed capture raises here."""


class Stopping(Silent):
    """Stops a capture after some bytes."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def advance(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Stop


def noise(name: str, length: int) -> bytes:
    """Bytes that do not shrink, always the same."""
    return blake3(name.encode()).digest(length=length)


def text(word: str, length: int) -> bytes:
    """Bytes that shrink to almost nothing."""
    line = f"{word} is what this line says again and again\n".encode()
    return (line * (length // len(line) + 1))[:length]


def chunk(*pieces: bytes) -> bytes:
    return b"".join(pieces).ljust(MIB, b"\0")


def plain_disk() -> bytes:
    """Text, zeros, noise, the text again, a chunk of mostly zeros, and a short last one."""
    chunks = (text("plain", MIB), bytes(MIB), chunk(noise("plain", 9000)), text("plain", MIB))
    return b"".join((*chunks, chunk(b"one word"), noise("end", 1536)))


def capture(disk: bytes | Path, name: str, **options: object) -> None:
    """Capture a disk, as bytes or as a device, to ``name``.rescue."""
    if isinstance(disk, bytes):
        Path(f"{name}.raw").write_bytes(disk)
        disk = Path(f"{name}.raw")
    everything = bool(options.pop("all_sectors", False))
    stop = options.pop("stop", None)
    reporter = Stopping(int(str(stop))) if stop is not None else Silent()
    wanted = CaptureOptions(threads=1, **options)  # type: ignore[arg-type]
    plan = plan_capture(disk, all_sectors=everything)
    with suppress(Stop):
        pipeline.execute(plan, Path(f"{name}.rescue"), wanted, reporter)


def run(*words: object, feed: str = "") -> str:
    done = subprocess.run(
        [str(word) for word in words], input=feed, text=True, check=True, capture_output=True
    )
    return done.stdout.strip()


def tables() -> None:
    """A GPT disk with ext4 and FAT, an MBR one with logical partitions, sectors of 4,096 bytes."""
    tree = Path("tree")
    tree.mkdir()
    for number in range(20):
        (tree / f"file {number}").write_bytes(noise(f"file {number}", 50 * number))
    for kind, length, words in (
        ("ext4", 4 * MIB, ("mkfs.ext4", "-q", "-O", "^has_journal", "-d", tree)),
        ("fat", 3 * MIB, ("mkfs.vfat", "-n", "VECTOR")),
    ):
        Path(f"{kind}.fs").write_bytes(bytes(length))
        run(*words, f"{kind}.fs")
    volumes = {kind: Path(f"{kind}.fs").read_bytes() for kind in ("ext4", "fat")}
    gpt = Path("gpt.raw")
    gpt.write_bytes(bytes(9 * MIB + 512 * 3))
    run("sgdisk", "-o", "-n1:1M:+4M", "-n2:5M:+3M", "-t2:0700", "-c1:root of a vector", gpt)
    put(gpt, {MIB: volumes["ext4"], 5 * MIB: volumes["fat"]})
    capture(gpt, "gpt")
    mbr = Path("mbr.raw")
    mbr.write_bytes(bytes(9 * MIB))
    table = "label: dos\nstart=2048,size=2048,type=83\nstart=4096,type=5\n"
    run("sfdisk", mbr, feed=table + "start=4160,size=6144,type=c\nstart=10368,size=4096,type=82\n")
    put(mbr, {4160 * 512: volumes["fat"], MIB: text("no filesystem", 1000)})
    capture(mbr, "mbr")
    big = Path("sectors-4096.raw")
    big.write_bytes(bytes(3 * MIB))
    loop = run("losetup", "--sector-size", "4096", "--find", "--show", big)
    try:
        run("sgdisk", "-o", "-n1:256:+1M", loop)
        put(Path(loop), {MIB: noise("4096", 4096)})
        capture(Path(loop), "sectors-4096")
    finally:
        run("losetup", "--detach", loop)


def put(disk: Path, pieces: Mapping[int, bytes]) -> None:
    with disk.open("r+b") as file:
        for at, data in pieces.items():
            file.seek(at)
            file.write(data)


def locks() -> dict[str, Lock]:
    """A lock for each kind of key slot, and one with all."""
    made = {
        "passphrase": slots.for_passphrase(PASSPHRASE.encode(), MASTER, CHEAP),
        "recovery": slots.for_recovery(RECOVERY.secret, MASTER),
        "recipient": slots.for_recipient(PRIVATE.public, MASTER),
    }
    found = {name: Lock(MASTER, keys.slot_area([slot])) for name, slot in made.items()}
    return {**found, "all": Lock(MASTER, keys.slot_area(list(made.values())))}


def chains(lock: Lock | None, name: str) -> None:
    """Three images: a full one, one with differences, one that also moves, zeroes and repeats."""
    secrets = (RECOVERY,)
    first = bytearray(plain_disk())
    first[2 * MIB : 2 * MIB + 5000] = noise("first", 5000)
    capture(bytes(first), f"{name}-1", lock=lock)
    second = bytearray(first)
    second[2 * MIB + 700 : 2 * MIB + 710] = b"ten bytes!"
    capture(bytes(second), f"{name}-2", parent=Path(f"{name}-1.rescue"), secrets=secrets)
    third = bytearray(second)
    third[0:MIB] = second[2 * MIB : 3 * MIB]
    third[2 * MIB + 9 : 2 * MIB + 12] = b"..."
    third[3 * MIB : 4 * MIB] = bytes(MIB)
    third[4 * MIB : 4 * MIB + 5] = b"new w"
    capture(bytes(third), f"{name}-3", parent=Path(f"{name}-2.rescue"), secrets=secrets)
    merge(Path(f"{name}-3.rescue"), Path(f"{name}-merged.rescue"), Silent(), secrets=secrets)


def resumed(lock: Lock | None, name: str) -> None:
    """Stopped after four chunks that were checkpointed, gone on with in a second segment."""
    disk = b"".join(chunk(text(f"chunk {n}", 5000)) for n in range(11)) + b"tail"
    before, writer.CHECKPOINT_SECONDS = writer.CHECKPOINT_SECONDS, 0
    try:
        capture(disk, name, lock=lock, stop=7 * MIB)
    finally:
        writer.CHECKPOINT_SECONDS = before
    Path(f"{name}-stopped.rescue").write_bytes(Path(f"{name}.rescue").read_bytes())
    capture(disk, name, secrets=(RECOVERY,), resume=True)


def split() -> None:
    """Four parts of 1 MiB. Chunks of text are stored as they are: legal, and small when packed."""
    disk = b"".join(text(f"part {n}", MIB) for n in range(3)) + text("last", 200_000)
    compress, codec.compress = (
        codec.compress,
        lambda content, level: (Coding.STORED, bytes(content)),
    )
    try:
        capture(disk, "split", capacity=MIB)
    finally:
        codec.compress = compress


def write_keys(folder: Path) -> None:
    """The secrets of the vectors, and others that open none of them."""
    folder.mkdir(exist_ok=True)
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    (folder / "passphrase-wrong").write_text("incorrect horse\n")
    (folder / "recovery").write_text(keys.recovery_words(RECOVERY) + "\n")
    (folder / "recovery-wrong").write_text(keys.recovery_words(OTHERS[0]) + "\n")
    (folder / "recipient").write_text(keys.secret_line(PRIVATE) + "\n")
    (folder / "recipient-wrong").write_text(keys.secret_line(OTHERS[1]) + "\n")


def make() -> None:
    """All good vectors, into the working directory."""
    capture(plain_disk(), "plain")
    capture(bytes(3 * MIB), "zeros")
    capture(b"\xaa" * 512, "tiny", all_sectors=True)
    capture(noise("noise", 30_000) + bytes(MIB - 30_000), "one-chunk", level=19)
    tables()
    for name, lock in locks().items():
        capture(plain_disk()[: 3 * MIB + 77], f"sealed-{name}", lock=lock)
    chains(None, "chain")
    chains(locks()["recovery"], "sealed-chain")
    resumed(None, "resumed")
    resumed(locks()["recovery"], "sealed-resumed")
    bad = ExtentMap.of([(MIB + 512, MIB + 1536), (2 * MIB + 4096, 2 * MIB + 4608)])
    capture(plain_disk(), "unreadable", bad=bad)
    split()
    Path("new-keys.rescue").write_bytes(Path("sealed-recovery.rescue").read_bytes())
    access = keyring.Access(recipients=(PRIVATE.public,))
    keyring.add(Path("new-keys.rescue"), (RECOVERY,), access)
    keyring.remove(Path("new-keys.rescue"), (PRIVATE,), 1)


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    pipeline.this_machine = lambda: {"hostname": "vector", "firmware": "bios"}
    inspect = pipeline.describe
    pipeline.describe = lambda disk: inspect(replace(disk, path=Path(disk.path.name)))
    output = output.resolve()
    write_keys(output.parent / "keys")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make()
        for path in sorted(Path().glob("*.rescue*")):
            packed = lzma.compress(path.read_bytes(), preset=9)
            (output / f"{path.name}.xz").write_bytes(packed)
        for path in sorted(Path().glob("*.raw")):
            (output.parent / "disks.sha256").open("a").write(f"{run('sha256sum', path.name)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
