"""A whole image: written, read at any offset, split, cut and flipped."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from blake3 import blake3

from rescue.core.errors import (
    ImageDamaged,
    ImageError,
    ImageIncomplete,
    RescueError,
    UsageError,
)
from rescue.core.extent import Extent
from rescue.core.progress import Silent
from rescue.image import parts
from rescue.image.footer import Outcome
from rescue.image.header import CHUNK_SIZE
from rescue.image.partreader import Wanted
from rescue.image.parts import part_path
from rescue.image.reader import Image
from rescue.image.record import Coding, Type
from rescue.image.writer import ImageWriter
from rescue.verify.deep import verify_deep
from rescue.verify.stored import verify_stored
from tests.unit.image.making import SIZE, encoded, write


def test_any_offset_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.rescue"
    data = write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with Image.open(path) as image:
        assert image.size == SIZE
        assert image.read(0, SIZE) == data
        rng = random.Random(1)
        for _ in range(200):
            offset, length = rng.randrange(SIZE), rng.randrange(2 * CHUNK_SIZE)
            assert image.read(offset, length) == data[offset : offset + length]
        assert image.outcome is Outcome.COMPLETE
        assert image.manifest.volumes[0].label == "root"


def test_the_same_disk_gives_the_same_chunk_records(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", checkpoint=True)
    with Image.open(tmp_path / "a") as a, Image.open(tmp_path / "b") as b:
        assert a.index.digests == b.index.digests
        assert len(b.contents(Type.INDEX)) == 5
        assert b.read(0, SIZE) == a.read(0, SIZE)
    assert verify_deep(tmp_path / "b", Silent()).ok


def test_duplicates_and_zeros_are_stored_once(tmp_path: Path) -> None:
    write(tmp_path / "x")
    with Image.open(tmp_path / "x") as image:
        assert image.index.find(3) is not None
        assert image.index.positions[0] == image.index.positions[2]
        assert image.stored < 330_000


def test_an_image_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        ImageWriter(tmp_path / "x", b"{}")
    assert (tmp_path / "x").read_bytes() == before


def test_unfinished_is_incomplete(tmp_path: Path) -> None:
    writer = ImageWriter(tmp_path / "x", b"{}")
    writer.add(encoded(0, bytes(range(256)) * 4096))
    writer.close()
    with pytest.raises(ImageIncomplete):
        Image.open(tmp_path / "x")


def test_every_truncation_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    cut = tmp_path / "cut"
    lengths = {*range(0, len(data), 997), *range(len(data) - 200, len(data)), 1, 4096, 8192}
    for length in lengths:
        cut.write_bytes(data[:length])
        with pytest.raises(ImageError):
            Image.open(cut).close()


def test_every_flipped_byte_is_seen_by_both_verifications(tmp_path: Path) -> None:
    write(tmp_path / "x", checkpoint=True)
    data = (tmp_path / "x").read_bytes()
    hurt = tmp_path / "hurt"
    rng = random.Random(2)
    places = {*range(0, len(data), 1021), *rng.sample(range(len(data)), 300)}
    places |= {*range(len(data) - 700, len(data), 3)}
    for at in places:
        hurt.write_bytes(data)
        with hurt.open("r+b") as file:
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << rng.randrange(8)]))
        for check in (verify_stored, verify_deep):
            try:
                report = check(hurt, Silent())
            except ImageDamaged:
                continue
            assert not report.ok, f"byte {at} was not seen by {check.__name__}"


def test_damage_is_named_by_partition(tmp_path: Path) -> None:
    write(tmp_path / "x")
    with Image.open(tmp_path / "x") as image:
        entry = image.index.find(2)
        assert entry is not None
    with (tmp_path / "x").open("r+b") as file:
        file.seek(8192 + entry.position + 100)
        file.write(b"XX")
    report = verify_stored(tmp_path / "x", Silent())
    (damage,) = report.damages
    assert "chunk 2" in damage.what
    assert damage.where == "partition 1 (ext4, root), 2.0 MiB from its start"
    assert damage.extents == (Extent(2 * CHUNK_SIZE, CHUNK_SIZE),)


def test_a_shared_record_that_is_damaged_names_every_chunk(tmp_path: Path) -> None:
    write(tmp_path / "x")
    with (tmp_path / "x").open("r+b") as file:
        file.seek(8192 + 200)
        file.write(b"XX")
    report = verify_deep(tmp_path / "x", Silent())
    numbers = {extent.start // CHUNK_SIZE for d in report.damages for extent in d.extents}
    assert numbers == {0, 3}


def test_split_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescue.image.header.MIN_CAPACITY", 1)
    first = tmp_path / "x.rescue"
    data = write(first, capacity=100_000)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["x.rescue", "x.rescue.002", "x.rescue.003", "x.rescue.004"]
    with Image.open(first) as image:
        assert image.read(0, SIZE) == data
    assert verify_deep(first, Silent()).ok
    with pytest.raises(UsageError, match="part 2"):
        Image.open(tmp_path / "x.rescue.002")

    third = tmp_path / "x.rescue.003"
    kept = third.read_bytes()
    third.unlink()
    with pytest.raises(ImageIncomplete, match=r"x\.rescue\.003 is missing"):
        Image.open(first)
    third.write_bytes((tmp_path / "x.rescue.002").read_bytes())
    with pytest.raises(ImageDamaged, match="is part 2, not part 3"):
        Image.open(first)
    write(tmp_path / "y", capacity=100_000)
    third.write_bytes((tmp_path / "y.003").read_bytes())
    with pytest.raises(ImageDamaged, match="another image"):
        Image.open(first)
    third.write_bytes(kept)
    last = tmp_path / "x.rescue.004"
    last.unlink()
    with pytest.raises(ImageIncomplete):
        Image.open(first)


def test_a_restore_asks_for_each_disc_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at both ends of the disk, reads all, and comes back to the ends: as restore does."""
    monkeypatch.setattr("rescue.image.header.MIN_CAPACITY", 1)
    drive, shelf = tmp_path / "drive", tmp_path / "shelf"
    drive.mkdir()
    shelf.mkdir()
    data = write(shelf / "x.rescue", capacity=100_000)
    asked: list[int | None] = []

    def put_in(name: str) -> None:
        for path in drive.iterdir():
            path.rename(shelf / path.name)
        (shelf / name).rename(drive / name)

    def ask(wanted: Wanted) -> None:
        asked.append(wanted.part)
        put_in(
            "x.rescue.004" if wanted.part is None else part_path(Path("x.rescue"), wanted.part).name
        )

    put_in("x.rescue")
    with Image.open(drive / "x.rescue", ask=ask) as image:
        head, tail = image.read(0, 4096), image.read(SIZE - 4096, 4096)
        assert image.read(0, SIZE) == data
        assert (image.read(0, 4096), image.read(SIZE - 4096, 4096)) == (head, tail)
    # The last one for the index, then each in its turn, and none again.
    assert asked == [None, 0, 1, 2, 3]


