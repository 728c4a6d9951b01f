"""``rescue capture``: make an image of a disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.cli.options import JsonOption, NewImageArgument, PartitionOption, SourceArgument
from rescue.cli.secrets import (
    KeyFile,
    PassphraseFd,
    PassphraseFile,
    RecoveryFile,
    ask_passphrase,
    for_image,
    given,
    read_passphrase,
)
from rescue.cli.unlock import unlocking
from rescue.cli.work import conclude
from rescue.core.errors import UsageError

if TYPE_CHECKING:
    from rescue.image.keys import RecoveryKey, Secret
    from rescue.upkeep.keyring import Access

_HELP = """Make an image of a disk: SOURCE is a disk, or a plain file that holds one.

Every partition and the boot code are read; of filesystems that are understood, only the sectors in
use, in logical volumes (LVM) too. Nothing is written to SOURCE, and IMAGE must not exist yet.

Of an encrypted partition (LUKS, BitLocker) every sector is read, unless it is open, or --unlock
opens it, read-only, while the disk is looked at. What is stored stays encrypted as it is.

With --parent only what differs from an earlier image is stored; keep both. With --encrypt, a
recovery key or a recipient, nobody reads the image without a key. A capture that was stopped goes
on with --resume, after every chunk so far was compared with the source again.

\b
Examples:
  rescue capture /dev/sda /mnt/store/pc.rescue
  rescue capture --level auto /dev/nvme0n1 /mnt/store/laptop.rescue
  rescue capture --parent /mnt/store/pc.rescue /dev/sda /mnt/store/pc-friday.rescue
  rescue capture --encrypt --recovery-key /dev/sda /mnt/store/pc.rescue
  rescue capture --recipient rescue-public-key-… /dev/sda /mnt/store/pc.rescue
  rescue capture --part-size dvd /dev/sda /mnt/store/pc.rescue
  rescue capture --unlock /dev/sda /mnt/store/laptop.rescue
  rescue capture --resume /dev/sda /mnt/store/pc.rescue
  rescue capture --partition 1 --partition 3 /dev/sda /mnt/store/two.rescue"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("capture", help=_HELP, short_help="Make an image of a disk.")(capture)


def capture(
    source: SourceArgument,
    image: NewImageArgument,
    partition: PartitionOption = None,
    level: Annotated[
        str, typer.Option(metavar="1-19|auto", help="zstd level: higher is smaller and slower.")
    ] = "3",
    all_sectors: Annotated[
        bool, typer.Option("--all-sectors", help="Read free space as well: every sector.")
    ] = False,
    parent: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Store only what differs from it.")
    ] = None,
    part_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="4G, fat32, dvd, dvd-dl or bd.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an incomplete IMAGE.")
    ] = False,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt, with a passphrase.")] = False,
    recovery_key: Annotated[
        bool, typer.Option("--recovery-key", help="Encrypt; make a recovery key, shown once.")
    ] = False,
    recipient: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Encrypt for this public key; repeatable."),
    ] = None,
    retry: Annotated[
        int, typer.Option(min=0, max=100, help="Tries more for each unreadable sector.")
    ] = 1,
    mapfile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ddrescue's: taken in if it is there, else written."),
    ] = None,
    check: Annotated[
        str,
        typer.Option(metavar="sample|all", help="Decode and compare one chunk in four, or all."),
    ] = "sample",
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Ask for passphrases of encrypted partitions.")
    ] = False,
    unlock_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its first line is the passphrase that opens them."),
    ] = None,
    unlock_fd: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Read that passphrase from this descriptor."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    json: JsonOption = False,
) -> int:
    """Make an image of a disk."""
    from rescue.jobs.work import CaptureWish, check_new
    from rescue.jobs.work import capture as work

    if check not in ("sample", "all"):
        raise UsageError(f"{check!r} is no way to check", hint="sample, or all")
    if not resume:
        check_new(image)
    secrets: list[Secret] = []
    access: Access | None = None
    made: RecoveryKey | None = None
    opened = parent if parent is not None else image if resume else None
    if opened is not None:
        if encrypt or recovery_key or recipient:
            raise UsageError(
                f"{opened} decides whether the image is encrypted",
                hint="leave --encrypt, --recovery-key and --recipient away",
            )
        secrets = for_image(
            opened, given(passphrase_file, passphrase_fd, recovery_key_file, key_file)
        )
    elif encrypt or recovery_key or recipient or passphrase_file or passphrase_fd is not None:
        access, made = _access(encrypt, recovery_key, recipient, passphrase_file, passphrase_fd)
    wish = CaptureWish(
        source,
        image,
        tuple(dict.fromkeys(partition or ())),
        parse_level(level),
        all_sectors,
        parent=parent,
        part_size=part_size,
        access=access,
        secrets=secrets,
        resume=resume,
        retry=retry,
        mapfile=mapfile,
        check=check,
        unlock=unlocking(unlock, unlock_file, unlock_fd),
    )
    try:
        return conclude(lambda reporter: work(wish, reporter), json=json)
    finally:
        # Shown even after a failure: the incomplete image can be resumed with it.
        if made is not None and image.exists():
            from rescue.cli.key import show_recovery_key
            from rescue.image.keys import recovery_words

            show_recovery_key(recovery_words(made))


def parse_level(text: str) -> int:
    """The level as a number; 0 for "auto".

    Raises:
        UsageError: neither 1 to 19 nor "auto".
    """
    if text == "auto":
        return 0
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 19:
        return int(text)
    raise UsageError(f"{text!r} is no level", hint="1 to 19, or auto")


def _access(
    encrypt: bool,
    recovery_key: bool,
    recipient: list[str] | None,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
) -> tuple[Access, RecoveryKey | None]:
    """Who may open a new encrypted image."""
    from rescue.image.keys import new_recovery_key, parse_public
    from rescue.upkeep.keyring import Access

    recipients = tuple(parse_public(text) for text in recipient or ())
    passphrase = read_passphrase(passphrase_file, passphrase_fd)
    if encrypt and not passphrase:
        passphrase = ask_passphrase(twice=True)
    made = new_recovery_key() if recovery_key else None
    return Access(passphrase, made.secret if made else b"", recipients), made
