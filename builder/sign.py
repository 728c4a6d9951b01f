"""Signatures of a finished ISO, by an SSH key or a minisign key: whichever was given.

A key with a passphrase is asked for by the program that signs, on the person's own terminal.
"""

from __future__ import annotations

import os
from pathlib import Path

from rescue.core import process
from rescue.core.errors import ProgramFailed, from_os_error

SIGNED_FOR = "rescue-medium"
"""The namespace of SSH signatures: one made for mail or a commit is not one of a medium."""
_MINISIGN = b"untrusted comment: "
"""How every file of minisign begins (its manual, "Formats")."""


def sign(output: Path, key: Path) -> Path:
    """Sign a finished ISO; the signature lies beside it.

    An SSH signature is checked by ``ssh-keygen -Y verify -n rescue-medium``, the other one by
    ``minisign -V``.

    Raises:
        DiskTrouble: the key cannot be read.
        ProgramFailed: the program that signs is missing or failed.
    """
    try:
        with key.open("rb") as file:
            minisign = file.read(len(_MINISIGN)) == _MINISIGN
    except OSError as error:
        raise from_os_error(error, f"read {key}") from error
    return _by_minisign(output, key) if minisign else _by_ssh(output, key)


def _by_ssh(output: Path, key: Path) -> Path:
    process.require("ssh-keygen", package="openssh-client")
    signature = output.with_name(f"{output.name}.sig")
    signature.unlink(missing_ok=True)
    agent = os.environ.get("SSH_AUTH_SOCK")
    status = process.interact(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", SIGNED_FOR, "-f", key, output],
        env={"SSH_AUTH_SOCK": agent} if agent else {},
    )
    if status != 0:
        raise ProgramFailed(
            f"ssh-keygen could not sign {output} with {key}",
            hint="name a private SSH key, or the public one of a key in the agent",
        )
    return signature


def _by_minisign(output: Path, key: Path) -> Path:
    process.require("minisign")
    signature = output.with_name(f"{output.name}.minisig")
    signature.unlink(missing_ok=True)
    # The trusted comment says by itself only when; the name of the file it would add may change.
    command: list[str | Path] = [
        "minisign",
        "-S",
        "-s",
        key,
        "-m",
        output,
        "-x",
        signature,
        "-t",
        SIGNED_FOR,
    ]
    if process.interact(command) != 0:
        raise ProgramFailed(
            f"minisign could not sign {output} with {key}",
            hint="name a secret key of minisign, as minisign -G makes it",
        )
    return signature
