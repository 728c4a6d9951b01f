"""``rescue-builder check``: will this medium start on the machine at hand?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from builder.cli.options import clean, put_json
from rescue.core.errors import Exit, Interrupted

_HELP = """Say whether a medium starts on this machine, and whether it sees its disks.

To be run on the healthy machine. The firmware's db, dbx and SBAT level are compared with the
medium's shim and GRUB, controllers and network cards with its drivers and firmware. Everything is
only read; the firmware's variables may need root. Exit code 21: it does not start, or lacks a
driver for a controller of disks.

\b
Examples:
  sudo rescue-builder check dist/rescue.iso
  rescue-builder check dist/rescue.iso --json"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("check", help=_HELP, short_help="Will a medium start on this machine?")(check)


def check(
    iso: Annotated[
        Path, typer.Argument(metavar="ISO", readable=False, help="An ISO of rescue-builder.")
    ],
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the machine's /sys is.", hidden=True)
    ] = Path("/"),
    json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> int:
    """Compare a medium with the machine."""
    from builder.check.findings import Level
    from builder.check.run import check as run
    from builder.cli.progress import Terminal
    from builder.usb.payload import open_iso

    reporter = Terminal()
    try:
        with open_iso(iso, reporter) as opened:
            findings = run(opened, iso, root, reporter)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", hint="everything was only read") from error
    finally:
        reporter.abandon()
    bad = [one for one in findings if one.level is Level.BAD]
    code = Exit.UNSUPPORTED if bad else Exit.COMPLETE
    if json:
        rows = [
            {"topic": one.topic, "level": one.level, "text": one.text, "hint": one.hint}
            for one in findings
        ]
        put_json({"exit": int(code), "findings": rows})
    else:
        for one in findings:
            print(clean(f"{one.level.upper():4}  {one.topic}: {one.text}"))
            if one.hint:
                print(clean(f"      {one.hint}"))
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        print(clean(f"error: {bad[0].text}{more}"), file=sys.stderr)
        print(f"hint: {clean(bad[0].hint) or 'see above'}", file=sys.stderr)
    return int(code)
