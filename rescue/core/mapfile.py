"""ddrescue's mapfile: written with the bad places that were found, and taken in as such.

GNU ddrescue manual, "Mapfile structure": comment lines with ``#``, a status line (current position,
status, pass), then ``position size status`` in hexadecimal; ``+`` is finished, everything else was
not (all) read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rescue import __version__
from rescue.core.errors import UsageError, from_os_error
from rescue.core.extent import ExtentMap

MAX_SIZE = 64 << 20  # two million lines


def parse(text: str) -> ExtentMap:
    """The places that were not read.

    Raises:
        UsageError: not a mapfile.
    """
    pairs: list[tuple[int, int]] = []
    status_seen = False
    end = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if not status_seen:
            status_seen = True
            continue
        try:
            start, length, status = int(words[0], 0), int(words[1], 0), words[2]
        except (ValueError, IndexError):
            raise UsageError(f"line {number} of the mapfile cannot be read") from None
        if len(status) != 1 or status not in "?*/-+" or start < end or length < 0:
            raise UsageError(f"line {number} of the mapfile makes no sense")
        end = start + length
        if status != "+":
            pairs.append((start, end))
    if not status_seen:
        raise UsageError("the mapfile is empty")
    return ExtentMap.of(pairs)


def read(path: Path) -> ExtentMap:
    """The places that a mapfile says were not read.

    Raises:
        UsageError: not a mapfile.
        DiskTrouble: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_SIZE:
            raise UsageError(f"{path} is too large for a mapfile")
        return parse(path.read_text(errors="replace"))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def text_of(bad: ExtentMap, size: int) -> str:
    """A mapfile in which only these places are bad."""
    lines = [
        f"# Mapfile. Created by rescue {__version__}",
        "# current_pos  current_status  current_pass",
        "0x00000000     +               1",
        "#      pos        size  status",
    ]
    at = 0
    for start, end in bad.pairs():
        if start > at:
            lines.append(f"0x{at:08X}  0x{start - at:08X}  +")
        lines.append(f"0x{start:08X}  0x{end - start:08X}  -")
        at = end
    if at < size:
        lines.append(f"0x{at:08X}  0x{size - at:08X}  +")
    return "\n".join(lines) + "\n"


def write(path: Path, bad: ExtentMap, size: int) -> None:
    """Write a new mapfile; never over an existing one.

    Raises:
        DiskTrouble: it exists or cannot be written.
    """
    try:
        with path.open("x", encoding="ascii") as file:
            try:
                file.write(text_of(bad, size))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # Half a map would be taken for a whole one by the next capture.
                with suppress(OSError):
                    path.unlink()
                raise
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
