"""What a disk is, what uses it and how it is divided, as frozen values. Sizes and offsets in bytes.

A ``Layout`` is stored in the manifest of every image, so its JSON form is part of the image format:
``to_json`` writes exactly the keys that ``from_json`` accepts, and ``from_json`` is strict, because
a manifest may have been made by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from rescue.core.extent import Extent, ExtentMap

Kind = Literal["block", "file"]
Label = Literal["gpt", "msdos", "none"]
PartitionKind = Literal["gpt", "primary", "extended", "logical"]

# A GPT entry array of 1 MiB holds 8,192 entries; nothing real has more than 256 partitions.
MAX_PARTITIONS = 8192
# Protective MBR and two GPT copies, or an MBR and one EBR for each logical partition.
MAX_TABLE_EXTENTS = MAX_PARTITIONS + 8
_MAX_TEXT = 256
_MAX_OFFSET = 1 << 63


@dataclass(frozen=True, slots=True)
class Use:
    """One reason why a disk is not free.

    Attributes:
        what: "mounted", "swap", "holder", "boot medium", "loop device" or "read-only".
        where: the node that is used (the disk, one of its partitions, or what lies on it).
        detail: mount point, name of the holder, and the like.
    """

    what: str
    where: Path
    detail: str = ""

    def __str__(self) -> str:
        if self.what == "mounted":
            return f"{self.where} is mounted on {self.detail}"
        if self.what == "swap":
            return f"{self.where} is used as swap"
        if self.what == "holder":
            return f"{self.where} is in use by {self.detail}"
        if self.what == "boot medium":
            return f"{self.where} is the boot medium"
        if self.what == "loop device":
            return f"{self.where} is the backing file of {self.detail}"
        return f"{self.where} is {self.what}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk, or a plain file that stands for one.

    Attributes:
        path: as it was named by the caller or by the kernel.
        sector_size: logical sector in bytes; tables and addresses are in this unit.
        transport: "sata", "nvme", "usb", "virtio", "loop", "file", … or empty when not known.
        node_type: lsblk's word: "disk", "part", "loop", "rom", "lvm", "crypt", "raid1", …;
            "file" for a plain file.
        backing: the file behind a loop device.
    """

    path: Path
    kind: Kind
    size: int
    sector_size: int
    physical_sector_size: int
    model: str = ""
    serial: str = ""
    wwn: str = ""
    transport: str = ""
    removable: bool = False
    read_only: bool = False
    rotational: bool = False
    node_type: str = "disk"
    uses: tuple[Use, ...] = ()
    backing: Path | None = None

    @property
    def identity(self) -> str:
        """What a person types, or a script gives to --erase: serial, else WWN, else path."""
        if self.kind == "file" or self.node_type == "loop":
            return str(self.path)
        return self.serial or self.wwn or str(self.path)

    def matches(self, identity: str) -> bool:
        """Whether ``identity`` names this disk.

        Serial and WWN compare without regard to case and surrounding space. The path counts only
        for plain files, loop devices and disks that have neither: /dev/sdX may be another disk
        after the next start.
        """
        wanted = identity.strip()
        if not wanted:
            return False
        folded = wanted.casefold()
        if any(known and folded == known.strip().casefold() for known in (self.serial, self.wwn)):
            return True
        if self.identity != str(self.path):
            return False
        return wanted == str(self.path) or Path(wanted).resolve() == self.path.resolve()


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry of a partition table.

    Attributes:
        number: as the kernel counts (logical ones from 5).
        start: first byte on the disk.
        length: in bytes.
        type_id: the GPT type GUID in lower case, or the MBR type as two hexadecimal digits ("83").
        name: the GPT partition name.
        uuid: the GPT unique GUID in lower case, or disk id and number as the kernel's PARTUUID.
        flags: "required", "no-block-io", "legacy-boot", "bit-60", … for GPT; "active" for MBR.
    """

    number: int
    start: int
    length: int
    kind: PartitionKind
    type_id: str
    name: str = ""
    uuid: str = ""
    flags: tuple[str, ...] = ()

    @property
    def extent(self) -> Extent:
        """The bytes it covers."""
        return Extent(self.start, self.length)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that ``from_json`` takes."""
        return {
            "number": self.number,
            "start": self.start,
            "length": self.length,
            "kind": self.kind,
            "type": self.type_id,
            "name": self.name,
            "uuid": self.uuid,
            "flags": list(self.flags),
        }

    @classmethod
    def from_json(cls, value: object) -> Partition:
        """Parse strictly.

        Raises:
            ValueError: a key is missing, unknown, of the wrong type or out of bounds.
        """
        keys = ("number", "start", "length", "kind", "type", "name", "uuid", "flags")
        data = _object(value, "partition", keys)
        kind = _text(data, "kind")
        if kind not in ("gpt", "primary", "extended", "logical"):
            raise ValueError(f"unknown kind of partition {kind!r}")
        flags = data["flags"]
        if not isinstance(flags, list) or len(flags) > 64:
            raise ValueError("flags is not a short list")
        for flag in flags:
            if not isinstance(flag, str) or len(flag) > _MAX_TEXT:
                raise ValueError("a flag is not a short text")
        return cls(
            number=_number(data, "number"),
            start=_number(data, "start"),
            length=_number(data, "length"),
            kind=cast(PartitionKind, kind),
            type_id=_text(data, "type"),
            name=_text(data, "name"),
            uuid=_text(data, "uuid"),
            flags=tuple(flags),
        )


