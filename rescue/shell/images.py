"""Finding images in a place, within bounds: a disk full of files must not keep a person waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rescue.core.errors import ImageLocked, RescueError
from rescue.devices.model import Layout
from rescue.image.reader import Image
from rescue.jobs.summary import disk_of, outcome_words
from rescue.shell.facts import Found

if TYPE_CHECKING:
    from rescue.image.keys import Secret

SUFFIX = ".rescue"
MAX_DEPTH = 6
MAX_SECONDS = 20.0
MAX_IMAGES = 1000


def find_images(
    root: Path, node: Path | None, place: str, *, seconds: float = MAX_SECONDS
) -> Iterator[Found | None]:
    """Images below ``root`` as they are found; a last None says that there may be more.

    Args:
        node: the filesystem that is mounted there; None when paths are shown whole.
        place: that filesystem in words.
    """
    for count, path in enumerate(_files(root, time.monotonic() + seconds)):
        if path is None or count == MAX_IMAGES:
            yield None
            return
        yield describe(path, root, node, place)


def _files(root: Path, until: float) -> Iterator[Path | None]:
    """Files that are named like images; None when the time is over."""
    top = len(root.parts)
    for directory, folders, files in os.walk(root):
        if time.monotonic() > until:
            yield None
            return
        depth = len(Path(directory).parts) - top
        folders[:] = sorted(f for f in folders if depth < MAX_DEPTH and not f.startswith("."))
        for name in sorted(files):
            if name.endswith(SUFFIX):
                yield Path(directory) / name


def describe(
    path: Path,
    root: Path,
    node: Path | None,
    place: str,
    *,
    secrets: Sequence[Secret] = (),
) -> Found:
    """Open an image and say what it is; a broken one says why it cannot be used."""
    name = str(path.relative_to(root)) if node else str(path)
    try:
        with Image.open(path, secrets=secrets) as image:
            manifest = image.manifest
            return Found(
                node,
                name,
                place,
                made=_day(manifest.finished),
                machine=machine_name(manifest.machine),
                machine_serial=str(manifest.machine.get("serial") or ""),
                disk=disk_of(manifest),
                disk_serial=str(manifest.disk.get("serial") or ""),
                disk_size=manifest.size,
                stored=image.stored,
                outcome=outcome_words(manifest.ledger),
                sealed=image.header.sealed,
                layout=_layout(image),
                volumes=manifest.volumes,
                needs=len(image.chain) - 1,
                id=image.image_id,
            )
    except ImageLocked:
        return Found(node, name, place, made=_changed(path), locked=True, sealed=True)
    except RescueError as error:
        return Found(node, name, place, why=f"cannot be used: {error.message}")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Found(node, name, place, why=f"cannot be read: {reason}")


def _layout(image: Image) -> Layout | None:
    try:
        return Layout.from_json(image.manifest.layout)
    except ValueError:
        return None


def machine_name(machine: Mapping[str, object]) -> str:
    """How a person calls it: maker and product, or the host name of the system that ran then.

    An image made from the rescue media has the media's own host name: the product says more.
    """
    words = [str(machine.get(key) or "").strip() for key in ("vendor", "product")]
    return " ".join(filter(None, words)) or str(machine.get("hostname") or "") or "a machine"


def _day(when: str) -> str:
    """``2026-11-23 18:23`` of an ISO 8601 time."""
    return when[:16].replace("T", " ")


def _changed(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
    except OSError:
        return ""
