"""Every identifier that a disk answers to, as the tools of the system (sfdisk, blkid) read them."""

from __future__ import annotations

import json
from pathlib import Path

from rescue.core.process import run


def identifiers(disk: Path, sector: int = 512) -> set[str]:
    """Of the disk, its partitions and their filesystems, in small letters."""
    table = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]
    found = {table["id"], *(entry["uuid"] for entry in table["partitions"] if "uuid" in entry)}
    for entry in table["partitions"]:
        start, size = entry["start"] * sector, entry["size"] * sector
        probe = ["blkid", "--probe", "--offset", str(start), "--size", str(size)]
        words = [*probe, "--output", "export", disk]
        for line in run(words, check=False).text.splitlines():
            name, _, value = line.partition("=")
            if name in ("UUID", "UUID_SUB", "LOGUUID"):
                found.add(value)
    return {one.lower() for one in found}
