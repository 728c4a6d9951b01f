"""New identifiers for a disk that will live beside the one it is a copy of. Pure.

Two disks of one machine must not share a disk GUID or signature, a partition GUID or a filesystem
UUID: systems mount by them, and would take either for the other. Every new identifier is made from
a seed and the old one, so one seed always gives the same disk, and what had one identifier in
common still has. The seed is drawn at random, and stands in the mark of a half restored disk, so
that the same command goes on with it.
"""

from __future__ import annotations

import re
import secrets
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from blake3 import blake3

from rescue.core.errors import ImageDamaged, UsageError
from rescue.devices.model import Layout
from rescue.image.manifest import Volume
from rescue.restore.layout import Arrangement, Place

Edit = tuple[int, bytes]
"""Bytes that take the place of as many others."""
What = Literal["disk", "partition", "filesystem"]

_UUIDS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "swap")
_SERIALS = {"vfat": 32, "exfat": 32, "ntfs": 64}
_KEPT = {
    "crypto_LUKS": "encrypted: its container and what is in it keep their UUIDs",
    "LVM2_member": "LVM: its groups and volumes, and what is on them, keep their UUIDs and names",
    "linux_raid_member": "RAID: the array and what is on it keep their UUIDs",
    "BitLocker": "encrypted: it keeps its identifier",
    "f2fs": "no program changes the UUID of an F2FS",
}
_GUID = 16
# What each kind looks like; an image's description may have been made by anybody.
_IS_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_IS_SIGNATURE = re.compile(r"[0-9a-fA-F]{8}")
_IS_SERIAL = {
    32: re.compile(r"[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}"),
    64: re.compile(r"[0-9A-Fa-f]{16}"),
}
# A short identifier may be a part of a longer one; a whole UUID can hardly be.
_SHORT = 32


@dataclass(frozen=True, slots=True)
class NewId:
    """One identifier before and after; ``new`` is empty where it stays, and ``why`` says why."""

    what: What
    partition: int
    kind: str
    old: str
    new: str = ""
    why: str = ""

    def line(self) -> str:
        """In words."""
        name = self.what if self.what == "disk" else f"{self.what} {self.partition}"
        return f"{name:<13} {self.kind:<12} {self.old or '-'} -> {self.new or self.why}"


@dataclass(frozen=True, slots=True)
class Identity:
    """All of them."""

    seed: str
    ids: tuple[NewId, ...]

    def of(self, what: What, partition: int = 0) -> NewId | None:
        """The change of one thing; None where it stays."""
        found = (one for one in self.ids if (one.what, one.partition) == (what, partition))
        return next((one for one in found if one.new), None)

    @property
    def words(self) -> tuple[tuple[str, str], ...]:
        """Old and new as they stand in configuration files. A disk's own stands in none alone."""
        pairs = {one.old: one.new for one in self.ids if one.new and one.what != "disk"}
        return tuple(pairs.items())

    def lines(self) -> list[str]:
        """In words; files are named when they are found to hold one."""
        swaps = [str(one.partition) for one in self.ids if one.kind == "swap" and one.new]
        resume = (
            f"the resume device that an initramfs holds stays: the swap of the original, not of "
            f"partition {', '.join(swaps)}. Run update-initramfs -u (dracut -f, mkinitcpio -P) in "
            "the copy, and do not start it before that while the original is hibernated"
        )
        return [
            *(one.line() for one in self.ids),
            "fstab, crypttab, GRUB's and other loaders' files and Windows' BCD follow where they "
            "hold one of these; each file is named in the end",
            "labels and partition names stay: what mounts by LABEL= or PARTLABEL= may find either",
            *([resume] if swaps else ()),
            "not followed: host name, machine-id and SSH keys, and what else is in an initramfs",
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "seed": self.seed,
            "ids": [
                {"what": one.what, "partition": one.partition, "kind": one.kind,
                 "old": one.old, "new": one.new or None, "why": one.why}
                for one in self.ids
            ],
        }  # fmt: skip


def new_seed() -> str:
    """A seed that nobody had before."""
    return secrets.token_hex(16)


def new_identity(layout: Layout, volumes: Iterable[Volume], seed: str) -> Identity:
    """Which identifiers become which.

    Raises:
        UsageError: the disk has no table.
        ImageDamaged: an identifier in the description is none.
    """
    if layout.label == "none" or not layout.partitions:
        raise UsageError(
            "--new-identity takes a disk with a partition table",
            hint="change a single filesystem's UUID by its own program, tune2fs -U for one",
        )
    form = _IS_UUID if layout.label == "gpt" else _IS_SIGNATURE
    guids = [p.uuid for p in layout.partitions if p.uuid and layout.label == "gpt"]
    if not all(form.fullmatch(one) for one in (layout.disk_id, *guids)):
        raise ImageDamaged("the manifest's layout is damaged: an identifier is none")
    ids = [NewId("disk", 0, layout.label, layout.disk_id, _disk_id(layout, seed))]
    for partition in layout.partitions:
        if not partition.uuid or partition.kind == "extended":
            continue
        new = _guid(seed, partition.uuid)
        if layout.label == "msdos":  # as the kernel makes it up
            new = f"{ids[0].new}-{partition.number:02x}"
        ids.append(NewId("partition", partition.number, partition.kind, partition.uuid, new))
    ids += [_volume(volume, seed) for volume in volumes if volume.partition]
    return Identity(seed, tuple(ids))


