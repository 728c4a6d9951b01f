"""Chains: 30 states, each restored bit for bit; merged, pruned, broken on purpose, and salvaged."""

from __future__ import annotations

import filecmp
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.core import mapfile
from rescue.core.extent import ExtentMap
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.image.header import BODY_START, CHUNK_SIZE, HEADER_SIZE
from rescue.image.reader import Image
from rescue.image.record import Coding, Type
from tests.torture.calling import change, digest, digests, make_disk, must

LENGTH = 30


@dataclass(frozen=True)
class Chain:
    """A folder of images, each the child of the one before, and the digest of each state."""

    folder: Path
    states: tuple[str, ...]
    disk: Path

    def image(self, number: int) -> Path:
        """Path of state ``number``."""
        return self.folder / f"{number:02}.rescue"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Thirty states of a disk: scattered small writes, and whole MiB now and then."""
    folder = tmp_path_factory.mktemp("chain")
    disk = tmp_path_factory.mktemp("disk") / "disk.raw"
    make_disk(disk, 10, 51)
    states = []
    for number in range(LENGTH + 1):
        made = Chain(folder, (), disk)
        parent = ("--parent", made.image(number - 1)) if number else ()
        if number:
            change(disk, 100 + number, places=3)
        if number == 7:  # a piece that was there before comes back
            with disk.open("r+b") as file:
                file.write(bytes(MIB))
        must(0, "capture", "--all-sectors", *parent, disk, made.image(number))
        states.append(digest(disk))
    assert len(set(states)) == LENGTH + 1
    return Chain(folder, tuple(states), disk)


def restored(image: Path, folder: Path, *words: object) -> str:
    """Digest of what an image restores."""
    back = folder / "back.raw"
    must(0, "restore", image, back, *words)
    value = digest(back)
    back.unlink()
    return value


def test_every_state_comes_back(chain: Chain, tmp_path: Path) -> None:
    for number, state in enumerate(chain.states):
        assert restored(chain.image(number), tmp_path) == state, number
    must(0, "verify", "--deep", chain.image(LENGTH))
    must(0, "verify", chain.image(LENGTH))


def test_children_are_small_and_shallow(chain: Chain) -> None:
    """Only what differs is stored; differences are used, and none is from a difference."""
    full = chain.image(0).stat().st_size
    small = sorted(chain.image(n).stat().st_size for n in range(1, LENGTH + 1))
    assert small[LENGTH // 2] < full / 3
    deltas = 0
    with Image.open(chain.image(LENGTH)) as image:
        assert len(image.chain) == LENGTH + 1
        for entry in image.index.entries():
            if not entry.stored:
                continue
            coding, payload = image.coded(entry, image.block(entry))
            if coding is Coding.DELTA:
                deltas += 1
                base = image.base_of(entry, payload)
                other, _ = image.coded(base, image.block(base))
                assert other is not Coding.DELTA
    assert deltas > 0


def test_merge(chain: Chain, tmp_path: Path) -> None:
    """One full image that shows what the last one shows, by itself."""
    out = tmp_path / "merged.rescue"
    before = digests(chain.folder)
    must(0, "merge", chain.image(LENGTH), out)
    assert digests(chain.folder) == before
    must(0, "verify", "--deep", out)
    assert restored(out, tmp_path) == chain.states[LENGTH]
    ours = json.loads(must(0, "show", "--json", out).out)
    theirs = json.loads(must(0, "show", "--json", chain.image(LENGTH)).out)
    for key in ("disk", "layout", "volumes", "ledger", "created"):
        assert ours["manifest"][key] == theirs["manifest"][key], key
    assert ours["manifest"]["chain"] == [] and len(theirs["manifest"]["chain"]) == LENGTH
    assert out.stat().st_mode & 0o777 == 0o600
    must(2, "merge", chain.image(LENGTH), out)  # never over an image
    # It can be a parent itself.
    must(0, "capture", "--all-sectors", "--parent", out, chain.disk, tmp_path / "next.rescue")
    assert restored(tmp_path / "next.rescue", tmp_path) == chain.states[LENGTH]


@pytest.fixture
def short(chain: Chain, tmp_path: Path) -> Chain:
    """A copy of the first three images, to be broken."""
    folder = tmp_path / "short"
    folder.mkdir()
    for number in range(3):
        shutil.copyfile(chain.image(number), folder / f"{number:02}.rescue")
    return Chain(folder, chain.states[:3], chain.disk)


def refused(status: int, short: Chain, tmp_path: Path, *words: str) -> str:
    """Everybody refuses the last image at open, in the same words; nothing is written."""
    said = set()
    target = tmp_path / "target.raw"
    child = tmp_path / "child.rescue"
    for command in (
        ("show", short.image(2)),
        ("verify", short.image(2)),
        ("verify", "--deep", short.image(2)),
        ("restore", short.image(2), target),
        ("merge", short.image(2), tmp_path / "merged.rescue"),
        ("capture", "--all-sectors", "--parent", short.image(2), short.disk, child),
    ):
        said.add(must(status, *command).err.split("error: ")[1])
        assert not target.exists() and not child.exists()
        assert not (tmp_path / "merged.rescue").exists()
    [line] = said
    for word in words:
        assert word in line
    return line


def test_parent_deleted(short: Chain, tmp_path: Path) -> None:
    short.image(1).unlink()
    refused(22, short, tmp_path, "the parent of", "is missing", "--look-in")
    assert restored(short.image(0), tmp_path) == short.states[0]


def test_grandparent_deleted(short: Chain, tmp_path: Path) -> None:
    short.image(0).unlink()
    refused(22, short, tmp_path, f"the parent of {short.image(1)} is missing")


def test_parent_replaced(short: Chain, tmp_path: Path) -> None:
    """Another image under the parent's name is not the parent: names mean nothing."""
    shutil.copyfile(short.image(0), short.image(1))
    refused(22, short, tmp_path, "is missing")


