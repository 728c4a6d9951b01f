"""A restore's plan on a terminal: the bars of its two layouts in colour, all else as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from rescue.cli.console import clean, paint, put, say, wants_colour, write

_BAR = re.compile(r"^  (before|after ) \|.*\|")
_CELL = re.compile(r"\[[^\]]*\]")
_STYLES = ("blue", "magenta", "cyan")


def show(lines: Sequence[str], *, as_data: bool) -> None:
    """Print the plan: data goes to standard output, talk to standard error."""
    stream = sys.stdout if as_data else sys.stderr
    for line in lines:
        if _BAR.match(line) and wants_colour(stream):
            write(stream, painted(line, lambda text, style: paint(text, style, stream)))
        elif as_data:
            put(line)
        else:
            say(line)


def painted(line: str, brush: Callable[[str, str], str]) -> str:
    """A bar with each partition in a colour of its own, the same one in both bars."""
    head, bar = clean(line).split("|", 1)
    count = 0

    def colour(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return brush(match[0], _STYLES[(count - 1) % len(_STYLES)])

    return f"{head}|{_CELL.sub(colour, bar)}"
