"""What the fuzzer spoils, and which parser it gives that to."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rescue.core.extent import Extent
from rescue.core.progress import Silent
from rescue.devices.blockio import Source
from rescue.devices.model import Layout
from rescue.image import codec, extents, record
from rescue.image.container import Container, parse_segment
from rescue.image.footer import parse_directory, parse_footer
from rescue.image.header import BODY_START, HEADER_SIZE, parse_header
from rescue.image.index import Index
from rescue.image.keys import parse_public, parse_recovery, parse_secret, recovery_words
from rescue.image.ledger import parse_ledger
from rescue.image.manifest import Manifest, parse_manifest
from rescue.image.reader import Image
from rescue.image.record import Type
from rescue.image.slots import parse_slots
from rescue.jobs import summary
from rescue.restore.planning import layout_of
from rescue.verify.deep import verify_deep
from rescue.verify.stored import verify_stored
from rescue.view.fat import Fat
from rescue.view.mounting import parse_mountinfo
from rescue.view.nodes import FileNode, Folder, Node
from rescue.view.server import tree
from rescue.view.sources import image_source
from rescue.view.store import DiskStore
from tests.torture.mutate import forge, rehash, spoil_bytes, spoil_json, spoil_same_size
from tests.torture.seeds import Seeds

Run = Callable[[random.Random], None]


@dataclass(frozen=True)
class Target:
    """One parser: how often it is chosen, and what else than a RescueError it may raise."""

    name: str
    run: Run
    weight: int = 10
    allowed: tuple[type[Exception], ...] = ()


def targets(seeds: Seeds, scratch: Path) -> list[Target]:
    """All of them."""
    container = Container(seeds.whole)
    contents = {kind: container.contents(kind) for kind in Type}
    contents[Type.CHUNK] = []
    image = Image.open(seeds.whole)
    frame = _frame(image)
    header = seeds.whole.read_bytes()[:BODY_START]
    sealed_header = seeds.sealed.read_bytes()[:BODY_START]
    footer = container.footer
    manifest = contents[Type.MANIFEST][0]
    listing = parse_listing(container)
    words = recovery_words(seeds.key).encode()

    def of(data: bytes, parse: Callable[[bytes], object]) -> Run:
        return lambda rng: _ignore(parse(spoil_bytes(rng, data)))

    def index(content: bytes) -> None:
        Index().extend(content, chunks=image.manifest.grid, layers=3)

    def captured(content: bytes) -> None:
        extents.decode(iter([content]), image.size)

    def layout(rng: random.Random) -> None:
        value = spoil_manifest(rng, manifest)
        Layout.from_json(value.layout)

    simple = [
        Target("header", lambda rng: _header(rng, rng.choice((header, sealed_header)))),
        Target("slots", of(sealed_header[256:2816], parse_slots)),
        Target("record", of(seeds.whole.read_bytes()[BODY_START : BODY_START + 64], record.parse)),
        Target("segment", of(contents[Type.SEGMENT][0], parse_segment)),
        Target("index", of(contents[Type.INDEX][0], index), 20),
        Target(
            "map", of(contents[Type.MAP][0], lambda c: extents.decode(iter([c]), image.size)), 20
        ),
        Target("manifest", lambda rng: _ignore(spoil_manifest(rng, manifest)), 40),
        Target("ledger", lambda rng: _ledger(rng, manifest), 20),
        Target("layout", layout, 20, (ValueError,)),
        Target("footer", lambda rng: _footer(rng, footer.to_bytes())),
        Target("directory", of(listing, lambda content: parse_directory(content, footer)), 20),
        Target("frame", lambda rng: _decode(rng, *frame), 20),
        Target("keys", lambda rng: _keys(rng, words)),
        Target("mountinfo", of(Path("/proc/self/mountinfo").read_bytes(), _mountinfo)),
    ]
    return [
        *simple,
        Target("bytes", lambda rng: _whole(rng, seeds.whole, scratch), 15),
        Target("forged", lambda rng: _forged(rng, seeds.whole, scratch), 60),
        Target("split", lambda rng: _split(rng, seeds.split, scratch), 5),
        Target("sealed", lambda rng: _sealed(rng, seeds, scratch), 8),
        Target("chain", lambda rng: _chain(rng, seeds, scratch), 8),
        Target("fat", lambda rng: _fat(rng, seeds.fat, scratch), 25, (ValueError, OSError)),
    ]


def parse_listing(container: Container) -> bytes:
    """Content of the directory record."""
    footer = container.footer
    block = container.parts.pread(footer.directory_position, footer.directory_total)
    head = record.parse(block)
    return codec.decompress(head.coding, block[record.HEADER_SIZE :], head.content)


def _ignore(_value: object) -> None:
    return None


def spoil_manifest(rng: random.Random, manifest: bytes) -> Manifest:
    """A spoiled manifest, parsed."""
    return parse_manifest(spoil_json(rng, manifest))


def _frame(image: Image) -> tuple[record.Coding, bytes, int]:
    entry = next(e for e in image.index.entries() if e.where == record.Coding.ZSTD)
    block = image.block(entry)
    head = record.parse(block)
    return head.coding, block[record.HEADER_SIZE :], head.content


def _decode(rng: random.Random, coding: record.Coding, payload: bytes, expected: int) -> None:
    spoiled = spoil_bytes(rng, payload)
    if rng.random() < 0.5:
        # The frame's own header, where sizes and windows are declared.
        spoiled = spoil_bytes(rng, payload[:14]) + payload[14:]
    if rng.random() < 0.3:
        _ignore(codec.decompress_delta(spoiled, payload, expected))
    else:
        _ignore(codec.decompress(coding, spoiled, expected))


def _header(rng: random.Random, block: bytes) -> None:
    copies = [block[:HEADER_SIZE], block[HEADER_SIZE:]]
    copies = [spoil_same_size(rng, copy) for copy in copies]
    if rng.random() < 0.8:
        copies = [rehash(copy) for copy in copies]
    header, _ = parse_header(b"".join(copies))
    parse_slots(header.slots)


def _footer(rng: random.Random, block: bytes) -> None:
    spoiled = spoil_same_size(rng, block)
    parse_footer(rehash(spoiled) if rng.random() < 0.8 else spoil_bytes(rng, block))


def _ledger(rng: random.Random, manifest: bytes) -> None:
    import json

    ledger = json.dumps(json.loads(manifest)["ledger"]).encode()
    try:
        value = json.loads(spoil_json(rng, ledger))
    except (ValueError, RecursionError):
        return
    parse_ledger(value)


def _keys(rng: random.Random, words: bytes) -> None:
    text = spoil_bytes(rng, words).decode("utf-8", "replace")
    rng.choice((parse_recovery, parse_secret, parse_public))(text)


def _mountinfo(data: bytes) -> None:
    parse_mountinfo(data.decode("utf-8", "surrogateescape"))


def use(rng: random.Random, path: Path, **keys: object) -> None:
    """Everything that is done with an image short of writing a disk."""
    with Image.open(path, **keys) as image:  # type: ignore[arg-type]
        summary.image_json(image)
        summary.image_pairs(image)
        summary.volume_rows(image.manifest)
        _ignore(image.captured)
        for _ in range(4):
            image.read(rng.randrange(max(1, image.size)), rng.choice((1, 4096, 2 << 20)))
        layout_of(image)
    what = rng.randrange(4)
    if what == 0:
        verify_stored(path, Silent())
    elif what == 1:
        verify_deep(path, Silent(), threads=1, **keys)  # type: ignore[arg-type]
    else:
        _view(rng, path, **keys)


def _view(rng: random.Random, path: Path, **keys: object) -> None:
    """The files of a view, read as the kernel would."""

    def opener(name: Path) -> Image:
        return Image.open(name, **keys)  # type: ignore[arg-type]

    with image_source(path, opener=opener) as opened:
        walk_nodes(rng, tree(opened))


def walk_nodes(rng: random.Random, folder: Folder, depth: int = 0) -> None:
    """Look into every folder and read some of each file; bounded, as a person's patience is."""
    try:
        entries: list[tuple[bytes, Node]] = list(folder.entries().items())
    except OSError:
        return
    for _, node in entries[:200]:
        if isinstance(node, Folder):
            if depth < 6:
                walk_nodes(rng, node, depth + 1)
        elif isinstance(node, FileNode):
            for _ in range(2):
                try:
                    node.read(rng.randrange(max(1, node.size)), rng.choice((1, 4096, 128 << 10)))
                    node.seek(rng.randrange(max(1, node.size)), rng.choice((3, 4)))
                except OSError:
                    continue


