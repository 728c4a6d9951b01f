"""The manifest: what an image says about itself. JSON, at most 16 MiB, docs/format.md, "Manifest".

The disk and its layout are kept as the plain values that ``devices`` made of them; this layer hands
them on and does not read them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rescue.core.errors import ImageDamaged
from rescue.core.extent import Extent
from rescue.image.header import CHUNK_SIZE
from rescue.image.ledger import Ledger, parse_ledger

MAX_CHUNKS = 1 << 32  # chunk numbers are 32 bits: 4 PiB of disk


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume as it was captured.

    Attributes:
        partition: number in the table, or 0 where the disk has none.
        extent: where it lies on the disk, in bytes.
        fs: "ext4", "ntfs", … or "unknown".
        method: how its used bytes were found ("partclone", "swap", "whole", "none").
        captured: bytes of it in the image.
        state: "clean", "dirty", "hibernated" or "unknown".
        notes: lines for a person.
    """

    partition: int
    extent: Extent
    fs: str
    label: str
    uuid: str
    method: str
    captured: int
    state: str = "unknown"
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "partition": self.partition,
            "start": self.extent.start,
            "length": self.extent.length,
            "fs": self.fs,
            "label": self.label,
            "uuid": self.uuid,
            "method": self.method,
            "captured": self.captured,
            "state": self.state,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole description of an image; see the fields of docs/format.md."""

    tool: str
    created: str
    finished: str
    machine: dict[str, Any]
    disk: dict[str, Any]
    layout: dict[str, Any]
    volumes: tuple[Volume, ...]
    ledger: Ledger
    chunks: int
    level: int
    chosen: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.ledger.size

    @property
    def grid(self) -> int:
        """How many chunks the disk's grid has, stored or not."""
        return -(-self.size // CHUNK_SIZE)

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain values."""
        return {
            **self.extra,
            "tool": self.tool,
            "created": self.created,
            "finished": self.finished,
            "machine": self.machine,
            "disk": self.disk,
            "layout": self.layout,
            "volumes": [volume.to_json() for volume in self.volumes],
            "ledger": self.ledger.to_json(),
            "chunks": self.chunks,
            "level": self.level,
            "chosen": list(self.chosen),
            "notes": list(self.notes),
            "chain": list(self.chain),
        }

    def encode(self) -> bytes:
        """Content of the manifest record."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":")).encode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ImageDamaged("the manifest holds a text that is none")
    return value


def _number(value: object, limit: int = 1 << 62) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ImageDamaged("the manifest holds a number that is out of bounds")
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ImageDamaged("the manifest holds a value of the wrong kind")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ImageDamaged("the manifest holds a value of the wrong kind")
    return value


def _volume(value: object, size: int) -> Volume:
    item = _object(value)
    extent = Extent(_number(item.get("start")), _number(item.get("length")))
    captured = _number(item.get("captured"))
    if extent.end > size or captured > extent.length:
        raise ImageDamaged("the manifest holds a volume outside the disk")
    return Volume(
        partition=_number(item.get("partition"), 1 << 16),
        extent=extent,
        fs=_text(item.get("fs")),
        label=_text(item.get("label")),
        uuid=_text(item.get("uuid")),
        method=_text(item.get("method")),
        captured=captured,
        state=_text(item.get("state")),
        notes=tuple(_text(note) for note in _list(item.get("notes"))),
    )


def parse_manifest(content: bytes) -> Manifest:
    """Parse a manifest strictly; fields this version does not know are kept in ``extra``.

    Raises:
        ImageDamaged: not a manifest.
    """
    try:
        value = _object(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise ImageDamaged("the manifest is not JSON") from error
    ledger = parse_ledger(value.get("ledger"))
    if not 0 < ledger.size <= MAX_CHUNKS * CHUNK_SIZE:
        raise ImageDamaged("the manifest names a disk size that no disk has")
    known = set(Manifest.__dataclass_fields__) - {"extra"}
    return Manifest(
        tool=_text(value.get("tool")),
        created=_text(value.get("created")),
        finished=_text(value.get("finished")),
        machine=_object(value.get("machine")),
        disk=_object(value.get("disk")),
        layout=_object(value.get("layout")),
        volumes=tuple(_volume(item, ledger.size) for item in _list(value.get("volumes"))),
        ledger=ledger,
        chunks=_number(value.get("chunks"), MAX_CHUNKS),
        level=_number(value.get("level"), 22),
        chosen=tuple(_number(item, 1 << 16) for item in _list(value.get("chosen"))),
        notes=tuple(_text(note) for note in _list(value.get("notes"))),
        chain=tuple(_text(one) for one in _list(value.get("chain", []))),
        extra={key: item for key, item in value.items() if key not in known},
    )
