"""What is written to a stick, in which order, as a value. Pure.

The order is what makes an update safe: between two barriers a power cut may keep any of the writes
and lose any other, so nothing that is in use is touched before all that it will need is there and
was read back. What switches (``Put.switch``) is always one sector. docs/decisions/media-stick.md
has the reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.iso import hybrid
from builder.iso.seal import SYSTEM_AREA
from builder.usb.layout import LETTERS, SECTOR, Stick
from builder.usb.payload import Payload
from rescue.core.units import MIB


@dataclass(frozen=True, slots=True)
class Put:
    """Bytes at a place; ``switch``: one sector that changes what starts."""

    at: int
    data: bytes
    switch: bool = False

    @property
    def length(self) -> int:
        """Bytes written."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Copy:
    """A part of the system or of the new data filesystem, to a place."""

    at: int
    source: str
    """"system" or "data"."""
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """Everything before is on the disk; with ``compare`` it was read back and is right."""

    compare: bool = False


Step = Put | Copy | Barrier


def total(steps: Sequence[Step]) -> int:
    """Bytes that are written."""
    return sum(step.length for step in steps if not isinstance(step, Barrier))


def _zero(at: int, length: int) -> Put:
    return Put(at, bytes(length))


def make(
    stick: Stick,
    payload: Payload,
    serial: int,
    table: Sequence[tuple[int, bytes]],
    data: Sequence[tuple[int, int]],
) -> tuple[Step, ...]:
    """A new stick: the table last, so that a stick half made is none.

    Args:
        serial: of the EFI partition's filesystem.
        table: of the new GPT, (offset, bytes).
        data: extents (start, end) of the data partition's new filesystem, from its start.
    """
    fat, efi = stick.fat, stick.efi
    tree = fat.tree(0, payload.tree(0))
    sectors = stick.size // SECTOR
    signature = serial.to_bytes(4, "little")
    kernel = stick.core(0) // SECTOR
    boot = hybrid.boot_sector(payload.boot_code, kernel, sectors, signature)
    return (
        # Whatever the disk was, it is not that any more: neither a table nor what a tool
        # recognises at the ends of a partition is left.
        _zero(0, MIB),
        _zero(stick.size - MIB, MIB),
        Barrier(compare=True),
        *(_zero(place, MIB) for place in (stick.slot(0), stick.slot(1), stick.data)),
        *(_zero(place - MIB, MIB) for place in (stick.slot(1), stick.data)),
        _zero(stick.data + stick.data_size - MIB, MIB),
        Barrier(compare=True),
        *(Put(efi + at, content) for at, content in fat.blank(serial, efi // SECTOR)),
        Barrier(compare=True),
        *(Put(efi + at, content) for at, content in (*tree.body, tree.switch)),
        Put(stick.core(0), payload.core_at(kernel)),
        Copy(stick.slot(0) + SYSTEM_AREA, "system", SYSTEM_AREA, payload.size - SYSTEM_AREA),
        *(Copy(stick.data + start, "data", start, end - start) for start, end in data),
        Barrier(compare=True),
        *(Put(at, content) for at, content in table if at >= SECTOR),
        Put(0, boot, switch=True),
        Barrier(compare=True),
    )


def update(stick: Stick, payload: Payload, active: int, mbr: bytes) -> tuple[Step, ...]:
    """The other system's parts, then the two switches.

    Args:
        active: the system that starts now; nothing of it is touched.
        mbr: the stick's boot sector now, for its signature.
    """
    new, fat, efi = 1 - active, stick.fat, stick.efi
    slot, kernel = stick.slot(new), stick.core(new) // SECTOR
    tree = fat.tree(new, payload.tree(new))
    boot = hybrid.boot_sector(payload.boot_code, kernel, stick.size // SECTOR, mbr[440:444])
    switch_at, switch = tree.switch
    body = SYSTEM_AREA + SECTOR
    back = hybrid.boot_sector(mbr, stick.core(active) // SECTOR, stick.size // SECTOR, mbr[440:444])
    return (
        # An update that was cut between its two switches: BIOS starts by the core image that is
        # going to be replaced. Its older one is whole, and goes back into force.
        *((Put(0, back, switch=True), Barrier(compare=True)) if mbr[:440] != back[:440] else ()),
        # First of all this slot stops being a filesystem, last of all it becomes one, by the one
        # sector without which it is none: half a system is never found, neither by GRUB nor by
        # the initramfs.
        _zero(slot + SYSTEM_AREA, SECTOR),
        Barrier(compare=True),
        Copy(slot + body, "system", body, payload.size - body),
        Put(stick.core(new), payload.core_at(kernel)),
        *(Put(efi + at, content) for at, content in tree.body),
        Barrier(compare=True),
        Copy(slot + SYSTEM_AREA, "system", SYSTEM_AREA, SECTOR),
        Barrier(compare=True),
        # A newer GRUB reads the older menu, so the BIOS side goes first.
        Put(0, boot, switch=True),
        Barrier(compare=True),
        Put(efi + switch_at, switch, switch=True),
        Barrier(compare=True),
        *(Put(efi + at, content) for at, content in fat.forget(active)),
        Barrier(compare=True),
    )


def lines(stick: Stick, payload: Payload, active: int | None, data: str) -> tuple[str, ...]:
    """What is going to be done, for a person."""
    if active is None:
        return (
            f"system:  {payload.build}, in the first of two slots of {stick.slot_size // MIB} MiB",
            f"data:    {stick.data_size // MIB} MiB, {data}",
        )
    old, new = LETTERS[active], LETTERS[1 - active]
    return (
        f"system:  {payload.build}, in slot {new}; slot {old} stays as it is",
        "data:    not touched",
    )
