"""One bit in five of what describes an image, and others: a flip is found, and so is a cut end.

Five and eight have no common divisor: no byte is left out. ``ci/torture bits`` flips every bit.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.vectors import flips
from tests.vectors.library import GOOD, unpack

KEYS = flips.secrets()
STEP = 5


def image(name: str, folder: Path) -> Path:
    """A good image; whole, as both verifications say."""
    path = folder / f"{name}.rescue"
    path.write_bytes(unpack(GOOD / f"{path.name}.xz"))
    assert not flips.is_found(flips.verify_stored, path, ())
    assert not flips.is_found(flips.verify_deep, path, KEYS)
    return path


def test_bits_of_header_and_key_slots(tmp_path: Path) -> None:
    path = image("sealed-all", tmp_path)
    found = flips.Found()
    flips.flip(path, path, list(flips.header_bits(every=61))[::STEP], KEYS, found)
    assert not found.missed
    assert found.tried > 2 * 8 * 600 // STEP


@pytest.mark.parametrize("name", ["plain", "sealed-resumed"])
def test_bits_of_index_manifest_and_footer(tmp_path: Path, name: str) -> None:
    path = image(name, tmp_path)
    found = flips.Found()
    bits = list(flips.structure_bits(path.read_bytes()))[::STEP]
    flips.flip(path, path, bits, KEYS, found)
    assert not found.missed
    assert found.tried == len(bits) > 8 * 1500 // STEP


def test_random_bits_of_records(tmp_path: Path) -> None:
    found, rng = flips.Found(), random.Random(3)
    for name in ("plain", "sealed-recovery", "chain-1", "resumed"):
        path = image(name, tmp_path)
        flips.flip(path, path, flips.record_bits(path.read_bytes(), rng, 500), KEYS, found)
    assert not found.missed
    assert found.tried == 2000


def test_random_bits_of_a_parent(tmp_path: Path) -> None:
    parent = image("chain-1", tmp_path)
    path = image("chain-2", tmp_path)
    found, rng = flips.Found(), random.Random(4)
    flips.flip(path, parent, flips.record_bits(parent.read_bytes(), rng, 300), KEYS, found)
    assert not found.missed


@pytest.mark.parametrize("name", ["plain", "sealed-resumed"])
def test_every_cut(tmp_path: Path, name: str) -> None:
    path = image(name, tmp_path)
    data, rng, found = path.read_bytes(), random.Random(5), flips.Found()
    lengths = [*flips.boundaries(data), *(rng.randrange(len(data)) for _ in range(200))]
    flips.cut(path, lengths, KEYS, found)
    assert not found.missed
    assert found.tried == len(lengths) > 200
