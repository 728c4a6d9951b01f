"""``rescue-builder verify``: is this medium what was built?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from builder.cli.options import clean, put_json
from rescue.core.errors import Exit, Interrupted
from rescue.core.units import format_size

_HELP = """Compare every byte of a medium's system with what was built.

MEDIUM is an ISO file, a disc or stick that is a copy of one, or a stick made by rescue-builder usb;
it is only read. Damage is named by file. Exit code 20: something differs. This finds accidents; it
does not prove who built the medium: compare the BLAKE3 of the ISO for that.

\b
Examples:
  rescue-builder verify dist/rescue.iso
  rescue-builder verify /dev/sdX
  rescue-builder verify --json /dev/sr0"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("verify", help=_HELP, short_help="Compare a medium with what was built.")(verify)


def verify(
    medium: Annotated[
        Path,
        typer.Argument(metavar="MEDIUM", readable=False, help="An ISO file, a disc or a stick."),
    ],
    json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> int:
    """Compare a medium with what was built."""
    from builder.cli.progress import Terminal
    from builder.verify import verify as run

    reporter = Terminal()
    try:
        verdict = run(medium, reporter)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", hint="the medium was only read") from error
    finally:
        reporter.abandon()
    code = Exit.DAMAGED if verdict.damages else Exit.COMPLETE
    if json:
        systems = [
            {
                "slot": system.slot,
                "build": system.build,
                "size": system.size,
                "ok": not system.damages,
            }
            for system in verdict.systems
        ]
        value = {"systems": systems, "starts": verdict.starts, "damages": list(verdict.damages)}
        put_json({"exit": int(code), **value})
    else:
        for system in verdict.systems:
            slot = f"slot {system.slot}: " if system.slot else ""
            starts = ", starts" if system.slot and system.slot == verdict.starts else ""
            state = "BAD" if system.damages else "ok"
            print(clean(f"{slot}{system.build}, {format_size(system.size)}: {state}{starts}"))
        for damage in verdict.damages:
            print(clean(f"BAD: {damage}"))
    if verdict.damages:
        count = len(verdict.damages)
        more = f", and {count - 1} more" if count > 1 else ""
        print(clean(f"error: {medium}: {verdict.damages[0]}{more}"), file=sys.stderr)
        print("hint: do not rely on this medium: write it again", file=sys.stderr)
    return int(code)