def test_parent_renamed_or_elsewhere(short: Chain, tmp_path: Path) -> None:
    short.image(1).rename(short.folder / "another name")
    assert restored(short.image(2), tmp_path) == short.states[2]
    away = tmp_path / "away"
    away.mkdir()
    (short.folder / "another name").rename(away / "x")
    must(22, "show", short.image(2))
    assert restored(short.image(2), tmp_path, "--look-in", away) == short.states[2]


def test_parent_changed(short: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same image id with another root: made by hand, for no writer does it."""
    parent, grand = short.image(1).read_bytes(), short.image(0).read_bytes()
    short.image(1).write_bytes(parent[:-100] + bytes([parent[-100] ^ 1]) + parent[-99:])
    refused(20, short, tmp_path)  # the footer is damaged
    short.image(1).write_bytes(parent)
    other, disk = tmp_path / "other.rescue", tmp_path / "other.raw"
    shutil.copyfile(short.disk, disk)
    change(disk, 77)
    words = ("capture", "--all-sectors", "--parent", short.image(0), disk, other)
    must(0, *words)
    # The header of the parent before the body of another child of the same grandparent.
    short.image(1).write_bytes(parent[:BODY_START] + other.read_bytes()[BODY_START:])
    refused(20, short, tmp_path)
    # A whole, sound image with the parent's id, and not its root.
    other.unlink()
    random_bytes, image_id = os.urandom, parent[24:40]
    monkeypatch.setattr(os, "urandom", lambda n: image_id if n == 16 else random_bytes(n))
    must(0, *words)
    monkeypatch.undo()
    must(0, "verify", "--deep", other, "--look-in", short.folder)
    other.replace(short.image(1))
    refused(20, short, tmp_path, "was changed after")
    short.image(1).write_bytes(parent)
    assert short.image(0).read_bytes() == grand
    assert restored(short.image(2), tmp_path) == short.states[2]


def test_parent_incomplete(short: Chain, tmp_path: Path) -> None:
    with short.image(1).open("r+b") as file:
        file.truncate(short.image(1).stat().st_size - 200)
    refused(22, short, tmp_path, f"{short.image(1)} is incomplete")


def test_parent_hurt_in_a_chunk(short: Chain, tmp_path: Path) -> None:
    """Damage that no header shows: verify names it, restore does not say success."""
    with Image.open(short.image(2)) as image:
        entry = next(e for e in image.index.entries() if e.stored and e.layer == 2)
    with short.image(0).open("r+b") as file:
        file.seek(BODY_START + entry.position + 80)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 8]))
    for words in (("verify",), ("verify", "--deep")):
        called = must(20, *words, short.image(2))
        assert f"chunk {entry.number}" in called.out
    must(20, "restore", short.image(2), tmp_path / "back.raw")


def test_parent_of_another_disk(short: Chain, tmp_path: Path) -> None:
    small = tmp_path / "small.raw"
    make_disk(small, 3, 1)
    child = tmp_path / "child.rescue"
    called = must(2, "capture", "--all-sectors", "--parent", short.image(0), small, child)
    assert "is of a disk of" in called.err
    must(20, "capture", "--all-sectors", "--parent", small, short.disk, child)
    must(10, "capture", "--all-sectors", "--parent", tmp_path / "none", short.disk, child)
    assert not child.exists()


def test_a_sealed_chain(chain: Chain, tmp_path: Path) -> None:
    key, first, second = (tmp_path / name for name in ("key", "1.rescue", "2.rescue"))
    public = must(0, "key", "new", key).out.strip()
    disk = tmp_path / "disk.raw"
    shutil.copyfile(chain.disk, disk)
    opening = ("--key-file", key)
    must(0, "capture", "--all-sectors", "--recipient", public, disk, first)
    change(disk, 5)
    must(23, "capture", "--all-sectors", "--parent", first, disk, second)
    assert not second.exists()
    must(0, "capture", "--all-sectors", "--parent", first, *opening, disk, second)
    assert restored(second, tmp_path, *opening) == digest(disk)
    out = tmp_path / "merged.rescue"
    must(23, "merge", second, out)
    must(0, "merge", second, out, *opening)
    assert restored(out, tmp_path, *opening) == digest(disk)
    first.unlink()
    must(22, "show", second, *opening)
    must(2, "capture", "--all-sectors", "--parent", out, "--encrypt", disk, tmp_path / "n")


def test_prune_never_breaks_a_chain(chain: Chain, tmp_path: Path) -> None:
    """Real images of one minute: all the same day. The newest stays, with all it was made from."""
    store = tmp_path / "store"
    store.mkdir()
    for number in range(5):
        shutil.copyfile(chain.image(number), store / f"{number:02}.rescue")
    disk, side = tmp_path / "disk.raw", store / "side.rescue"
    shutil.copyfile(chain.disk, disk)
    must(0, "capture", "--all-sectors", "--parent", store / "01.rescue", disk, side)
    other = store / "other.rescue"
    must(0, "capture", "--all-sectors", "--part-size", "3M", disk, other)
    shutil.copyfile(chain.image(6), store / "orphan.rescue")
    (store / "a person's file").write_bytes(b"text")
    before = digests(store)
    wish = ("prune", store, "--keep-daily", 1, "--json")
    planned = json.loads(must(0, *wish, "--dry-run").out)
    assert planned["dry_run"] and digests(store) == before
    done = json.loads(must(0, *wish).out)
    assert done["remove"] == planned["remove"] and done["freed"] == planned["freed"] > 0
    after = digests(store)
    assert "a person's file" in after
    gone = {name.removesuffix(".002").removesuffix(".003") for name in before if name not in after}
    assert {Path(one["image"]).name for one in done["remove"]} <= gone | set(before)
    for one in done["keep"]:
        path = Path(one["image"])
        assert path.exists()
        if path.name != "orphan.rescue":
            must(0, "verify", path)
    must(2, "prune", store)
    assert digests(store) == after


def hurt(image: Path, position: int) -> None:
    with image.open("r+b") as file:
        file.seek(position)
        file.write(b"damage!")


def test_salvage_of_a_damaged_chunk(chain: Chain, tmp_path: Path) -> None:
    image, out = tmp_path / "x.rescue", tmp_path / "out.raw"
    must(0, "capture", "--all-sectors", chain.disk, image)
    must(0, "salvage", image, tmp_path / "whole.raw")
    assert filecmp.cmp(tmp_path / "whole.raw", chain.disk, shallow=False)
    with Image.open(image) as opened:
        entry = [e for e in opened.index.entries() if e.stored][3]
    hurt(image, BODY_START + entry.position + 100)
    data = json.loads(must(20, "salvage", "--json", image, out).out)
    start = entry.number * CHUNK_SIZE
    assert data["by_index"] and data["lost"] == [{"start": start, "length": CHUNK_SIZE}]
    assert mapfile.read(tmp_path / "out.raw.map") == ExtentMap.single(start, CHUNK_SIZE)
    same_but(chain.disk, out, ExtentMap.single(start, CHUNK_SIZE))
    must(2, "salvage", image, out)  # never over a file
    # ddrescue reads the map as its own.
    listed = run(["ddrescuelog", "--block-size=1Mi", "--list-blocks=-", f"{out}.map"]).text
    assert listed.split() == [str(entry.number)]


def same_but(disk: Path, out: Path, lost: ExtentMap) -> None:
    """``out`` is the disk, with zeros in what is lost."""
    ours, theirs = out.read_bytes(), bytearray(disk.read_bytes())
    assert len(ours) <= len(theirs)
    for extent in lost:
        theirs[extent.start : extent.end] = bytes(extent.length)
    assert ours == bytes(theirs[: len(ours)])


@pytest.mark.parametrize("sealed", [False, True], ids=["clear", "sealed"])
def test_salvage_without_an_index(chain: Chain, tmp_path: Path, sealed: bool) -> None:
    """A damaged index, an image cut off, a header copy lost: whole records are searched for."""
    image, key, cut = tmp_path / "x.rescue", tmp_path / "key", tmp_path / "cut.rescue"
    public = must(0, "key", "new", key).out.strip()
    opening = ("--key-file", key) if sealed else ()
    must(0, "capture", "--all-sectors", *(("--recipient", public) if sealed else ()),
         chain.disk, image)  # fmt: skip
    with Image.open(image, secrets=[]) if not sealed else opened_by(image, key) as opened:
        index = next(item for item in opened.items if item.type is Type.INDEX)
        entries = [e for e in opened.index.entries() if e.stored]
        singles = [e for e in entries if sum(o.position == e.position for o in entries) == 1]
    for number, damage in enumerate(("index", "cut", "header", "chunk and index")):
        shutil.copyfile(image, cut)
        if "index" in damage:
            hurt(cut, BODY_START + index.position + 70)
        if "chunk" in damage:
            hurt(cut, BODY_START + singles[1].position + 70)
        if damage == "header":
            hurt(cut, 100)
            hurt(cut, BODY_START + index.position + 70)
        if damage == "cut":
            with cut.open("r+b") as file:
                file.truncate(BODY_START + singles[-1].position + 10)
        out = tmp_path / f"{number}.raw"
        done = must(20, "salvage", "--json", cut, out, *opening)
        data = json.loads(done.out)
        assert data["by_index"] is False
        lost = mapfile.read(tmp_path / f"{number}.raw.map")
        same_but(chain.disk, out, lost)
        last = singles[-1] if damage == "cut" else None
        for entry in singles:
            where = entry.number * CHUNK_SIZE
            saved = not lost.contains(where) and where < out.stat().st_size
            expected = entry is not last and not ("chunk" in damage and entry is singles[1])
            assert saved == expected, (damage, entry.number)
    if sealed:
        must(23, "salvage", cut, tmp_path / "n.raw")
        assert not (tmp_path / "n.raw").exists() and not (tmp_path / "n.raw.map").exists()


def opened_by(image: Path, key: Path) -> Image:
    from rescue.image.keys import parse_secret

    return Image.open(image, secrets=[parse_secret(key.read_text().strip())])


def test_salvage_of_nothing(tmp_path: Path) -> None:
    """Random bytes, an empty file, half a header: one line, and no file is made."""
    rng = random.Random(1)
    for number, content in enumerate((b"", b"RESCUE\x1a\n", rng.randbytes(HEADER_SIZE * 3))):
        image = tmp_path / f"{number}.rescue"
        image.write_bytes(content)
        must(20, "salvage", image, tmp_path / "out.raw")
        assert not (tmp_path / "out.raw").exists()
    must(10, "salvage", tmp_path / "none", tmp_path / "out.raw")
    must(10, "salvage", tmp_path, tmp_path / "out.raw")
    assert not (tmp_path / "out.raw").exists()
