"""What keeps a job from running twice: a note beside the image, made before the job begins.

The note names the job by the hash of its text and the boot medium by a hash of what describes it.
It is written and flushed before anything else happens, so that a machine that loses power in the
middle of a restore does not begin again by itself at the next start.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescue.core.errors import from_os_error

MEDIUM = Path("/run/live/medium")
_DESCRIBES = (".disk/info", "sha256sums.txt")
_MAX_NOTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Marker:
    """The note file of one image and action, seen by one job on one boot medium."""

    path: Path
    job: str
    medium: str

    def earlier(self) -> str | None:
        """How this job ended the last time it ran on this medium, in words; None: it never did."""
        words = None
        for note in self._notes():
            if note.get("job") == self.job and note.get("medium") == self.medium:
                when, ended = note.get("time", "?"), note.get("exit")
                if ended is None:
                    words = f"it was started at {when} and never finished"
                else:
                    words = f"it ran at {when} and ended with exit code {ended}"
        return words

    def _notes(self) -> list[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                lines = file.read(_MAX_NOTES).splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise from_os_error(error, f"read {self.path}") from error
        found = []
        for line in lines:
            with suppress(ValueError):
                note = json.loads(line)
                if isinstance(note, dict):
                    found.append(note)
        return found

    def begin(self) -> None:
        """Note that the job begins.

        Raises:
            DiskTrouble: the note cannot be kept; then the job must not run.
        """
        self._append(None)

    def end(self, status: int) -> None:
        """Note how it ended."""
        self._append(status)

    def _append(self, status: int | None) -> None:
        note = {
            "job": self.job,
            "medium": self.medium,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "exit": status,
        }
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(note).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise from_os_error(error, f"write {self.path}") from error


def medium_id(medium: Path = MEDIUM) -> str:
    """A hash of what describes the boot medium; the same for each start from the same one."""
    import hashlib  # with it comes libcrypto, and the shell only wants to know MEDIUM

    hasher = hashlib.sha256()
    for name in _DESCRIBES:
        try:
            content = (medium / name).read_bytes()
        except OSError:
            continue
        hasher.update(f"{name}\0{len(content)}\0".encode() + content)
    return hasher.hexdigest()
