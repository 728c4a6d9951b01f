"""``rescue disks``: what disks this machine has, and what uses them."""

from __future__ import annotations

import typer

from rescue.cli.console import columns, put, put_json, say
from rescue.cli.options import JsonOption

_HELP = """Show the disks of this machine: size, model, serial number, and what uses them.

The serial number (or what stands in its place) is the IDENTITY that rescue restore --erase takes.

\b
Examples:
  rescue disks
  rescue disks --json"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("disks", help=_HELP, short_help="Show the disks of this machine.")(disks)


def disks(
    json: JsonOption = False,
) -> int:
    """Show the disks of this machine."""
    from rescue.devices.discover import list_disks
    from rescue.jobs.describe import disk_json, disk_lines, volumes_of
    from rescue.jobs.places import list_filesystems

    found = list_disks()
    filesystems = list_filesystems()
    if json:
        put_json({"disks": [disk_json(disk, volumes_of(disk, filesystems)) for disk in found]})
        return 0
    if not found:
        say("no disks found")
        return 0
    for line in columns(disk_lines(found, filesystems)):
        put(line, style="bold" if line.startswith("DISK") else "")
    return 0