def identity_of(layout: Layout, volumes: Iterable[Volume], seed: str, *, entries: bool) -> Identity:
    """The same for chosen volumes that go to a disk with a table of its own.

    Args:
        layout: of the image.
        entries: they get new entries in a GPT, whose identifiers are made here too.
    """
    chosen = list(volumes)
    ids = []
    for volume in chosen:
        one = layout.partition(volume.partition)
        if entries and one is not None and _IS_UUID.fullmatch(one.uuid):
            new = _guid(seed, one.uuid)
            ids.append(NewId("partition", one.number, one.kind, one.uuid, new))
    return Identity(seed, (*ids, *(_volume(volume, seed) for volume in chosen)))


def _hash(seed: str, old: str, length: int) -> bytes:
    return blake3(f"{seed} {old.lower()}".encode()).digest(length)


def _guid(seed: str, old: str) -> str:
    return str(uuid.UUID(bytes=_hash(seed, old, _GUID), version=4))


def _disk_id(layout: Layout, seed: str) -> str:
    if layout.label == "gpt":
        return _guid(seed, layout.disk_id)
    return _hash(seed, layout.disk_id, 4).hex()


def _volume(volume: Volume, seed: str) -> NewId:
    one = NewId("filesystem", volume.partition, volume.fs, volume.uuid)
    if volume.fs in _KEPT:
        return replace(one, why=_KEPT[volume.fs])
    if not volume.uuid:
        return replace(one, why="it has none that is known")
    bits = _SERIALS.get(volume.fs, 0)
    if volume.fs not in _UUIDS and not bits:
        return replace(one, why="nothing is known that changes it")
    if not (_IS_SERIAL[bits] if bits else _IS_UUID).fullmatch(volume.uuid):
        return replace(one, why="it is none of the usual form")
    if not bits:
        return replace(one, new=_guid(seed, volume.uuid))
    digits = _hash(seed, volume.uuid, bits // 8).hex().upper()
    return replace(one, new=digits if bits == 64 else f"{digits[:4]}-{digits[4:]}")


def with_identity(arrangement: Arrangement, identity: Identity) -> Arrangement:
    """The arrangement with the new identifiers of disk and partitions in its layout."""
    layout = arrangement.layout
    partitions = []
    for partition in layout.partitions:
        one = identity.of("partition", partition.number)
        partitions.append(replace(partition, uuid=one.new) if one else partition)
    disk = identity.of("disk")
    fresh = replace(
        layout, partitions=tuple(partitions), disk_id=disk.new if disk else layout.disk_id
    )
    return replace(arrangement, layout=fresh)


def edits(data: bytes, words: Sequence[tuple[str, str]]) -> list[Edit]:
    """Where old identifiers stand as whole words, and what takes their places. Same length each.

    Letters stay as large as they were; where there were none they are as the new one has them.
    """
    found: list[Edit] = []
    for old, new in words:
        near = rb"[0-9A-Za-z-]" if len(old) < _SHORT else rb"[0-9A-Fa-f]"
        pattern = rb"(?i)(?<!%s)%s(?!%s)" % (near, re.escape(old.encode()), near)
        for match in re.finditer(pattern, data):
            there, text = match[0].decode("ascii"), new
            if there.lower() != there.upper():
                text = new.upper() if there == there.upper() else new.lower()
            found.append((match.start(), text.encode()))
    return sorted(found)


def hive_edits(data: bytes, identity: Identity, places: Sequence[Place]) -> list[Edit]:
    """The same for Windows' boot configuration (BCD), a registry hive with devices in binary.

    On a GPT a device is named by the GUIDs of disk and partition, 16 bytes each, which stand
    nowhere by chance. On an MBR it is the partition's place and the disk's signature, looked for
    with what stands between them (the kind of the device, the kind of the table).
    """
    if data[:4] != b"regf":
        return []
    return sorted(
        (match.start(), new)
        for old, new in _devices(identity, places)
        for match in re.finditer(re.escape(old), data)
    )


def _devices(identity: Identity, places: Sequence[Place]) -> Iterator[tuple[bytes, bytes]]:
    disk = identity.of("disk")
    if disk is not None and disk.kind == "msdos":
        old, new = int(disk.old, 16), int(disk.new, 16)
        for place in places:
            yield (
                struct.pack("<QQIII", place.old.start, 0, 0, 1, old),
                struct.pack("<QQIII", place.new.start, 0, 0, 1, new),
            )
        return
    for one in identity.ids:
        if one.new and one.what != "filesystem":
            yield uuid.UUID(one.old).bytes_le, uuid.UUID(one.new).bytes_le
