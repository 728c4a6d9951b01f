"""The verbs of ``rescue``, as typer knows them.

Nothing heavy is imported here: each verb imports what it needs when it runs, so that ``--help``
and an error come at once.
"""

from __future__ import annotations

import typer

from rescue import __version__
from rescue.cli import (
    boot,
    capture,
    copy,
    diff,
    disks,
    export,
    find,
    job,
    key,
    ls,
    merge,
    mount,
    prune,
    restore,
    salvage,
    shell,
    show,
    support,
    task,
    undo,
    unmount,
    verify,
)
from rescue.cli.console import put

_HELP = """Make an image of a machine's disk, check it, and bring the machine back.

An image holds whole disks: every partition, every used sector, the boot code. Nothing is ever
written to a source. A target is erased only when its serial number is typed or given.

\b
Examples:
  rescue shell                                     all of it, question by question
  rescue disks                                     what disks this machine has
  rescue capture /dev/sda /mnt/store/pc.rescue     make an image
  rescue verify --deep /mnt/store/pc.rescue        is the image whole?
  rescue restore /mnt/store/pc.rescue /dev/sda     bring the machine back

\b
Exit codes: 0 complete, 1 a bug, 2 usage, 3 complete with unreadable sectors, 10 disk trouble,
11 target refused, 20 image damaged, 21 image not supported, 22 image incomplete,
23 image locked, 24 not proven to work, 30 an external program failed, 130 interrupted."""

app = typer.Typer(
    name="rescue",
    help=_HELP,
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)


def _version(wanted: bool) -> None:
    if wanted:
        put(f"rescue {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Show the version and stop.", callback=_version, is_eager=True
    ),
) -> None:
    if context.invoked_subcommand is None:
        for line in context.get_help().splitlines():
            put(line)
        raise typer.Exit(0)


disks.register(app)
capture.register(app)
show.register(app)
verify.register(app)
restore.register(app)
undo.register(app)
mount.register(app)
unmount.register(app)
ls.register(app)
copy.register(app)
salvage.register(app)
merge.register(app)
prune.register(app)
key.register(app)
find.register(app)
diff.register(app)
export.register(app)
boot.register(app)
job.register(app)
task.register(app)
support.register(app)
shell.register(app)
