"""Passphrases of a disk's own encrypted partitions, for the look that a capture takes at them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rescue.cli.secrets import read_passphrase
from rescue.core.errors import UsageError

if TYPE_CHECKING:
    from rescue.capture.plan import Unlock

_TRIES = 3


def unlocking(asked: bool, file: Path | None, descriptor: int | None) -> Unlock | None:
    """What answers for the passphrases; None where encrypted partitions are to stay closed.

    Raises:
        UsageError: there is nobody to ask; both a file and a descriptor were given.
        DiskTrouble: the file cannot be read.
    """
    if file is not None and descriptor is not None:
        raise UsageError("--unlock-file and --unlock-fd exclude each other")
    if asked and file is None and descriptor is None:
        if not sys.stdin.isatty():
            raise UsageError(
                "--unlock asks for passphrases, and nobody is there to ask",
                hint="give --unlock-file or --unlock-fd",
            )
        return _ask
    passphrase = read_passphrase(file, descriptor)
    if not passphrase:
        return None

    def answer(name: str, fs: str, wrong: int) -> bytes:
        if wrong:
            raise UsageError(f"the passphrase given does not open {name} ({fs})")
        return passphrase

    return answer


def _ask(name: str, fs: str, wrong: int) -> bytes:
    """Ask the person; an empty answer leaves the partition closed."""
    import getpass

    if wrong >= _TRIES:
        raise UsageError(
            f"{name} ({fs}) was not opened by {_TRIES} passphrases",
            hint="without --unlock every sector of it is captured",
        )
    again = "that was not it. " if wrong else ""
    question = f"{again}passphrase of {name} ({fs}; Enter alone: leave it closed): "
    return getpass.getpass(question, stream=sys.stderr).encode()
