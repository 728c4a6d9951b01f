"""``rescue shell``: the restore shell that the rescue media start."""

from __future__ import annotations

from typing import Annotated

import typer

_HELP = """Start the restore shell: the other commands for a person in trouble.

It fills the terminal where that is possible: keys alone, 80 by 25 is enough. --plain asks and
answers in lines instead, which every terminal and a screen reader can follow; so does a terminal
that cannot do more. What it starts goes on when the shell is closed; open it again to see it.

\b
Examples:
  rescue shell
  rescue shell --plain
  rescue shell --contrast"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("shell", help=_HELP, short_help="Start the restore shell.")(shell)


def shell(
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines of questions and answers, nothing drawn.")
    ] = False,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Black and white, and what is chosen in reverse.")
    ] = False,
    announce: Annotated[
        bool, typer.Option("--announce", help='Say "rescue shell ready" once it takes keys.')
    ] = False,
) -> int:
    """Start the restore shell."""
    from rescue.shell.start import run

    return run(plain=plain, contrast=contrast, announce=announce)
