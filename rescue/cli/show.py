"""``rescue show``: what an image holds, from its description alone."""

from __future__ import annotations

from pathlib import Path

import typer

from rescue.cli.console import columns, put, put_json
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

_HELP = """Show what an image holds: when and of which disk it was made, its volumes, its ledger.

Only the description is read, which takes a moment; rescue verify proves the content.

\b
Examples:
  rescue show /mnt/store/pc.rescue
  rescue show --json /mnt/store/pc.rescue"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("show", help=_HELP, short_help="Show what an image holds.")(show)


def show(
    image: ImageArgument,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Show what an image holds."""
    from rescue.image.chain import read_header
    from rescue.image.reader import Image
    from rescue.jobs import summary

    secrets = for_image(image, given(passphrase_file, passphrase_fd, recovery_key_file, key_file))
    header = read_header(image)
    if header is not None and header.sealed and not secrets:
        return _show_sealed(image, json)
    with Image.open(image, secrets=secrets, look_in=look_in or ()) as opened:
        if json:
            put_json(summary.image_json(opened))
            return 0
        for line in summary.facts(summary.image_pairs(opened)):
            put(line)
        put()
        rows = summary.volume_rows(opened.manifest)
        for i, line in enumerate(columns(rows)):
            put(line, style="" if i else "bold")
        for volume in opened.manifest.volumes:
            for note in volume.notes:
                put(f"note: partition {volume.partition}: {note}")
        for note in opened.manifest.notes:
            put(f"note: {note}")
    return 0


def _show_sealed(image: Path, json: bool) -> int:
    """What anybody can know of an encrypted image."""
    from rescue.image.container import Container
    from rescue.jobs import summary

    container = Container(image)
    try:
        if json:
            put_json(summary.container_json(container, None))
        else:
            for line in summary.facts(summary.container_pairs(container)):
                put(line)
    finally:
        container.close()
    return 0
