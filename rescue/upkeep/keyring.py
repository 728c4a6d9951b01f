"""Adding and removing the keys of a sealed image. Only the header of part 0 is rewritten.

The second copy of the header is written and flushed before the first one: at any moment one of the
two is whole, and the higher generation counts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rescue.core.errors import UsageError, from_os_error
from rescue.image import slots
from rescue.image.header import BODY_START, HEADER_SIZE, SLOTS, Header, parse_header
from rescue.image.keys import Secret, slot_area, unlock
from rescue.image.slots import Kind, Slot, parse_slots
from rescue.image.writer import Lock


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """Who may open a new image.

    Attributes:
        passphrase: UTF-8 bytes, or empty.
        recovery: the 32 bytes of a recovery key, or empty.
        recipients: X25519 public keys.
    """

    passphrase: bytes = b""
    recovery: bytes = b""
    recipients: tuple[bytes, ...] = ()


def make_slots(access: Access, master: bytes) -> list[Slot]:
    """A key slot for each way in."""
    made: list[Slot] = []
    if access.passphrase:
        made.append(slots.for_passphrase(access.passphrase, master))
    if access.recovery:
        made.append(slots.for_recovery(access.recovery, master))
    made += [slots.for_recipient(public, master) for public in access.recipients]
    return made


def new_lock(access: Access) -> Lock:
    """A new master key, wrapped for everybody who may open the image.

    Raises:
        UsageError: nobody may, or more than there are slots for.
    """
    master = os.urandom(32)
    made = make_slots(access, master)
    if not made:
        raise UsageError("encryption needs a passphrase, a recovery key or a recipient")
    return Lock(master, slot_area(made))


def read_header(path: Path) -> Header:
    """The header of a sealed image.

    Raises:
        DiskTrouble, ImageError: it cannot be read.
        UsageError: the image is not encrypted, or this is not its first part.
    """
    try:
        with path.open("rb") as file:
            header, _ = parse_header(file.read(BODY_START))
    except OSError as error:
        raise from_os_error(error, f"open {path}") from error
    if header.part:
        raise UsageError(f"{path} is part {header.part + 1}: name the first part")
    if not header.sealed:
        raise UsageError(f"{path} is not encrypted", hint="keys are chosen when it is captured")
    return header


def describe(header: Header) -> list[tuple[int, str]]:
    """The filled slots: number (from 1) and kind in words."""
    words = {
        Kind.PASSPHRASE: "passphrase",
        Kind.RECOVERY: "recovery key",
        Kind.RECIPIENT: "recipient (private key)",
    }
    return [
        (number, words[slot.kind])
        for number, slot in enumerate(parse_slots(header.slots), 1)
        if slot.kind is not Kind.EMPTY
    ]


def add(path: Path, secrets: Sequence[Secret], access: Access) -> Header:
    """Add keys; one that exists must be given.

    Raises:
        ImageLocked: none of the secrets opens the image.
        UsageError: no slot is free.
    """
    header = read_header(path)
    master = unlock(header, secrets)
    filled = list(parse_slots(header.slots))
    for made in make_slots(access, master):
        free = next((i for i, slot in enumerate(filled) if slot.kind is Kind.EMPTY), None)
        if free is None:
            raise UsageError(f"all {SLOTS} key slots are in use", hint="remove one first")
        filled[free] = made
    return rewrite(path, replace(header, slots=slot_area(filled)))


def remove(path: Path, secrets: Sequence[Secret], number: int) -> Header:
    """Remove the key in slot ``number`` (from 1); a key of the image must be given.

    Raises:
        ImageLocked: none of the secrets opens the image.
        UsageError: there is no such key, or it is the last one.
    """
    header = read_header(path)
    unlock(header, secrets)
    filled = list(parse_slots(header.slots))
    there = [at for at, _ in describe(header)]
    if number not in there:
        raise UsageError(
            f"the image has no key {number}", hint="its keys: " + ", ".join(map(str, there))
        )
    if len(there) == 1:
        raise UsageError("this is the only key of the image", hint="add another one first")
    filled[number - 1] = slots.EMPTY
    return rewrite(path, replace(header, slots=slot_area(filled)))


def rewrite(path: Path, header: Header) -> Header:
    """Write both copies of the header anew, the second one first.

    Raises:
        DiskTrouble: the image cannot be written.
    """
    header = replace(header, generation=header.generation + 1)
    block = header.to_bytes()
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for offset in (HEADER_SIZE, 0):
                done = 0
                while done < len(block):
                    done += os.pwrite(fd, block[done:], offset + done)
                os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    return header
