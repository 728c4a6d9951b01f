"""``rescue key``: keys of encrypted images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json, say
from rescue.cli.secrets import (
    KeyFile,
    PassphraseFd,
    PassphraseFile,
    RecoveryFile,
    ask_passphrase,
    for_image,
    given,
)
from rescue.core.errors import UsageError, from_os_error
from rescue.jobs.keys import read_secret_file

_HELP = """Make keys, and choose who may open an encrypted image.

Changing keys rewrites only the header of the image. Who had a key and a copy of the old header
can still open that copy.

\b
Examples:
  rescue key new ~/rescue.key                       a private key; its public half is printed
  rescue capture --recipient rescue-public-key-… /dev/sda pc.rescue
  rescue key list pc.rescue
  rescue key add pc.rescue --new-passphrase-file new.txt --passphrase-file old.txt
  rescue key remove pc.rescue 2 --key-file ~/rescue.key"""


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(
        help=_HELP, short_help="Keys of encrypted images.", rich_markup_mode=None,
        no_args_is_help=False, add_completion=False,
    )  # fmt: skip
    group.command("new", help="Make a private key in FILE; print its public half.")(new)
    group.command("list", help="List the keys of an image.")(list_keys)
    group.command("add", help="Add a key to an image; one it has must be given.")(add)
    group.command("remove", help="Remove key N of an image; one it has must be given.")(remove)
    app.add_typer(group, name="key")


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Is made, readable by you alone.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> int:
    """Make a private key."""
    from rescue.image.keys import new_private_key, public_line, secret_line

    key = new_private_key()
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as out:
            out.write(secret_line(key) + "\n")
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError as error:
        raise UsageError(f"{file} exists already", hint="choose another name") from error
    except OSError as error:
        raise from_os_error(error, f"write {file}") from error
    if json:
        put_json({"file": str(file), "public_key": public_line(key)})
        return 0
    put(public_line(key))
    say(f"{file} holds the private key: without it, nobody can open what is captured for it")
    return 0


def list_keys(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An encrypted image.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> int:
    """List the keys of an image."""
    from rescue.upkeep.keyring import describe, read_header

    found = describe(read_header(image))
    if json:
        put_json({"image": str(image), "keys": [{"key": n, "kind": kind} for n, kind in found]})
        return 0
    for number, kind in found:
        put(f"{number:>2}  {kind}")
    return 0


def add(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An encrypted image.")],
    new_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its first line is the new passphrase.")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--new-passphrase", help="Ask for a new passphrase.")
    ] = False,
    recovery: Annotated[
        bool, typer.Option("--new-recovery-key", help="Make one and show it, once.")
    ] = False,
    recipient: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A public key; repeatable.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
) -> int:
    """Add a key to an image."""
    from rescue.image.keys import new_recovery_key, parse_public, recovery_words
    from rescue.upkeep import keyring

    keyring.read_header(image)
    passphrase = b""
    if new_passphrase_file is not None:
        passphrase = read_secret_file(new_passphrase_file).encode()
    made = new_recovery_key() if recovery else None
    recipients = tuple(parse_public(text) for text in recipient or ())
    if not (passphrase or ask or made or recipients):
        raise UsageError(
            "no new key was named",
            hint="--new-passphrase, --new-passphrase-file, --new-recovery-key or --recipient",
        )
    secrets = for_image(image, given(passphrase_file, passphrase_fd, recovery_key_file, key_file))
    if ask:
        say("the new passphrase:")
        passphrase = ask_passphrase(twice=True)
    access = keyring.Access(passphrase, made.secret if made else b"", recipients)
    header = keyring.add(image, secrets, access)
    if made is not None:
        show_recovery_key(recovery_words(made))
    put(f"{image} has {len(keyring.describe(header))} keys now")
    return 0


def show_recovery_key(words: str) -> None:
    """Show a new recovery key; it is nowhere else."""
    say()
    say("recovery key, shown only now. Write it down and keep it away from the image:")
    say()
    say(f"  {words}")
    say()


def remove(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An encrypted image.")],
    number: Annotated[int, typer.Argument(metavar="N", help="As rescue key list shows.")],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
) -> int:
    """Remove a key of an image."""
    from rescue.upkeep import keyring

    keyring.read_header(image)
    secrets = for_image(image, given(passphrase_file, passphrase_fd, recovery_key_file, key_file))
    header = keyring.remove(image, secrets, number)
    put(f"{image} has {len(keyring.describe(header))} keys now")
    return 0