def test_discs_are_asked_for_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drive that holds one disc at a time: each part is put in when it is asked for."""
    monkeypatch.setattr("rescue.image.header.MIN_CAPACITY", 1)
    drive, shelf = tmp_path / "drive", tmp_path / "shelf"
    drive.mkdir()
    shelf.mkdir()
    data = write(shelf / "x.rescue", capacity=100_000)
    asked: list[str] = []

    def put_in(name: str) -> None:
        for path in drive.iterdir():
            path.rename(shelf / path.name)
        (shelf / name).rename(drive / name)

    def ask(what: str) -> None:
        asked.append(what)
        assert len(asked) < 30
        wrong_first = len(asked) == 3
        name = "x.rescue.004" if "last part" in what else what.split()[-1]
        put_in("x.rescue" if wrong_first else name)

    put_in("x.rescue")
    with pytest.raises(ImageIncomplete):
        Image.open(drive / "x.rescue")
    with Image.open(drive / "x.rescue", ask=ask) as image:
        assert asked[0] == "put in the disc with the last part of x.rescue"
        assert image.read(0, SIZE) == data
        assert image.parts.one_by_one
    assert asked[-1].startswith("put in the disc with x.rescue")


def test_part_names_are_arithmetic() -> None:
    assert parts.part_path(Path("a/x"), 0) == Path("a/x")
    assert parts.part_path(Path("a/x"), 1) == Path("a/x.002")
    assert parts.part_path(Path("a/x"), 9998) == Path("a/x.9999")


@pytest.mark.parametrize("path", ["missing", "."])
def test_opening_what_is_no_file(tmp_path: Path, path: str) -> None:
    with pytest.raises(RescueError) as caught:
        Image.open(tmp_path / path)
    assert caught.value.exit_code == 10


def test_stored_coding_is_read_back(tmp_path: Path) -> None:
    noise = blake3(b"n").digest(length=CHUNK_SIZE)
    assert encoded(0, noise).coding is Coding.STORED
