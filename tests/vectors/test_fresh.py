"""Images that today's writer makes, whatever the disk: the second reader restores them."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from tests.vectors import make, reader
from tests.vectors.library import KEYS

MIB = 1 << 20
SECRET = ["--recovery-key-file", str(KEYS / "recovery")]


def random_disk(rng: random.Random, length: int) -> bytearray:
    """Zeros, noise, text and repeats, in pieces of any length at any place."""
    disk = bytearray(length)
    for _ in range(rng.randrange(12)):
        at = rng.randrange(length)
        count = min(rng.choice((1, 512, 70_000, MIB, MIB)), length - at)
        piece = rng.choice((rng.randbytes, lambda n: b"again " * (n // 6)))(count)
        disk[at : at + len(piece)] = piece
    if length > 3 * MIB:
        disk[2 * MIB : 3 * MIB] = disk[:MIB]
    return disk


@pytest.mark.parametrize("seed", range(12))
def test_fresh(
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    disk = random_disk(rng, rng.choice((512, MIB, 2 * MIB + 512, 4 * MIB, 6 * MIB + 1536)))
    lock = make.locks()["all"] if seed % 2 else None
    split = MIB if seed % 3 == 0 else 0
    names = [f"disk-{n}" for n in range(rng.randrange(1, 4))]
    for n, name in enumerate(names):
        parent = {"parent": Path(f"{names[n - 1]}.rescue")} if n else {"lock": lock}
        make.capture(
            bytes(disk),
            name,
            all_sectors=True,
            capacity=split,
            level=rng.choice((1, 3, 9)),
            secrets=(make.RECOVERY,),
            **parent,
        )
        assert reader.main([f"{name}.rescue", "--out", "out", *(SECRET if lock else [])]) == 0
        assert capsys.readouterr().out == hashlib.sha256(disk).hexdigest() + "\n"
        assert Path("out").read_bytes() == disk
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(disk))
            disk[at] ^= 0xFF
