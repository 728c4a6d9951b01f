"""``rescue merge``: one full image of a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json
from rescue.cli.secrets import (
    KeyFile,
    LookIn,
    PassphraseFd,
    PassphraseFile,
    RecoveryFile,
    for_image,
    given,
)

_HELP = """Make one full image of a chain: OUT holds what CHAIN, its last image, shows.

The images of the chain stay as they are. OUT is encrypted as they are, with the same keys.

\b
Examples:
  rescue merge /mnt/store/pc-friday.rescue /mnt/store/pc.rescue
  rescue merge --part-size dvd pc-friday.rescue pc.rescue"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("merge", help=_HELP, short_help="One full image of a chain.")(merge)


def merge(
    chain: Annotated[Path, typer.Argument(metavar="CHAIN", help="The last image of it.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The image to make.")],
    part_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="4G, fat32, dvd, dvd-dl or bd.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Make one full image of a chain."""
    from rescue.cli.progress import make_reporter
    from rescue.core.units import format_size
    from rescue.image.split import capacity_for
    from rescue.upkeep import merge as merging

    secrets = for_image(chain, given(passphrase_file, passphrase_fd, recovery_key_file, key_file))
    reporter = make_reporter()
    try:
        sealed = merging.merge(
            chain,
            out,
            reporter,
            secrets=secrets,
            look_in=look_in or (),
            capacity=capacity_for(out, part_size),
        )
    finally:
        reporter.close()
    if json:
        put_json(
            {
                "action": "merge",
                "image": str(out),
                "image_id": sealed.image_id.hex(),
                "root": sealed.root.hex(),
                "stored_bytes": sealed.stored,
                "outcome": sealed.outcome.name.lower(),
            }
        )
        return 0
    put(f"image    {out}, id {sealed.image_id.hex()}")
    put(f"stored   {format_size(sealed.stored)}")
    put("outcome: complete")
    return 0
