"""Which job a start of the rescue media asks for; light, because the shell asks at its start."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import RescueError, UsageError
from rescue.jobs.marker import MEDIUM

CMDLINE = Path("/proc/cmdline")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the kernel line asks for; ``label`` is empty when it names no job."""

    label: str = ""
    path: str = ""
    again: bool = False
    none: bool = False


def parse_cmdline(text: str) -> Asked:
    """Find the job in a kernel line; the last one named counts, as the kernel does it.

    Raises:
        UsageError: the job is not written as LABEL:path.
    """
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that never ends is no reason not to start
        words = text.split()
    label = path = ""
    again = none = False
    for word in words:
        key, _, value = word.partition("=")
        if key == "rescue.job.again":
            again = value in ("", "1", "yes", "true")
        if key != "rescue.job":
            continue
        none = value in ("", "none")
        label, colon, path = ("", ":", "") if none else value.partition(":")
        if not none and (not colon or not label or not path.strip("/")):
            raise UsageError(
                f"the kernel line says {word}, which names no job",
                hint="write rescue.job=LABEL:path",
            )
    return Asked(label, path, again, none)


def jobs_on_medium(medium: Path = MEDIUM) -> list[Path]:
    """The job files of the boot medium, in the order of their names."""
    return sorted((medium / "rescue" / "jobs").glob("*.toml"))


def has_job(medium: Path = MEDIUM) -> bool:
    """Whether this start of the rescue media asks for a job."""
    try:
        return medium.is_dir() and bool(
            parse_cmdline(CMDLINE.read_text()).label or jobs_on_medium(medium)
        )
    except (OSError, RescueError):
        return False
