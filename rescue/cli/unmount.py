"""``rescue unmount``: end what ``rescue mount`` began."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HELP = """Unmount an image from DIR, with every filesystem in it; also after a crash.

\b
Examples:
  rescue unmount /mnt/pc
  rescue unmount --lazy /mnt/pc"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("unmount", help=_HELP, short_help="Undo rescue mount.")(unmount)


def unmount(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the image is mounted.")],
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Detach it now though something uses it.")
    ] = False,
) -> int:
    """Undo rescue mount."""
    from rescue.view.mounting import unmount as work

    work(folder, lazy=lazy)
    return 0
