"""A TOML table read strictly: what is wrong names the file, the key and, when known, the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rescue.core.errors import UsageError


class TableReader:
    """A TOML table. What every method raises is a ``UsageError`` that names file, key and line.

    Args:
        values: the table.
        text: of the whole file, in which lines are counted.
        name: what errors call the file.
    """

    def __init__(self, values: Mapping[str, Any], text: str, name: str) -> None:
        """Nothing is looked at yet."""
        self.values, self._text, self._name = values, text, name

    def error(self, key: str, message: str, hint: str = "") -> UsageError:
        """The error to raise about this key."""
        for number, line in enumerate(self._text.splitlines(), 1):
            if re.search(rf"(^|[\s{{,.\"']){re.escape(key)}[\"']?\s*[=.\]]", line):
                return UsageError(f"{self._name}, line {number}: {message}", hint=hint)
        return UsageError(f"{self._name}: {message}", hint=hint)

    def only(self, allowed: set[str], where: str) -> None:
        """Nothing else may stand in it: a misspelt key is not left out."""
        for key in self.values:
            if key not in allowed:
                raise self.error(
                    key, f"unknown key {key!r} {where}", f"known keys: {', '.join(sorted(allowed))}"
                )

    def text(self, key: str, default: str | None = None) -> str:
        """A text of one line, 1,024 characters at most; without a default it must be there."""
        value = self.values.get(key, default)
        if value is None:
            raise UsageError(f"{self._name}: the key {key!r} is missing")
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.error(key, f"{key!r} must be a text")
        if len(value) > 1024 or any(ord(letter) < 32 for letter in value):
            raise self.error(key, f"{key!r} is too long or holds control characters")
        return value.strip()

    def flag(self, key: str) -> bool:
        """True or false; false when it is left out."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"{key!r} must be true or false")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number, both ends included."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"{key!r} must be a number from {low} to {high}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of these texts."""
        value = self.text(key, default)
        if value not in choices:
            raise self.error(key, f"{key!r} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def table(self, key: str) -> TableReader:
        """A table inside it, which must be there."""
        value = self.values.get(key)
        if value is None:
            raise UsageError(f"{self._name}: the key {key!r} is missing")
        if not isinstance(value, dict):
            raise self.error(key, f"{key!r} must be a table in braces")
        return TableReader(value, self._text, self._name)

    def partitions(self, key: str = "partitions") -> tuple[int, ...]:
        """Numbers of partitions, each once; none when it is left out."""
        value = self.values.get(key, [])
        if (
            not isinstance(value, list)
            or len(value) > 256
            or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in value)
        ):
            raise self.error(key, f"{key!r} must be a list of partition numbers")
        return tuple(dict.fromkeys(value))
