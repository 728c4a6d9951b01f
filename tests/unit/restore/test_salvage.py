"""Salvage: whatever is done to an image, what is called intact is what was captured."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rescue.core import mapfile
from rescue.core.errors import ImageError, ImageLocked, UsageError
from rescue.core.extent import ExtentMap
from rescue.core.progress import Silent
from rescue.image.header import BODY_START, CHUNK_SIZE
from rescue.image.keys import new_private_key
from rescue.image.writer import ImageWriter
from rescue.restore.salvage import Salvaged, salvage
from rescue.upkeep.keyring import Access, new_lock
from tests.unit.image.making import encoded, write


def save(image: Path, **more: object) -> tuple[Salvaged, bytes]:
    """What is salvaged; the files are gone afterwards."""
    target, listed = image.with_name("out"), image.with_name("out.map")
    try:
        done = salvage(image, target, listed, Silent(), **more)  # type: ignore[arg-type]
        assert mapfile.read(listed) == done.lost
        return done, target.read_bytes()
    finally:
        target.unlink(missing_ok=True)
        listed.unlink(missing_ok=True)


def check(done: Salvaged, found: bytes, data: bytes) -> None:
    """What is not called lost is right; what is lost is zeros."""
    for extent in done.lost.complement(0, min(done.size, len(found))):
        assert found[extent.start : extent.end] == data[extent.start : extent.end]
    for extent in done.lost:
        assert not any(found[extent.start : extent.end])


def test_a_whole_image(tmp_path: Path) -> None:
    data = write(tmp_path / "x")
    done, found = save(tmp_path / "x")
    assert done.by_index and not done.lost
    assert found == data


def test_damage_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = write(path, checkpoint=True)
    whole = path.read_bytes()
    rng = random.Random(3)
    saved = 0
    for at in [0, 4100, BODY_START + 3, len(whole) - 1, *rng.sample(range(len(whole)), 150)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        done, found = save(path)
        check(done, found, data)
        saved += done.intact
    assert saved > 100 * CHUNK_SIZE


def test_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = write(path)
    whole = path.read_bytes()
    before = 0
    for length in range(BODY_START, len(whole), 4999):
        path.write_bytes(whole[:length])
        done, found = save(path)
        assert not done.by_index
        check(done, found, data)
        assert done.intact >= before
        before = done.intact
    assert before >= CHUNK_SIZE


def test_sealed(tmp_path: Path) -> None:
    path, key = tmp_path / "x", new_private_key()
    data = write(path, lock=new_lock(Access(recipients=(key.public,))))
    whole = path.read_bytes()
    for length in (len(whole), len(whole) - 60, len(whole) - 2000):
        path.write_bytes(whole[:length])
        done, found = save(path, secrets=[key])
        check(done, found, data)
        assert done.intact >= CHUNK_SIZE
        for wrong in ([], [new_private_key()]):
            with pytest.raises(ImageLocked):
                save(path, secrets=wrong)
            assert not path.with_name("out").exists()


def test_never_over_a_file(tmp_path: Path) -> None:
    write(tmp_path / "x")
    for name in ("out", "out.map"):
        (tmp_path / name).write_bytes(b"precious")
        with pytest.raises(UsageError, match="exists already"):
            salvage(tmp_path / "x", tmp_path / "out", tmp_path / "out.map", Silent())
        assert (tmp_path / name).read_bytes() == b"precious"
        (tmp_path / name).unlink()


def test_nothing_to_salvage(tmp_path: Path) -> None:
    for content in (b"", b"x" * 100_000, b"RESCUE\x1a\n" + bytes(9000)):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ImageError):
            save(tmp_path / "x")
    write(tmp_path / "y")
    (tmp_path / "x").write_bytes((tmp_path / "y").read_bytes()[:BODY_START])
    done, found = save(tmp_path / "x")  # a header and nothing behind it
    assert (done.intact, done.by_index, found, done.lost) == (0, False, b"", ExtentMap())


def noise(path: Path, capacity: int) -> bytes:
    """An image of noise that is split into many parts."""
    data = random.Random(9).randbytes(6 * CHUNK_SIZE)
    writer = ImageWriter(path, b"{}", capacity=capacity)
    for number in range(6):
        writer.add(encoded(number, data[number * CHUNK_SIZE : (number + 1) * CHUNK_SIZE]))
    writer.close()
    return data


@pytest.mark.parametrize("how", ["missing", "foreign", "short", "no header"])
def test_a_part_that_is_not_there(tmp_path: Path, how: str) -> None:
    """What crosses it is lost; what lies in the others is not."""
    path = tmp_path / "x"
    data = noise(path, 1 << 20)
    part = tmp_path / "x.003"
    if how == "missing":
        part.unlink()
    elif how == "foreign":
        part.write_bytes((tmp_path / "x.004").read_bytes())
    elif how == "short":
        part.write_bytes(part.read_bytes()[: BODY_START + 1000])
    else:
        part.write_bytes(bytes(BODY_START) + part.read_bytes()[BODY_START:])
    done, found = save(path)
    check(done, found, data)
    lost = {extent.start // CHUNK_SIZE for extent in done.lost}
    assert lost and lost <= {1, 2, 3}
    assert done.intact >= 3 * CHUNK_SIZE
