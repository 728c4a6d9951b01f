"""``rescue mount``: an image as files that any program can open."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.cli.console import columns, put, put_json, say
from rescue.cli.options import ImageArgument, JsonOption
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import failing_in_json, opener
from rescue.core.errors import RescueError, UsageError
from rescue.core.units import format_size

if TYPE_CHECKING:
    from rescue.view.mounting import Mounted
    from rescue.view.server import Server
    from rescue.view.sources import Opened

_HELP = """Show an image as files in DIR, read-only, without restoring it.

DIR then holds disk.raw (the whole disk) and partition-N.raw for each partition, for any program:
fsck -n, losetup, qemu-img, partclone. As root every filesystem is mounted too, under its number
and label (3-root); a FAT volume is shown to everybody. Nothing is written to the image, and
nothing in it can be run.

It goes on in the background until rescue unmount DIR.

\b
Examples:
  rescue mount /mnt/store/pc.rescue /mnt/pc
  rescue mount --raw /mnt/store/pc.rescue ~/pc
  rescue mount --foreground /mnt/store/pc.rescue /mnt/pc"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("mount", help=_HELP, short_help="Show an image as files.")(failing_in_json(mount))


def mount(
    image: ImageArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder; made if needed.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the raw files.")] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay here; Ctrl-C unmounts.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Show an image as files."""
    from rescue.view.mounting import mount_volumes, unmount
    from rescue.view.server import detach, start
    from rescue.view.sources import image_source

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    with image_source(image, opener=open_one) as opened:
        _prepare(folder)
        server = start(opened, folder)
        kept = False
        try:
            volumes = () if raw else opened.volumes
            mounted = mount_volumes(folder.absolute(), volumes, opened.sector_size)
            _tell(opened, mounted, folder, json=json)
            if foreground:
                _stay(server, folder)
            else:
                server.release()
                kept = True
        finally:
            if not kept:
                try:
                    if server.running():
                        unmount(folder)
                except RescueError:
                    detach(folder)
                server.stop()
    return 0


def _prepare(folder: Path) -> None:
    """An empty folder to mount on."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", hint="choose an empty folder")
        return
    if folder.exists():
        raise UsageError(f"{folder} is not a folder", hint="choose an empty folder")
    folder.mkdir(parents=True)


def _tell(opened: Opened, mounted: list[Mounted], folder: Path, *, json: bool) -> None:
    if json:
        listed = [
            {
                "partition": one.volume.number,
                "file": str(folder.absolute() / one.volume.file),
                "fs": one.volume.fs,
                "label": one.volume.label,
                "folder": str(one.root) if one.root else None,
                "note": one.why,
            }
            for one in mounted
        ]
        put_json({"folder": str(folder.absolute()), "volumes": listed})
        return
    rows: list[tuple[str, ...]] = [("FILE", "SIZE", "FILESYSTEM", "FILES ARE IN", "NOTE")]
    rows.append(("disk.raw", format_size(opened.store.size), "", "", ""))
    for one in mounted:
        file = one.volume.file if one.volume.number else ""
        place = one.volume.folder if one.root else "-"
        size = format_size(one.volume.extent.length)
        rows.append((file, size, one.volume.fs or "-", place, one.why))
    for i, line in enumerate(columns(rows)):
        put(line, style="" if i else "bold")
    for note in opened.notes:
        put(f"note: {note}")


def _stay(server: Server, folder: Path) -> None:
    """Wait for Ctrl-C or for somebody to unmount it; say what could not be read."""
    say(f"mounted on {folder}; Ctrl-C unmounts it")
    while server.running():
        for line in server.messages():
            say(f"warning: {line}", style="yellow")
        time.sleep(0.2)
