"""Images and results in words: one place, so that every screen says the same thing the same way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rescue.core.errors import RescueError
from rescue.core.units import format_size, plural

if TYPE_CHECKING:
    from rescue.image.container import Container
    from rescue.image.ledger import Ledger, Skipped
    from rescue.image.manifest import Manifest
    from rescue.image.reader import Image

_SECTOR = 512
_MAX_SHOWN = 5


def facts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """``name   value`` lines, aligned."""
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in kept]


def skipped_words(skipped: Sequence[Skipped]) -> list[str]:
    """What was left out on purpose, summed by reason: ``1.0 GiB: swap content``."""
    sums: dict[str, int] = defaultdict(int)
    for one in skipped:
        sums[one.reason] += one.extent.length
    return [f"{format_size(size)}: {reason}" for reason, size in sums.items()]


def failed_words(ledger: Ledger) -> str:
    """``3 sectors (1.5 KiB), first at byte 1,048,576``; empty when everything could be read."""
    if not ledger.failed:
        return ""
    sectors = plural(-(-ledger.failed_bytes // _SECTOR), "sector")
    first = min(extent.start for extent in ledger.failed)
    return f"{sectors} ({format_size(ledger.failed_bytes)}), first at byte {first:,}"


def ledger_pairs(ledger: Ledger) -> list[tuple[str, str]]:
    """What became of every byte of the disk, as facts."""
    left_out = [f"{format_size(ledger.free)}: free space"] if ledger.free else []
    left_out += skipped_words(ledger.skipped)
    pairs = [("captured", f"{format_size(ledger.captured)} of {format_size(ledger.size)}")]
    for i, words in enumerate(left_out or ["nothing"]):
        pairs.append(("left out" if i == 0 else "", words))
    pairs.append(("unreadable", failed_words(ledger) or "nothing"))
    return pairs


def disk_of(manifest: Manifest) -> str:
    """The captured disk in a sentence; the manifest's values are not trusted to be there."""
    disk = manifest.disk
    parts = [format_size(manifest.size)]
    for key, word in (("model", ""), ("serial", "serial "), ("wwn", "WWN ")):
        value = disk.get(key)
        if isinstance(value, str) and value and not (key == "wwn" and disk.get("serial")):
            parts.append(f"{word}{value}")
    label = manifest.layout.get("label")
    table = {"gpt": "GPT", "msdos": "MBR", "none": "no partition table"}.get(str(label))
    return ", ".join([*parts, *([table] if table else [])])


def machine_of(manifest: Manifest) -> str:
    """What the manifest says of the machine: its short texts, in order."""
    words = [f"{k}: {v}" for k, v in manifest.machine.items() if isinstance(v, str) and v]
    return ", ".join(words[:6])


def outcome_words(ledger: Ledger) -> str:
    """``complete`` or ``complete with 3 unreadable sectors (1.5 KiB), first at byte …``."""
    failed = failed_words(ledger)
    return f"complete with unreadable sectors: {failed}" if failed else "complete"


def image_pairs(image: Image) -> list[tuple[str, str]]:
    """What an image is, as facts."""
    manifest = image.manifest
    paths = image.container.parts.paths
    files = f" ({plural(len(paths), 'file')})" if len(paths) > 1 else ""
    before = len(image.chain) - 1
    return [
        ("image", f"{image.path}{files}, {format_size(image.stored)}"),
        ("id", image.image_id),
        ("made", f"{manifest.created} by {manifest.tool}"),
        ("parent", f"{image.chain[1].path} ({plural(before, 'image')} below)" if before else ""),
        ("encrypted", "yes" if image.header.sealed else ""),
        ("machine", machine_of(manifest)),
        ("disk", disk_of(manifest)),
        ("fits on", fits_words(image)),
        *ledger_pairs(manifest.ledger),
        ("outcome", outcome_words(manifest.ledger)),
    ]


def fits_from(image: Image) -> int | None:
    """Bytes of the smallest disk that the image can be restored to; None where nobody knows.

    The tables of FAT volumes are read for it, which an image that is damaged there does not allow.
    """
    from rescue.restore import planning

    try:
        return planning.fits_from(image)
    except RescueError:
        return None


def fits_words(image: Image) -> str:
    """``disks from 12.3 GiB``, and whether that needs ``--fit``."""
    least = fits_from(image)
    if least is None or least >= image.size:
        return f"disks from {format_size(image.size)}"
    return f"disks from {format_size(least)} (with restore --fit)"


def volume_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    """Rows of a table of the volumes in an image."""
    rows: list[tuple[str, ...]] = [
        ("PARTITION", "START", "SIZE", "FILESYSTEM", "LABEL", "CAPTURED", "BY", "STATE")
    ]
    for one in manifest.volumes:
        rows.append(
            (
                str(one.partition) if one.partition else "disk",
                format_size(one.extent.start),
                format_size(one.extent.length),
                one.fs or "-",
                one.label or "-",
                format_size(one.captured),
                one.method,
                one.state,
            )
        )
    return rows


def image_json(image: Image) -> dict[str, Any]:
    """An image as JSON: the manifest and what lies around it."""
    return {
        **container_json(image.container, image.manifest),
        "chain": [one.header.image_id.hex() for one in image.chain],
        "fits_from": fits_from(image),
    }


def container_json(container: Container, manifest: Manifest | None) -> dict[str, Any]:
    """An image as JSON, with its manifest where that is known."""
    data = {
        "image": str(container.path),
        "files": [str(path) for path in container.parts.paths],
        "image_id": container.header.image_id.hex(),
        "root": container.footer.root.hex(),
        "outcome": container.footer.outcome.name.lower(),
        "stored_bytes": container.parts.length,
        "encrypted": container.header.sealed,
        "parent": container.header.parent_id.hex() if container.header.incremental else None,
    }
    return data if manifest is None else {**data, "manifest": manifest.to_json()}


def container_pairs(container: Container) -> list[tuple[str, str]]:
    """What is known of an encrypted image without its key, as facts."""
    paths = container.parts.paths
    files = f" ({plural(len(paths), 'file')})" if len(paths) > 1 else ""
    made = datetime.fromtimestamp(container.header.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lost = container.footer.outcome.name != "COMPLETE"
    return [
        ("image", f"{container.path}{files}, {format_size(container.parts.length)}"),
        ("id", container.header.image_id.hex()),
        ("made", made),
        ("parent", container.header.parent_id.hex() if container.header.incremental else ""),
        ("encrypted", "yes; a key is needed to show more"),
        ("outcome", "complete with unreadable sectors" if lost else "complete"),
    ]


def shortened(lines: Sequence[str], more: str = "more") -> list[str]:
    """The first few lines, and how many there are beyond them."""
    if len(lines) <= _MAX_SHOWN:
        return list(lines)
    return [*lines[:_MAX_SHOWN], f"... and {len(lines) - _MAX_SHOWN:,} {more}"]
