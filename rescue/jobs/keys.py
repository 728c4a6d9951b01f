"""What opens an encrypted image when nobody is at the keyboard: files that hold one secret each.

A job names them as it names everything: the label of a filesystem and a path. They are read before
anything else is done, so that a disc may be changed and a disk erased afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rescue.core.errors import UsageError, from_os_error

if TYPE_CHECKING:
    from rescue.image.keys import Secret
    from rescue.jobs.find import Found
    from rescue.jobs.model import Job
    from rescue.upkeep.keyring import Access

MAX_SECRET = 64 << 10


def read_secret_file(path: Path) -> str:
    """The first line of a file that holds a secret.

    Raises:
        DiskTrouble: it cannot be read.
        UsageError: it is empty or not text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    return first_line(data, str(path))


def first_line(data: bytes, where: str) -> str:
    """The first line as text.

    Raises:
        UsageError: it is empty or not text; the line is not repeated.
    """
    line = data.split(b"\n", 1)[0].removesuffix(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{where} is not text") from None
    if not text:
        raise UsageError(f"{where} holds nothing in its first line")
    return text


def read_secrets(found: Found) -> list[Secret]:
    """Every secret that the job names; each place is mounted for a moment, and only read.

    Raises:
        DiskTrouble: a place cannot be mounted, or a file not be read.
        UsageError: a file holds no such secret.
    """
    from rescue.image.keys import Passphrase, parse_recovery, parse_secret
    from rescue.jobs.held import held
    from rescue.jobs.marker import MEDIUM

    secrets: list[Secret] = []
    for key in found.keys:
        path = key.secret.place.path
        if key.filesystem is None:
            text = read_secret_file(MEDIUM / path)
        else:
            with held(key.filesystem.node, writable=False) as place:
                text = read_secret_file(place.file(path))
        if key.secret.option == "passphrase_file":
            secrets.append(Passphrase(text.encode()))
        elif key.secret.option == "recovery_key_file":
            secrets.append(parse_recovery(text))
        else:
            secrets.append(parse_secret(text))
    return secrets


def access_of(job: Job, secrets: Sequence[Secret]) -> Access | None:
    """Who may open the image that a job makes; None: it is not encrypted."""
    if not job.encrypts:
        return None
    from rescue.image.keys import Passphrase, parse_public
    from rescue.upkeep.keyring import Access

    passphrase = next((one.text for one in secrets if isinstance(one, Passphrase)), b"")
    return Access(passphrase, b"", tuple(parse_public(text) for text in job.recipients))
