"""What goes to the terminal: talk on stderr, data on stdout, colour only where it is wanted.

Names of disks, labels and messages come from hardware and files that may be hostile: everything
is cleaned of control characters before it reaches a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

_CODES = {
    "bold": "1", "red": "1;31", "green": "1;32", "yellow": "1;33", "dim": "2",
    "blue": "44;97", "magenta": "45;97", "cyan": "46;30",
}  # fmt: skip


class ReaderGone(Exception):
    """The program that read our output has closed it (``rescue disks | head -1``): end quietly."""


def clean(text: str) -> str:
    """``text`` with every control, format and surrogate character shown as ``?``."""
    if text.isascii() and text.isprintable():
        return text
    # Cc, Cf, Cs and the line separators: what could move a cursor, recolour or reorder a line.
    return "".join(
        "?" if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") else letter
        for letter in text
    )


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees this stream as it is written."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def wants_colour(stream: TextIO) -> bool:
    """Colour only on a terminal that can show it, and never against NO_COLOR."""
    return (
        not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") not in ("dumb", "")
        and is_terminal(stream)
    )


def paint(text: str, style: str, stream: TextIO) -> str:
    """``text`` in a style of this module, or as it is where colour is not wanted."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if wants_colour(stream) else text


def say(text: str = "", *, style: str = "") -> None:
    """One line of talk, on stderr."""
    line = clean(text)
    write(sys.stderr, paint(line, style, sys.stderr) if style else line)


def put(text: str = "", *, style: str = "") -> None:
    """One line of data, on stdout."""
    line = clean(text)
    write(sys.stdout, paint(line, style, sys.stdout) if style else line)


def put_json(value: Mapping[str, Any]) -> None:
    """The result as JSON, on stdout: ASCII, so that it survives every pipe."""
    write(sys.stdout, json.dumps(value, indent=2, ensure_ascii=True, default=str))


def write(stream: TextIO, line: str) -> None:
    """Write one line; a letter the stream cannot show becomes ``?`` instead of an error."""
    encoding = stream.encoding or "ascii"
    try:
        stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error


def columns(rows: Iterable[Sequence[str]], *, gap: str = "  ") -> list[str]:
    """Rows as aligned lines; the last column is not padded."""
    kept = [[clean(cell) for cell in row] for row in rows]
    if not kept:
        return []
    widths = [max(len(row[i]) for row in kept if i < len(row)) for i in range(max(map(len, kept)))]
    return [
        gap.join(
            cell.ljust(widths[i]) if i < len(row) - 1 else cell for i, cell in enumerate(row)
        ).rstrip()
        for row in kept
    ]
