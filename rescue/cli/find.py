"""``rescue find``: where in an image is a file?"""

from __future__ import annotations

from typing import Annotated

import typer

from rescue.cli.console import put, put_json, say
from rescue.cli.options import ImageArgument, JsonOption
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import failing_in_json, opener
from rescue.core.errors import Exit

_HELP = """Find files and folders in all volumes of an image by name.

PATTERN is a shell pattern (* ? [abc]) for the name, or for the whole path in its volume when it
holds a slash. What is printed can be given to rescue copy.

\b
Examples:
  rescue find /mnt/store/pc.rescue 'tax*.ods'
  rescue find --ignore-case /mnt/store/pc.rescue '*.jpg'
  rescue find /mnt/store/pc.rescue 'home/*/.ssh/*'"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("find", help=_HELP, short_help="Find files in an image.")(failing_in_json(find))


def find(
    image: ImageArgument,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A shell pattern.")],
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", "-i", help="Capitals and small letters alike.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Find files in an image."""
    from rescue.view.browse import search
    from rescue.view.opened import open_view
    from rescue.view.sources import any_source

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    failed: list[str] = []
    with any_source(image, opener=open_one) as opened, open_view(opened) as view:
        for one in view.mounted:
            if one.root is None and one.volume.fs not in ("", "unknown", "swap"):
                say(f"not searched: {one.volume.folder}: {one.why}")
        hits = search(view, pattern, any_case=ignore_case, failed=failed)
        if json:
            found = [{**hit.entry.to_json(), "path": hit.path} for hit in hits]
            put_json({"found": found, "failed": failed})
        else:
            for hit in hits:
                put(hit.path)
    for line in failed:
        say(f"warning: {line}", style="yellow")
    return Exit.UNREADABLE if failed else 0
