"""``rescue salvage``: what is intact of a damaged image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json
from rescue.cli.failure import tell
from rescue.cli.secrets import (
    KeyFile,
    LookIn,
    PassphraseFd,
    PassphraseFile,
    RecoveryFile,
    for_image,
    given,
)
from rescue.core.errors import Exit

_HELP = """Write what is intact of a damaged or incomplete image to a new file that holds the disk.

Beside it a map is written (TARGET-FILE.map, as ddrescue's mapfile): what is not intact is marked
there, and is zeros in the file. No disk is ever written by salvage.

\b
Examples:
  rescue salvage /mnt/store/pc.rescue /mnt/big/pc.raw

Exit code 20: something is missing; the map says where."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("salvage", help=_HELP, short_help="Save what is intact.")(salvage)


def salvage(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image (its first file).")],
    target: Annotated[Path, typer.Argument(metavar="TARGET-FILE", help="Is made.")],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Save what is intact of an image."""
    from rescue.cli.progress import make_reporter
    from rescue.core.units import format_size
    from rescue.restore import salvage as salvaging

    secrets = for_image(image, given(passphrase_file, passphrase_fd, recovery_key_file, key_file))
    map_path = target.with_name(target.name + ".map")
    reporter = make_reporter()
    try:
        done = salvaging.salvage(
            image, target, map_path, reporter, secrets=secrets, look_in=look_in or ()
        )
    finally:
        reporter.close()
    whole = done.by_index and not done.lost
    if json:
        put_json(
            {
                "action": "salvage",
                "image": str(image),
                "target": str(target),
                "map": str(map_path),
                "by_index": done.by_index,
                "intact": done.intact,
                "lost": [{"start": e.start, "length": e.length} for e in done.lost],
                "exit": 0 if whole else int(Exit.DAMAGED),
            }
        )
    else:
        put(f"intact: {format_size(done.intact)}, in {target}")
        put(f"lost:   {format_size(done.lost.total)}, in {map_path}")
        if not done.by_index:
            put("note: without the index nobody knows what else the image held")
    if not whole:
        tell(f"not everything of {image} is intact", f"{map_path} says what is missing")
        return Exit.DAMAGED
    return 0
