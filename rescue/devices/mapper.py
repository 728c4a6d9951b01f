"""Pieces of a disk as one device that is only read, and that never outlives its user.

A logical volume in several pieces has no node while nobody activated it, and activating is not ours
to do. The device that is made here is taken away by the kernel when its last user closes it
(``--deferred``), also when that user is killed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rescue.core import process
from rescue.core.errors import from_os_error
from rescue.core.extent import Extent

_SECTOR = 512
# What people who look at the list of devices see; "-" would be doubled in the name.
_PREFIX = "rescue_look_"


@contextmanager
def read_only_pieces(disk: Path, pieces: Sequence[Extent]) -> Iterator[Path]:
    """A block device of ``pieces`` (bytes of ``disk``, whole sectors) one behind another.

    Raises:
        ProgramFailed: dmsetup is missing, may not, or has no device mapper.
        DiskTrouble: the device cannot be opened.
    """
    name = _PREFIX + secrets.token_hex(6)
    # udev must not look at it, nor name it: it is gone in a moment.
    quiet = ["--noudevrules", "--noudevsync"]
    command = ["dmsetup", "create", name, "--readonly", *quiet]
    process.run(command, input=table(disk, pieces).encode())
    with until_closed(name, ["dmsetup", "remove", *quiet]) as node:
        yield node


@contextmanager
def until_closed(name: str, remove: Sequence[str]) -> Iterator[Path]:
    """The node of a device that was just made; the kernel takes it away when the block ends.

    Args:
        remove: the command that takes it away, which knows ``--deferred``; its name is added.

    Raises:
        ProgramFailed: a command failed; the device is taken away.
        DiskTrouble: it cannot be opened; the same.
    """
    try:
        told = process.run(["dmsetup", "info", "-c", "--noheadings", "-o", "minor", name]).text
        node = Path(f"/dev/dm-{told.strip()}")
        try:
            held = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise from_os_error(error, f"open {node}") from error
        try:
            process.run([*remove, "--deferred", name])
        except BaseException:
            os.close(held)
            raise
    except BaseException:
        process.run([*remove, name], check=False)
        raise
    try:
        yield node
    finally:
        os.close(held)


def table(disk: Path, pieces: Sequence[Extent]) -> str:
    """The lines that dmsetup takes; pure.

    Raises:
        ValueError: a piece is not of whole sectors.
    """
    lines, at = [], 0
    for piece in pieces:
        if piece.start % _SECTOR or piece.length % _SECTOR:
            raise ValueError("a piece is not of whole sectors")
        length = piece.length // _SECTOR
        lines.append(f"{at} {length} linear {disk} {piece.start // _SECTOR}\n")
        at += length
    return "".join(lines)
