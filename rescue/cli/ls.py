"""``rescue ls``: what files an image holds."""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.cli.console import columns, put, put_json, say
from rescue.cli.options import ImageArgument, JsonOption
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import failing_in_json, opener
from rescue.core.errors import Exit

if TYPE_CHECKING:
    from rescue.view.browse import Listed
    from rescue.view.mounting import Mounted

_HELP = """List what an image holds: its volumes, or the files of a folder in one of them.

PATH begins with the volume: its partition number, its name (3-root) or its label; 0 is a
filesystem that covers the whole disk.

\b
Examples:
  rescue ls /mnt/store/pc.rescue
  rescue ls /mnt/store/pc.rescue 3/home/anna
  rescue ls --recursive --json /mnt/store/pc.rescue 3"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("ls", help=_HELP, short_help="List the files in an image.")(failing_in_json(ls))


def ls(
    image: ImageArgument,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="VOLUME or VOLUME/PATH.")] = "",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="Everything below it.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """List the files in an image."""
    from rescue.view.browse import listing
    from rescue.view.opened import open_view
    from rescue.view.sources import any_source

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    with any_source(image, opener=open_one) as opened, open_view(opened) as view:
        if not path.strip("/"):
            _volumes(view.mounted, json=json)
            return 0
        found = listing(view, path, recursive=recursive)
        if json:
            entries = [entry.to_json() for entry in found.entries]
            put_json({"volume": found.volume.folder, "entries": entries, "failed": found.failed})
        else:
            _entries(found)
        for line in found.failed:
            say(f"warning: {line}", style="yellow")
        return Exit.UNREADABLE if found.failed else 0


def _volumes(mounted: tuple[Mounted, ...], *, json: bool) -> None:
    if json:
        listed = [
            {
                "name": one.volume.folder,
                "partition": one.volume.number,
                "fs": one.volume.fs,
                "label": one.volume.label,
                "size": one.volume.extent.length,
                "readable": one.root is not None,
                "note": one.why,
            }
            for one in mounted
        ]
        put_json({"volumes": listed})
        return
    rows = [("VOLUME", "FILESYSTEM", "LABEL", "NOTE")]
    for one in mounted:
        note = one.why if one.root else f"no files to see: {one.why}"
        rows.append((one.volume.folder, one.volume.fs or "-", one.volume.label or "-", note))
    for i, line in enumerate(columns(rows)):
        put(line, style="" if i else "bold")


def _entries(found: Listed) -> None:
    rows = []
    for entry in found.entries:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time // 1_000_000_000))
        shown = f"{entry.path} -> {entry.target}" if entry.target else entry.path
        owner = f"{entry.owner}:{entry.group}"
        rows.append((stat.filemode(entry.mode), owner, f"{entry.size:>12,}", when, shown))
    for line in columns(rows):
        put(line)
