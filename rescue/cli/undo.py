"""``rescue undo``: put back the tables and superblocks that a restore wrote over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import is_terminal, put, put_json, say
from rescue.cli.options import JsonOption, TargetArgument
from rescue.cli.work import conclude

_HELP = """Put back what FILE kept of TARGET before a restore wrote over it: partition tables,
boot areas and the superblocks of its filesystems.

A restore to the wrong disk is not made undone by it: what was written between them stays lost.
But partitions and filesystems are known again, and files that were not written over can be
copied off.

\b
Examples:
  rescue undo --dry-run pc.rescue.WX21A1234567.20261124-220000.undo /dev/sdb
  rescue undo --erase WX21A1234567 pc.rescue.WX21A1234567.20261124-220000.undo /dev/sdb"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("undo", help=_HELP, short_help="Put a disk's tables back.")(undo)


def undo(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="The undo file of the restore.")
    ],
    target: TargetArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be put back; write nothing.")
    ] = False,
    erase: Annotated[
        str | None,
        typer.Option(metavar="IDENTITY", help="Serial or WWN of TARGET; a plain file's path."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Put a disk's tables back."""
    from rescue.jobs import undoing

    prepared = undoing.prepare(file, target)
    if dry_run:
        prepared.check(erase)
        if json:
            put_json({**prepared.to_json(), "dry_run": True})
            return 0
        for line in prepared.lines():
            put(line)
        say("nothing was written: this was --dry-run")
        return 0
    for line in prepared.lines():
        say(line)
    identity = erase
    if identity is None and is_terminal(sys.stdin):
        prepared.check(None)
        say()
        say("To go on, type the target's identity, as rescue disks shows it.")
        sys.stderr.write("> ")
        sys.stderr.flush()
        identity = sys.stdin.readline().strip()
    return conclude(lambda reporter: prepared.execute(identity, reporter), json=json)
