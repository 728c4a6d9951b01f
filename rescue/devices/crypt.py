"""An encrypted container opened to be read, which never stays open behind its user.

``cryptsetup`` does the opening, read-only; the passphrase goes to it through a pipe. The kernel
closes the container again when the last user does (``--deferred``), also when that is killed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.core import process
from rescue.devices.mapper import until_closed

# blkid's word to cryptsetup's.
TYPES = {"crypto_LUKS": "luks", "BitLocker": "bitlk"}
# cryptsetup(8), RETURN CODES: no permission, which is a wrong passphrase.
_WRONG = 2


class WrongPassphrase(Exception):
    """The passphrase opens none of the container's key slots."""


@contextmanager
def opened(container: Path, fs: str, passphrase: bytes) -> Iterator[Path]:
    """The node at which the content can be read, until the block ends.

    Args:
        fs: blkid's word for the container; a key of ``TYPES``.

    Raises:
        WrongPassphrase: it does not open the container.
        ProgramFailed: cryptsetup is missing, may not, or does not understand the container.
        DiskTrouble: the node cannot be opened.
    """
    name = "rescue_look_" + secrets.token_hex(6)
    command = ["cryptsetup", "open", "--readonly", "--type", TYPES[fs], "--key-file", "-"]
    done = process.run([*command, str(container), name], input=passphrase, check=False)
    if done.status == _WRONG:
        raise WrongPassphrase
    if done.status != 0:
        raise process.failure(done)
    with until_closed(name, ["cryptsetup", "close"]) as node:
        yield node
