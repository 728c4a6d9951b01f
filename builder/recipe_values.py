"""A table of a recipe: typed access, and errors that name file, line, key and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rescue.core.errors import UsageError


class Table:
    """One table of TOML, with what its messages need.

    Args:
        found: the values.
        lines: of the whole file.
        name: of the file.
        within: the table's own key; empty for the file's top.
    """

    def __init__(
        self, found: Mapping[str, Any], lines: Sequence[str], name: str, within: str = ""
    ) -> None:
        self._found = found
        self._lines = lines
        self._name = name
        self._within = within

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def refuse(self, key: str, why: str, allowed: str) -> UsageError:
        """An error that points at the line of ``key``."""
        whole = f"{self._within}.{key}" if self._within else key
        number = self._line(key)
        where = f"{self._name}, line {number}" if number else self._name
        return UsageError(f"{where}: {whole}: {why}", hint=f"allowed: {allowed}" if allowed else "")

    def _line(self, key: str) -> int:
        """The line on which a key stands; 0 when it cannot be told.

        Inside of a table it is looked for below the table's own line; else that line counts.
        """
        first = 0
        if self._within:
            first = _find(self._lines, self._within, 0, len(self._lines))
        last = len(self._lines)
        for number in range(first, len(self._lines)):
            # The next header ends the table; at the top every key stands before the first one.
            if self._lines[number].lstrip().startswith("["):
                last = number
                break
        if not self._within:
            return _find(self._lines, key, 0, last) or _find(self._lines, key, 0, len(self._lines))
        return _find(self._lines, key, max(0, first - 1), last) or first

    def only(self, known: Sequence[str]) -> None:
        """Refuse every key that is not known."""
        for key in self._found:
            if key not in known:
                raise self.refuse(key, "unknown key", ", ".join(known))

    def table(self, key: str, known: Sequence[str] | None) -> Table:
        """A table inside this one, empty when it is not there; ``known``: its keys, None: any."""
        value = self._found.get(key, {})
        if not isinstance(value, dict):
            raise self.refuse(key, "must be a table", f"[{key}] and lines below it")
        inner = Table(value, self._lines, self._name, key)
        if known is not None:
            inner.only(known)
        return inner

    def text(self, key: str, default: str, shape: re.Pattern[str] | None, allowed: str) -> str:
        """A string that matches ``shape``."""
        if key not in self._found:
            return default
        value = self._found[key]
        if not isinstance(value, str):
            raise self.refuse(key, "must be a string", allowed)
        if shape is not None and not shape.fullmatch(value):
            raise self.refuse(key, f"{value!r} is not allowed here", allowed)
        return value

    def choice(self, key: str, default: str, allowed: Sequence[str]) -> str:
        """One of a few words."""
        value = self._found.get(key, default)
        if value not in allowed:
            raise self.refuse(key, f"{value!r} is not allowed here", ", ".join(allowed))
        return str(value)

    def texts(
        self, key: str, shape: re.Pattern[str] | None = None, allowed: str = "strings"
    ) -> tuple[str, ...]:
        """A list of strings, each matching ``shape``."""
        value = self._found.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.refuse(key, "must be a list of strings", allowed)
        for item in value:
            if shape is not None and not shape.fullmatch(item):
                raise self.refuse(key, f"{item!r} is not allowed here", allowed)
        return tuple(value)

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._found.get(key, default)
        allowed = f"{low} to {high}"
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse(key, "must be a whole number", allowed)
        if not low <= value <= high:
            raise self.refuse(key, f"{value} is not from {low} to {high}", allowed)
        return value


def _find(lines: Sequence[str], key: str, first: int, last: int) -> int:
    """The number, from 1, of the line that names ``key``; 0 when none does."""
    named = rf"[\"']?{re.escape(key)}[\"']?\s*[.=]"
    form = re.compile(rf"\s*{named}|\s*\[\[?\s*{re.escape(key)}\s*[\].]|[^#]*[{{,]\s*{named}")
    for number in range(first, last):
        if form.match(lines[number]):
            return number + 1
    return 0