def _whole(rng: random.Random, seed: Path, scratch: Path) -> None:
    data = seed.read_bytes()
    at = rng.choice((0, max(0, len(data) - 20_000), rng.randrange(len(data))))
    data = data[:at] + spoil_bytes(rng, data[at : at + 20_000]) + data[at + 20_000 :]
    target = scratch / "bytes.rescue"
    target.write_bytes(data)
    use(rng, target)


_FORGED = (Type.MANIFEST, Type.MANIFEST, Type.INDEX, Type.INDEX, Type.MAP, Type.TABLE,
           Type.DIRECTORY, Type.SEGMENT, Type.PLAN)  # fmt: skip


def _forged(rng: random.Random, seed: Path, scratch: Path) -> None:
    kind = rng.choice(_FORGED)
    spoil = spoil_json if kind in (Type.MANIFEST, Type.PLAN) else spoil_bytes
    target = scratch / "forged.rescue"
    forge(rng, seed, target, kind, lambda data: spoil(rng, data))
    use(rng, target)


def _split(rng: random.Random, seed: Path, scratch: Path) -> None:
    for old in scratch.glob("split.rescue*"):
        old.unlink()
    parts = sorted(seed.parent.glob(f"{seed.name}*"))
    for part in parts:
        shutil.copyfile(part, scratch / part.name.replace(seed.name, "split.rescue"))
    copies = sorted(scratch.glob("split.rescue*"))
    victim = rng.choice(copies)
    match rng.randrange(4):
        case 0:
            victim.unlink()
        case 1:
            shutil.copyfile(rng.choice(copies), scratch / "other")
            (scratch / "other").replace(victim)
        case _:
            data = victim.read_bytes()
            at = rng.choice((0, rng.randrange(len(data))))
            victim.write_bytes(
                data[:at] + spoil_bytes(rng, data[at : at + 9000]) + data[at + 9000 :]
            )
    use(rng, scratch / "split.rescue")


