"""``rescue-builder usb``: make a stick, renew its system, show the sticks."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import options
from builder.cli.options import clean, put_json, the_iso
from rescue.core.errors import Interrupted, UsageError
from rescue.core.units import format_size

if TYPE_CHECKING:
    from builder.usb.work import Prepared

_HELP = """Make DISK a stick that starts under BIOS, UEFI and Secure Boot.

The rest of the stick becomes a data partition for images and jobs. What DISK holds now is lost.
With --update only the system is renewed: the data partition is not touched, and a cut at any
moment leaves the old or the new system startable.

The plan is shown first. Then a person types the stick's identity (its serial number); a script
gives it with --erase. The wrong identity: exit code 11, and nothing was written.

\b
Examples:
  rescue-builder usb --list
  rescue-builder usb /dev/sdX --iso dist/rescue.iso
  rescue-builder usb /dev/sdX --data ntfs --erase 4C530001230506117383
  rescue-builder usb /dev/sdX --update --iso dist/rescue.iso"""


class Data(StrEnum):
    """The data partition's filesystem."""

    EXFAT = "exfat"
    EXT4 = "ext4"
    NTFS = "ntfs"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("usb", help=_HELP, short_help="Make a USB stick, or renew its system.")(usb)


def usb(
    disk: Annotated[
        Path | None,
        typer.Argument(
            metavar="DISK", readable=False, help="The whole stick, or a file that stands for one."
        ),
    ] = None,
    iso: options.Iso = None,
    recipe: options.Recipe = None,
    cache: options.Cache = None,
    data: Annotated[
        Data | None, typer.Option(help="The data partition's filesystem; exfat without it.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Renew the system, keep the data partition.")
    ] = False,
    erase: Annotated[
        str | None,
        typer.Option(metavar="IDENTITY", help="Serial or WWN of DISK; a file's or loop's path."),
    ] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Take a disk that is not removable, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; write nothing.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the sticks of this machine.")] = False,
    json: options.Json = False,
) -> int:
    """Make a stick."""
    if list_:
        if disk is not None or update or dry_run or iso is not None:
            raise UsageError("--list goes alone", hint="rescue-builder usb --list [--json]")
        return _list(json=json)
    if disk is None:
        raise UsageError("no disk was named", hint="rescue-builder usb --list shows the sticks")
    options.check_iso(iso, recipe, cache)
    if update and data is not None:
        raise UsageError("--update keeps the data partition, and --data makes a new one")
    kind = (data or Data.EXFAT).value
    from builder.cli.progress import Terminal
    from builder.usb.payload import open_iso
    from builder.usb.work import Wish, prepare

    reporter = Terminal()
    begun = False
    try:
        with the_iso(iso, recipe, cache, reporter) as path, open_iso(path, reporter) as opened:
            prepared = prepare(Wish(disk, path, kind, update, fixed), opened)
            for line in prepared.lines():
                _say(line)
            # Every refusal that needs no answer comes before the question.
            if dry_run:
                prepared.check(prepared.disk.identity)
                _say("nothing was written: this was --dry-run")
            else:
                identity = erase if erase is not None else _ask(prepared)
                begun = True
                prepared.execute(identity, opened, reporter)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", hint=_after(disk, begun=begun, update=update)) from error
    finally:
        reporter.abandon()
    if json:
        put_json({"exit": 0, "written": not dry_run, **prepared.to_json()})
    elif not dry_run:
        _say(f"{'updated' if update else 'made'} and read back: {disk}")
    return 0


def _after(disk: Path, *, begun: bool, update: bool) -> str:
    """What is on the disk after an interruption."""
    if not begun:
        return "nothing was written"
    if update:
        return "the stick still starts; run the update again"
    return f"{disk} is not complete and does not start; make it again"


def _ask(prepared: Prepared) -> str | None:
    """The identity as a person types it; None where nobody can be asked."""
    if not sys.stdin.isatty():
        return None
    prepared.check(prepared.disk.identity)
    _say("")
    if prepared.active is None:
        _say(f"Everything on {prepared.disk.path} will be lost.")
    else:
        _say(f"The system of {prepared.disk.path} will be renewed; the data partition stays.")
    _say(f"To go on, type its identity: {prepared.disk.identity}")
    _say("Anything else stops here, and nothing is written.")
    print("> ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _list(*, json: bool) -> int:
    from builder.usb.work import sticks

    found = sticks()
    if json:
        rows = [
            {
                "path": str(disk.path),
                "size": disk.size,
                "model": disk.model,
                "identity": disk.identity,
                "holds": word,
                "uses": [str(use) for use in disk.uses],
            }
            for disk, word in found
        ]
        put_json({"exit": 0, "sticks": rows})
        return 0
    if not found:
        _say("no removable disk was found")
    for disk, word in found:
        in_use = f"; in use: {disk.uses[0]}" if disk.uses else ""
        words = (str(disk.path), format_size(disk.size), disk.model or "?", disk.identity)
        print(clean(f"{'  '.join(words)}  {word}{in_use}"))
    return 0


def _say(text: str) -> None:
    print(clean(text), file=sys.stderr, flush=True)
