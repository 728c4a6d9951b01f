"""``rescue support``: everything somebody who helps needs to know, in one file without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json
from rescue.cli.options import JsonOption
from rescue.core.units import plural

_HELP = """Save a support bundle: hardware, disks, kernel messages, and every task with its log.

It holds no passphrase and no key, and no content of any disk. It does hold serial numbers and
names of disks and filesystems. FILE must not exist.

\b
Examples:
  rescue support /mnt/stick/support.tar.gz"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("support", help=_HELP, short_help="Save what a helper needs to know.")(support)


def support(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="A .tar.gz.")],
    json: JsonOption = False,
) -> int:
    """Save a support bundle."""
    from rescue.jobs.support import save

    names = save(file)
    if json:
        put_json({"file": str(file), "holds": names, "exit": 0})
    else:
        put(f"saved {file}: {plural(len(names), 'part')}")
    return 0
