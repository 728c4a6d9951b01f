"""``rescue export``: an image as a disk file of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json
from rescue.cli.options import ImageArgument, JsonOption
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import failing_in_json, opener
from rescue.core.units import format_size

_HELP = """Write the disk in an image to OUT, a new file in the format of another program.

Free space takes no room in OUT. Formats: raw, qcow2 (QEMU), vhdx (Hyper-V), vmdk (VMware), vdi
(VirtualBox).

\b
Examples:
  rescue export --format qcow2 /mnt/store/pc.rescue pc.qcow2
  rescue export --format raw /mnt/store/pc.rescue pc.raw"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("export", help=_HELP, short_help="Write an image in another format.")(
        failing_in_json(export)
    )


def export(
    image: ImageArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to make.")],
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="raw, qcow2, vhdx, vmdk or vdi.")
    ],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Write an image in another format."""
    from rescue.cli.progress import make_reporter
    from rescue.view.export import check
    from rescue.view.export import export as work
    from rescue.view.opened import open_view
    from rescue.view.sources import image_source

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    check(out, form)
    reporter = make_reporter()
    try:
        with image_source(image, strict=False, opener=open_one) as opened:
            for note in opened.notes:
                reporter.warn(note)
            with open_view(opened, filesystems=False) as view:
                stored = work(view, out, form, reporter)
            size = opened.store.size
    finally:
        reporter.close()
    if json:
        put_json({"file": str(out), "format": form, "size": size, "stored_bytes": stored})
    else:
        put(f"{out}: {form}, a disk of {format_size(size)} in {format_size(stored)}")
    return 0
