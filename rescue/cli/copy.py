"""``rescue copy``: take files and folders out of an image or a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json
from rescue.cli.failure import tell
from rescue.cli.options import ImageArgument, JsonOption
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import failing_in_json, opener
from rescue.core.errors import Exit
from rescue.core.units import format_size, plural

_HELP = """Copy files and folders out of an image or a disk into the folder DEST, made if needed.

Owners (as root), modes, times, links and extended attributes are kept where DEST can hold them;
what it cannot hold is said. A file that DEST has already is not written over. PATH begins with the
volume, as for rescue ls; a volume alone is everything in it.

\b
Examples:
  rescue copy /mnt/store/pc.rescue 3/home/anna /srv/back
  rescue copy /mnt/store/pc.rescue 3/etc/fstab 3/etc/hosts .
  rescue copy /mnt/store/pc.rescue 3 /srv/everything
  rescue copy /dev/sda 3/Users/anna /srv/back"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("copy", help=_HELP, short_help="Copy files out of an image.")(failing_in_json(copy))


def copy(
    image: ImageArgument,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="VOLUME/PATH; repeatable.")],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="The folder to copy into.")],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Copy files out of an image."""
    from rescue.cli.progress import make_reporter
    from rescue.view.browse import copy_out
    from rescue.view.opened import open_view
    from rescue.view.sources import any_source

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    reporter = make_reporter()
    try:
        with any_source(image, opener=open_one) as opened, open_view(opened) as view:
            result = copy_out(view, paths, destination, reporter)
            for line in view.server.messages():
                reporter.warn(line)
    finally:
        reporter.close()
    total = sum(result.counts.values())
    if json:
        put_json(
            {
                "copied": dict(result.counts),
                "bytes": result.bytes,
                "unkept": dict(result.unkept),
                "failures": result.failures,
                "failed": result.failed,
                "exit": int(Exit.UNREADABLE if result.failures else Exit.COMPLETE),
            }
        )
    else:
        kinds = ", ".join(plural(n, kind) for kind, n in sorted(result.counts.items()))
        put(f"copied {format_size(result.bytes)}: {kinds or 'nothing'}")
        for what, count in sorted(result.unkept.items()):
            put(f"not kept: {what} ({count:,} times): {destination} cannot hold them")
        for line in result.failed:
            put(f"failed: {line}")
    if result.failures:
        tell(f"{plural(result.failures, 'entry', 'entries')} of {total + result.failures:,} failed")
        return Exit.UNREADABLE
    return 0
