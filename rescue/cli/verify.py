"""``rescue verify``: is an image what was captured, and can it be relied on?"""

from __future__ import annotations

from typing import Annotated

import typer

from rescue.cli.console import put
from rescue.cli.options import ImageArgument, JsonOption
from rescue.cli.secrets import (
    KeyFile,
    LookIn,
    PassphraseFd,
    PassphraseFile,
    RecoveryFile,
    for_image,
    given,
)
from rescue.cli.work import conclude
from rescue.core.errors import ImageError, ImageLocked

_HELP = """Check an image and say whether it is safe to rely on, and what was proven.

Without --deep every stored byte is compared with its hash, at the speed of the disk. With --deep
every chunk is decoded as well and compared with the hash of what was read from the source. With
--filesystems each filesystem in the image is then checked by its own checker (e2fsck, xfs_repair,
ntfsresize, ...), which sees it as a disk that cannot be written; nothing is restored for that. With
--start a virtual machine is started from the image as well, to see whether its system runs.
Parents of an incremental image are checked with it. Stored bytes need no key.

\b
Examples:
  rescue verify /mnt/store/pc.rescue
  rescue verify --deep /mnt/store/pc.rescue
  rescue verify --filesystems --start /mnt/store/pc.rescue

Exit code 20: damaged (what is hurt is named). 22: the capture never finished. 24: the image is
right, but a filesystem had errors already when it was captured, or its machine did not start."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("verify", help=_HELP, short_help="Check an image.")(verify)


def verify(
    image: ImageArgument,
    deep: Annotated[bool, typer.Option("--deep", help="Decode and compare every chunk.")] = False,
    filesystems: Annotated[
        bool,
        typer.Option("--filesystems", help="As --deep, and check each filesystem in the image."),
    ] = False,
    start: Annotated[
        bool,
        typer.Option("--start", help="As --deep, and see in QEMU whether its machine starts."),
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Check an image."""
    from rescue.jobs.verifying import VerifyWish
    from rescue.jobs.verifying import verify as work

    given_secrets = given(passphrase_file, passphrase_fd, recovery_key_file, key_file)
    # Stored bytes are verified without a key; nobody is asked for one that is not needed.
    secrets = for_image(image, given_secrets) if deep or filesystems or start else given_secrets
    wish = VerifyWish(image, deep, filesystems, start, secrets, look_in or ())
    try:
        return conclude(lambda reporter: work(wish, reporter), json=json)
    except ImageError as error:
        # The verdict stands on stdout whatever happened; the error line follows on stderr.
        if not json and not isinstance(error, ImageLocked):
            put(f"safe to rely on: no, because {error.message}", style="red")
        raise
