"""``rescue diff``: which files changed between two images, or an image and a disk?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from rescue.cli.console import put, put_json, say
from rescue.cli.options import JsonOption
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import failing_in_json, opener
from rescue.core.errors import Exit
from rescue.core.units import plural

_HELP = """Show which files were added, changed or removed from BEFORE to AFTER.

Each is an image or a disk (or a plain file that holds one); volumes are matched by their partition
numbers. Files of the same size and time are taken to be the same unless --content reads them.
A line begins with + (added), - (removed), ! (changed) or . (only mode or owner).

\b
Examples:
  rescue diff /mnt/store/march.rescue /mnt/store/april.rescue
  rescue diff --content /mnt/store/pc.rescue /dev/sda"""

_MARKS = {"added": "+", "removed": "-", "changed": "!", "attributes": "."}


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("diff", help=_HELP, short_help="Show which files changed.")(failing_in_json(diff))


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="An image.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="An image or a disk.")],
    content: Annotated[bool, typer.Option("--content", help="Compare every byte.")] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Show which files changed."""
    from rescue.view.compare import Trouble, compare
    from rescue.view.opened import open_view
    from rescue.view.sources import any_source

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    trouble = Trouble()
    counts: Counter[str] = Counter()
    with (
        any_source(before, opener=open_one) as first,
        any_source(after, opener=open_one) as second,
        open_view(first) as one,
        open_view(second) as other,
    ):
        found = compare(one, other, content=content, trouble=trouble)
        if json:
            listed = [difference.to_json() for difference in found]
            put_json({"differences": listed, "not_compared": trouble.lines})
        else:
            for difference in found:
                counts[difference.what] += 1
                put(f"{_MARKS[difference.what]} {difference.path}")
            words = ", ".join(f"{counts[what]:,} {what}" for what in _MARKS if counts[what])
            say(words or "no differences")
    for line in trouble.lines:
        say(f"warning: {line}", style="yellow")
    if trouble.count > len(trouble.lines):
        say(f"... and {plural(trouble.count - len(trouble.lines), 'more thing')} like these")
    return Exit.UNREADABLE if trouble.count else 0
