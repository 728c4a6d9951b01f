"""Every error that a person can meet, each with its exit code and, where there is one, a way on.

    RescueError                 base: a message, a hint, an exit code
    ├── UsageError          2   the command line or a file it names makes no sense
    ├── DiskTrouble        10   a disk or file could not be read or written
    ├── TargetRefused      11   this disk must not be overwritten; nothing was written
    ├── ImageError              something about an image
    │   ├── ImageDamaged   20   bytes are not what was written
    │   ├── ImageUnsupported 21 made by a newer version, or a feature this one lacks
    │   ├── ImageIncomplete  22 the capture that wrote it never finished
    │   └── ImageLocked      23 it is encrypted, and no key or the wrong one was given
    ├── ProgramFailed      30   an external program failed
    └── Interrupted       130   Ctrl-C or a termination signal

Messages follow age's habit: no capital initial, no period at the end, one line; the hint says what
to do next. Anything that is not a RescueError is our bug: exit 1, with a saved report.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of both commands; documented in docs/cli.md and stable for ever."""

    COMPLETE = 0
    BUG = 1
    USAGE = 2
    UNREADABLE = 3
    DISK = 10
    REFUSED = 11
    DAMAGED = 20
    UNSUPPORTED = 21
    INCOMPLETE = 22
    LOCKED = 23
    UNSOUND = 24
    PROGRAM = 30
    INTERRUPTED = 130


class RescueError(Exception):
    """Base of every expected failure.

    Args:
        message: one line, lower case, no period; what is wrong, naming the thing.
        hint: one line; what the person can do about it, or empty.
    """

    exit_code: Exit = Exit.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RescueError):
    """The command line, or a file it names, makes no sense."""

    exit_code = Exit.USAGE


class DiskTrouble(RescueError):
    """A disk or file could not be opened, read or written."""

    exit_code = Exit.DISK


class TargetRefused(RescueError):
    """This disk must not be overwritten. Raised only while nothing has been written."""

    exit_code = Exit.REFUSED


class ImageError(RescueError):
    """Something about an image; see the three kinds."""

    exit_code = Exit.DAMAGED


class ImageDamaged(ImageError):
    """The bytes of the image are not those that were written."""

    exit_code = Exit.DAMAGED


class ImageUnsupported(ImageError):
    """A format version or critical flag that this program does not know."""

    exit_code = Exit.UNSUPPORTED


class ImageIncomplete(ImageError):
    """The capture never finished: there is no footer."""

    exit_code = Exit.INCOMPLETE


class ImageLocked(ImageError):
    """The image is encrypted, and no key that opens it was given."""

    exit_code = Exit.LOCKED


class ProgramFailed(RescueError):
    """An external program could not be run or failed; the message holds its own words."""

    exit_code = Exit.PROGRAM


class Interrupted(RescueError):
    """Stopped by Ctrl-C or a termination signal; what was being written says so itself."""

    exit_code = Exit.INTERRUPTED


def from_os_error(error: OSError, what: str) -> RescueError:
    """Turn an ``OSError`` met while doing ``what`` ("open /dev/sdb") into one clear line."""
    reason = (error.strerror or str(error)).lower()
    hint = ""
    if isinstance(error, PermissionError):
        hint = "run this as root, or give this user access"
    elif isinstance(error, IsADirectoryError):
        hint = "name a block device or a file, not a directory"
    elif isinstance(error, FileNotFoundError):
        hint = "check the name: nothing is there"
    return DiskTrouble(f"cannot {what}: {reason}", hint=hint)