def _sealed(rng: random.Random, seeds: Seeds, scratch: Path) -> None:
    data = bytearray(seeds.sealed.read_bytes())
    if rng.random() < 0.5:
        copies = [bytes(data[:HEADER_SIZE]), bytes(data[HEADER_SIZE:BODY_START])]
        data[:BODY_START] = b"".join(rehash(spoil_same_size(rng, copy)) for copy in copies)
    else:
        at = rng.randrange(BODY_START, len(data) - 256)
        data[at : at + 256] = spoil_same_size(rng, bytes(data[at : at + 256]))
    target = scratch / "sealed.rescue"
    target.write_bytes(data)
    use(rng, target, secrets=[seeds.key])


def _chain(rng: random.Random, seeds: Seeds, scratch: Path) -> None:
    """A child or its parent spoiled; found by its id in a folder of the two."""
    folder = scratch / "chain"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    child, parent = folder / "child.rescue", folder / "parent.rescue"
    shutil.copyfile(seeds.whole, parent)
    if rng.random() < 0.7:
        forge(rng, seeds.child, child, rng.choice((Type.INDEX, Type.MANIFEST, Type.MAP)),
              lambda data: spoil_bytes(rng, data))  # fmt: skip
    else:
        shutil.copyfile(seeds.child, child)
        data = parent.read_bytes()
        at = rng.randrange(len(data))
        parent.write_bytes(data[:at] + spoil_bytes(rng, data[at : at + 5000]) + data[at + 5000 :])
    use(rng, child)


def _fat(rng: random.Random, seed: Path, scratch: Path) -> None:
    data = seed.read_bytes()
    area = rng.choice((64, 4096, 40_000, 120_000))
    data = spoil_same_size(rng, data[:area]) + data[area:]
    target = scratch / "fat.raw"
    target.write_bytes(data)
    with Source(target) as source:
        walk_nodes(rng, Fat(DiskStore(source), Extent(0, source.size)).tree())