@dataclass(frozen=True, slots=True)
class NewPartition:
    """A GPT partition that is to be made; ``use`` decides its type ("linux": Linux data).

    Attributes:
        use: "data" is a partition that every system shows, "esp" the firmware's, "bios" GRUB's.
    """

    name: str
    start: int
    length: int
    use: Literal["bios", "esp", "linux", "data"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a disk is divided.

    Attributes:
        label: "gpt", "msdos" or "none" (no table; a filesystem may cover the whole disk).
        disk_id: the GPT disk GUID in lower case, or the MBR disk signature as eight digits.
        partitions: sorted by start; an extended partition comes before its logical ones.
        table_extents: the bytes that hold the tables: protective MBR and both GPT copies with their
            entry arrays, or the MBR and every EBR.
        warnings: what was found wrong while reading; not stored.
    """

    label: Label
    sector_size: int
    size: int
    disk_id: str
    partitions: tuple[Partition, ...]
    table_extents: ExtentMap
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def partition(self, number: int) -> Partition | None:
        """The partition with this number, or None."""
        return next((p for p in self.partitions if p.number == number), None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that ``from_json`` takes."""
        return {
            "label": self.label,
            "sector_size": self.sector_size,
            "size": self.size,
            "disk_id": self.disk_id,
            "partitions": [p.to_json() for p in self.partitions],
            "table_extents": [[e.start, e.length] for e in self.table_extents],
        }

    @classmethod
    def from_json(cls, value: object) -> Layout:
        """Parse strictly.

        Raises:
            ValueError: a key is missing, unknown, of the wrong type or out of bounds, or a
                partition or table lies outside the disk.
        """
        keys = ("label", "sector_size", "size", "disk_id", "partitions", "table_extents")
        data = _object(value, "layout", keys)
        label = _text(data, "label")
        if label not in ("gpt", "msdos", "none"):
            raise ValueError(f"unknown label {label!r}")
        sector_size, size = _number(data, "sector_size"), _number(data, "size")
        if not 512 <= sector_size <= 65536 or sector_size & (sector_size - 1):
            raise ValueError(f"sector size {sector_size} is not a power of two from 512 to 65536")
        listed, tables = data["partitions"], data["table_extents"]
        if not isinstance(listed, list) or len(listed) > MAX_PARTITIONS:
            raise ValueError("partitions is not a list of bounded length")
        if not isinstance(tables, list) or len(tables) > MAX_TABLE_EXTENTS:
            raise ValueError("table_extents is not a list of bounded length")
        partitions = tuple(Partition.from_json(one) for one in listed)
        pairs: list[tuple[int, int]] = []
        for one in tables:
            if not isinstance(one, list) or len(one) != 2 or not all(_is_offset(n) for n in one):
                raise ValueError("a table extent is not a pair of numbers")
            pairs.append((one[0], one[0] + one[1]))
        inside = [(p.start, p.start + p.length) for p in partitions] + pairs
        if any(end > size for _, end in inside):
            raise ValueError("a partition or table lies outside the disk")
        if list(partitions) != sorted(partitions, key=order):
            raise ValueError("partitions are not sorted")
        if len({p.number for p in partitions}) != len(partitions):
            raise ValueError("two partitions have the same number")
        return cls(
            label=cast(Label, label),
            sector_size=sector_size,
            size=size,
            disk_id=_text(data, "disk_id"),
            partitions=partitions,
            table_extents=ExtentMap.of(pairs),
        )


def order(partition: Partition) -> tuple[int, bool, int]:
    """Sort key: by start; an extended partition before a logical one at the same place."""
    return partition.start, partition.kind != "extended", partition.number


def _object(value: object, what: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """The mapping with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ValueError(f"{what} is not an object with exactly {', '.join(keys)}")
    return value


def _is_offset(value: object) -> bool:
    """Whether it is a whole number that can be a place on a disk (bool is not a number here)."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_OFFSET


def _number(data: Mapping[str, Any], key: str) -> int:
    value = data[key]
    if not _is_offset(value):
        raise ValueError(f"{key} is not a number in bounds")
    return int(value)


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError(f"{key} is not a short text")
    return value
