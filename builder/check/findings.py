"""What a check found out, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Something that a person should know, or that could not be found out."""
    BAD = "bad"
    """The medium does not start here, or lacks what this machine needs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer.

    Attributes:
        topic: "firmware", "secure boot", "storage", "network" or "screen".
        hint: what to do about it; empty where nothing has to be done.
    """

    topic: str
    level: Level
    text: str
    hint: str = ""
