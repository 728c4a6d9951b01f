"""Options that several verbs share: what opens an encrypted image, and where parents lie.

A secret never comes from an argument or the environment, where every process can read it: from a
file, an open descriptor, or the person at the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.core.errors import UsageError, from_os_error
from rescue.jobs.keys import MAX_SECRET, first_line, read_secret_file

if TYPE_CHECKING:
    from rescue.image.keys import Secret

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase."),
]
PassphraseFd = Annotated[
    int | None,
    typer.Option("--passphrase-fd", metavar="N", min=0, help="Read it from this descriptor."),
]
RecoveryFile = Annotated[
    Path | None,
    typer.Option("--recovery-key-file", metavar="FILE", help="Holds the recovery key."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="A private key, by rescue key new."),
]
LookIn = Annotated[
    list[Path] | None,
    typer.Option("--look-in", metavar="DIR", help="Search here for parents too; repeatable."),
]


def read_passphrase(file: Path | None, descriptor: int | None) -> bytes:
    """A passphrase from a file or descriptor; empty when neither was given."""
    if file is not None and descriptor is not None:
        raise UsageError("--passphrase-file and --passphrase-fd exclude each other")
    if file is not None:
        return read_secret_file(file).encode()
    if descriptor is None:
        return b""
    try:
        data = b""
        while b"\n" not in data and len(data) < MAX_SECRET:
            piece = os.read(descriptor, MAX_SECRET)
            if not piece:
                break
            data += piece
    except OSError as error:
        raise from_os_error(error, f"read descriptor {descriptor}") from error
    return first_line(data, f"descriptor {descriptor}").encode()


def ask_passphrase(*, twice: bool = False) -> bytes:
    """Ask the person; nothing is shown while they type.

    Raises:
        UsageError: nobody is there to ask, or the two answers differ.
    """
    import getpass

    if not sys.stdin.isatty():
        raise UsageError(
            "a passphrase is needed, and nobody is there to ask",
            hint="give --passphrase-file or --passphrase-fd",
        )
    first = getpass.getpass("passphrase: ", stream=sys.stderr)
    if not first:
        raise UsageError("the passphrase is empty")
    if twice and getpass.getpass("once more: ", stream=sys.stderr) != first:
        raise UsageError("the two passphrases differ")
    return first.encode()


def given(
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    recovery_file: Path | None,
    key_file: Path | None,
) -> list[Secret]:
    """The secrets that were given on the command line by reference."""
    if all(one is None for one in (passphrase_file, passphrase_fd, recovery_file, key_file)):
        return []
    from rescue.image.keys import Passphrase, parse_recovery, parse_secret

    secrets: list[Secret] = []
    passphrase = read_passphrase(passphrase_file, passphrase_fd)
    if passphrase:
        secrets.append(Passphrase(passphrase))
    if recovery_file is not None:
        secrets.append(parse_recovery(read_secret_file(recovery_file)))
    if key_file is not None:
        secrets.append(parse_secret(read_secret_file(key_file)))
    return secrets


def for_image(image: Path, secrets: Sequence[Secret]) -> list[Secret]:
    """What was given; or a passphrase from the person when the image is encrypted."""
    from rescue.image.chain import read_header

    if secrets or not sys.stdin.isatty():
        return list(secrets)
    header = read_header(image)
    if header is None or not header.sealed:
        return []
    from rescue.image.keys import Passphrase

    return [Passphrase(ask_passphrase())]
