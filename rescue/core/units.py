"""Sizes and times as people write them. Bytes everywhere inside; units only at the edge."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rescue.core.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?\s*$", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_size(text: str) -> int:
    """Bytes of ``"4G"`` (4 GiB), ``"1.5 TiB"`` or ``"512"``; suffixes are powers of 1024.

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    number, suffix, _ = match.groups()
    return int(float(number) * 1024 ** _POWERS[suffix.upper()])


def named_size(text: str, named: Mapping[str, int], what: str, least: int) -> int:
    """Bytes of a size that may also be one of a few names ("dvd"), as an option takes it.

    Args:
        what: what has that size, for messages: "a part".
        least: anything below is refused.

    Raises:
        UsageError: neither a name nor a size, or too small.
    """
    if text.lower() in named:
        return named[text.lower()]
    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(f"{error}", hint=f"700M, 4.3G, or one of {', '.join(named)}") from None
    if size < least:
        raise UsageError(
            f"{what} of {format_size(size)} is too small", hint=f"at least {format_size(least)}"
        )
    return size


def format_size(size: int) -> str:
    """``"931.5 GiB"``; whole numbers below 1 KiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """``"42 s"``, ``"3 min 05 s"``, ``"2 h 07 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(count: int, noun: str, many: str = "") -> str:
    """``"1 disk"``, ``"3 disks"``; ``many`` where an s is not enough."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"
