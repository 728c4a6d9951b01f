"""What a disk says of its own health (SMART), in a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rescue.core import process
from rescue.core.errors import RescueError

_PENDING = 197
"""ATA attribute: sectors that could not be read and wait to be written over."""


def is_failing(path: Path) -> str:
    """Why a disk is taken to be failing; empty when it says nothing of the kind."""
    if process.find("smartctl") is None:
        return ""
    command = ["smartctl", "--json", "--health", "--attributes", str(path)]
    try:
        done = process.run(command, check=False, timeout=30)
    except RescueError:
        return ""
    return parse(done.text)


def parse(text: str) -> str:
    """The same from what smartctl printed; pure."""
    try:
        told: dict[str, Any] = json.loads(text)
        if told.get("smart_status", {}).get("passed") is False:
            return "it says of itself that it will fail soon"
        table = told.get("ata_smart_attributes", {}).get("table", [])
        for row in table:
            if row.get("id") == _PENDING and int(row["raw"]["value"]) > 0:
                return f"it cannot read {int(row['raw']['value']):,} of its sectors"
        media = told.get("nvme_smart_health_information_log", {}).get("media_errors", 0)
        if int(media) > 0:
            return f"it has counted {int(media):,} errors of its memory"
    except (ValueError, TypeError, AttributeError, KeyError):
        return ""
    return ""
