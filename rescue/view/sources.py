"""What a view is made of: an image, or a disk. The one place that opens images.

Everything that needs an image goes through ``open_image``, so that keys and parents are asked for
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ImageError, UsageError
from rescue.core.extent import Extent
from rescue.devices.blockio import Source
from rescue.devices.discover import inspect
from rescue.devices.table import read_layout
from rescue.image.header import MAGIC
from rescue.image.keys import Secret
from rescue.image.reader import Image
from rescue.view.names import Seen
from rescue.view.store import DiskStore, ImageStore, Store

Opener = Callable[[Path], Image]
"""How an image is opened; whoever has keys or knows where parents lie gives another one."""


def open_image(
    path: Path, *, secrets: Sequence[Secret] = (), look_in: Sequence[Path] = ()
) -> Image:
    """Open an image by its first (or only) file.

    Raises:
        DiskTrouble, ImageError: as ``Image.open``.
    """
    return Image.open(path, secrets=secrets, look_in=look_in)


@dataclass(frozen=True, slots=True)
class Opened:
    """A disk's bytes and what lies on it.

    Attributes:
        name: the path as it was given.
        time: when it was made or last written, nanoseconds since 1970.
        sector_size: of the disk, in bytes.
        notes: what a person should know, one line each.
    """

    name: Path
    store: Store
    volumes: tuple[Seen, ...]
    time: int
    sector_size: int
    image: Image | None = None
    notes: tuple[str, ...] = ()


def is_image(path: Path) -> bool:
    """Whether a file starts as an image does (a disk that holds one is not one)."""
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


@contextmanager
def image_source(
    path: Path, *, strict: bool = True, opener: Opener = open_image
) -> Iterator[Opened]:
    """An image as the source of a view.

    Args:
        strict: sectors that the capture could not read give an error, not zeros.

    Raises:
        DiskTrouble, ImageError: it cannot be used.
    """
    with opener(path) as image:
        store = ImageStore(image, strict=strict)
        volumes = tuple(
            Seen(v.partition, v.extent, v.fs, v.label, v.state)
            for v in image.manifest.volumes
            if v.extent.length
        )
        if len({volume.number for volume in volumes}) != len(volumes):
            raise ImageError("the manifest lists a partition twice")
        failed = image.manifest.ledger.failed_bytes
        notes: tuple[str, ...] = ()
        if failed:
            what = "reading them gives an error" if strict else "they read as zeros"
            notes = (f"{failed:,} bytes could not be captured; {what}",)
        created = image.header.created * 1_000_000_000
        sector = image.manifest.layout.get("sector_size")
        sector_size = sector if sector in (512, 4096) else 512
        try:
            yield Opened(path, store, volumes, created, sector_size, image, notes)
        finally:
            store.close()


@contextmanager
def disk_source(path: Path) -> Iterator[Opened]:
    """A disk, or a plain file that holds one, as the source of a view.

    Raises:
        DiskTrouble: the disk or its table cannot be read.
    """
    with Source(path) as source:
        disk = inspect(path)
        layout = read_layout(disk)
        found: list[Seen] = []
        places = [
            (p.number, p.extent) for p in layout.partitions if p.kind != "extended" and p.length
        ]
        for number, extent in places or [(0, Extent(0, layout.size))]:
            fs, label = _detect(path, extent)
            node = _node(path, number) if source.is_block else ""
            found.append(Seen(number, extent, fs, label, node=node))
        store = DiskStore(source)
        time = path.stat().st_mtime_ns
        yield Opened(path, store, tuple(found), time, disk.sector_size, None, layout.warnings)


@contextmanager
def any_source(path: Path, *, opener: Opener = open_image) -> Iterator[Opened]:
    """An image where ``path`` is one, else a disk.

    Raises:
        UsageError: a directory.
        DiskTrouble, ImageError: it cannot be used.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory", hint="name an image or a disk")
    with image_source(path, opener=opener) if is_image(path) else disk_source(path) as opened:
        yield opened


def _detect(path: Path, extent: Extent) -> tuple[str, str]:
    """Filesystem and label by blkid; empty words when it knows none."""
    done = process.run(
        ["blkid", "--probe", "--output", "export", "--offset", str(extent.start),
         "--size", str(extent.length), path.absolute()],
        check=False,
    )  # fmt: skip
    pairs = dict(line.split("=", 1) for line in done.text.splitlines() if "=" in line)
    return pairs.get("TYPE", ""), pairs.get("LABEL", "").replace("\\ ", " ")


def _node(disk: Path, number: int) -> str:
    """The kernel's node of a partition of a real disk, or the disk's own."""
    if not number:
        return str(disk.resolve())
    system = Path("/sys/class/block") / disk.resolve().name
    for child in sorted(system.glob("*/partition")):
        try:
            if int(child.read_text()) == number:
                return f"/dev/{child.parent.name}"
        except (OSError, ValueError):
            continue
    return ""
