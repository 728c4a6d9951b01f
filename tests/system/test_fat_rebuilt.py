"""A FAT made longer and shorter by its structures: fsck finds nothing, every file is as it was."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.restore import fatfit
from tests.system import volumes
from tests.system.test_fit import cut_out, empty, parts
from tests.system.test_round_trip import rescue
from tests.system.volumes import Hashes


@dataclass(frozen=True)
class Fat:
    """A volume whose files lie at its very end."""

    path: Path
    files: Hashes
    kind: volumes.Kind


@pytest.fixture(scope="module", params=["16", "32", "32-folders"])
def fat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fat:
    folder = tmp_path_factory.mktemp("fat")
    bits, size = ("16", 64 * MIB) if request.param == "16" else ("32", 96 * MIB)
    volume = folder / "volume"
    with volume.open("wb") as file:
        file.truncate(size)
    run(["mkfs.fat", "-F", bits, "-n", "AT THE END", "-i", "1234abcd", volume])
    files = folder / "files"
    files.mkdir()
    volumes.write_files(files, posix=False, seed=4, room=6 * MIB)
    (files / "empty folder").mkdir()
    (files / "deep").mkdir()
    (files / "deep" / "er").mkdir()
    (files / "deep" / "er" / "file.txt").write_bytes(b"here" * 5000)
    (files / "big").unlink()
    # What comes first takes the front of the volume, and goes again.
    filler = folder / "filler"
    filler.write_bytes(bytes(size - 24 * MIB))
    run(["mcopy", "-i", volume, filler, "::filler"])
    entries = [str(path) for path in sorted(files.iterdir())]
    run(["mcopy", "-s", "-Q", "-m", "-i", volume, *entries, "::"])
    if request.param == "32-folders":
        # More names in one folder than a cluster has room for, their folder's chain at the end too.
        many = folder / "many"
        many.mkdir()
        for number in range(300):
            (many / f"a name that is long enough {number:03}").write_bytes(bytes([number % 256]))
        run(["mcopy", "-s", "-Q", "-i", volume, many, "::many"])
        files = folder / "all"
        run(["cp", "-a", folder / "files", files])
        run(["cp", "-a", many, files / "many"])
    run(["mdel", "-i", volume, "::filler"])
    filler.unlink()
    kind = volumes.KINDS[f"fat{bits}"]
    assert volumes.fault(kind, volume) == ""
    found = volumes.read(kind, volume, folder)
    assert found == volumes.folded(volumes.hashes_of(files))
    return Fat(volume, found, kind)


def rebuilt(fat: Fat, path: Path, length: int, hidden: int | None = None) -> fatfit.Rebuilt:
    """Do what a restore does: copies, then patches, into a file full of something else."""
    data = fat.path.read_bytes()
    made = fatfit.rebuild(lambda at, count: data[at : at + count], length, hidden)
    area = bytearray(b"\xa5" * length)
    for source, count, target in made.copies:
        area[target : target + count] = data[source : source + count]
    for offset, patch in made.patches:
        area[offset : offset + len(patch)] = patch
    assert len(area) == length, "it wrote behind the end"
    path.write_bytes(area)
    return made


def limits(fat: Fat) -> tuple[int, int]:
    data = fat.path.read_bytes()
    return fatfit.limits(lambda at, count: data[at : at + count])


@pytest.mark.parametrize("to", ["lowest", "a little less", "the same", "a little more", "twice"])
def test_of_any_length(fat: Fat, tmp_path: Path, to: str) -> None:
    size = fat.path.stat().st_size
    low, high = limits(fat)
    lengths = {
        "lowest": low,
        "a little less": size - 3 * MIB,
        "the same": size,
        "a little more": size + 512 * 7,
        "twice": min(2 * size, high),
    }
    volume = tmp_path / "volume"
    made = rebuilt(fat, volume, lengths[to], hidden=2048)
    assert volumes.fault(fat.kind, volume) == ""
    assert volumes.read(fat.kind, volume, tmp_path) == fat.files
    told = run(["blkid", "--probe", "--output", "export", volume]).text
    assert "UUID=1234-ABCD" in told and "LABEL_FATBOOT=AT\\ THE\\ END" in told
    assert volume.read_bytes()[28:32] == (2048).to_bytes(4, "little")
    if to == "lowest":
        assert low < size * 7 // 10 or fat.kind.name == "fat32"
    if to == "twice":
        assert len(made.copies) <= 2  # no cluster changed its number


@pytest.mark.root
def test_through_a_restore(fat: Fat, tmp_path: Path) -> None:
    """Clusters that take the numbers of free ones are not written over by their neighbours."""
    low, _ = limits(fat)
    size = fat.path.stat().st_size
    disk, image, back = tmp_path / "disk", tmp_path / "image", tmp_path / "back"
    empty(disk, size + 3 * MIB)
    run(["sfdisk", "--quiet", disk], input=f"label: gpt\nstart=2048, size={size // 512}\n".encode())
    run(["dd", f"if={fat.path}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse"])
    rescue("capture", disk, image)
    empty(back, max(low, size - 20 * MIB) + 3 * MIB)
    rescue("restore", "--fit", "1", image, back, "--erase", back)
    place = parts(back)[1]
    assert place[1] < size
    volume = cut_out(back, place, tmp_path / "volume")
    assert volumes.fault(fat.kind, volume) == ""
    assert volumes.read(fat.kind, volume, tmp_path) == fat.files


def test_a_byte_too_short(fat: Fat, tmp_path: Path) -> None:
    low, _ = limits(fat)
    with pytest.raises(fatfit.NoFat):
        rebuilt(fat, tmp_path / "volume", low // 2)


def test_damage_is_refused_or_rebuilt_but_never_hangs_or_leaves_the_volume(fat: Fat) -> None:
    data = fat.path.read_bytes()
    rng = random.Random(9)
    shape = fatfit.shape_of(data[:512])
    front = shape.data + 64 * shape.cluster
    for _ in range(8):
        hurt = bytearray(data)
        for _ in range(rng.choice((1, 3, 40))):
            hurt[rng.randrange(rng.choice((90, 600, front)))] = rng.randrange(256)
        whole = bytes(hurt)
        length = rng.choice((len(data) - 4 * MIB, len(data) + 8 * MIB))

        def read(at: int, count: int, whole: bytes = whole) -> bytes:
            return whole[at : at + count]

        try:
            made = fatfit.rebuild(read, length)
        except fatfit.NoFat:
            continue
        for source, count, target in made.copies:
            assert source >= 0 and count > 0 and target >= 0
            assert target + count <= length
        assert all(offset + len(patch) <= length for offset, patch in made.patches)
