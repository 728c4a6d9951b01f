"""The command ``rescue``: its verbs, and the one place where every failure ends.

Nothing heavy is imported here: each verb imports what it needs when it runs, so that ``--help``
and an error come at once.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from rescue import __version__
from rescue.cli import (
    boot,
    capture,
    copy,
    diff,
    disks,
    export,
    failure,
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
from rescue.cli.console import ReaderGone, put
from rescue.core.errors import Exit, RescueError, from_os_error

_READER_GONE = 141
"""What shells say of a program that SIGPIPE ended."""

_HELP = """Make an image of a machine's disk, check it, and bring the machine back.

An image holds whole disks: every partition, every used sector, the boot code. Nothing is ever
written to a source. A target is erased only when its serial number is typed or given.

\b
Examples:
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


def main() -> NoReturn:
    """Run the command line of this process and end it with the right status."""
    failure.listen_to_signals()
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        status = status or _READER_GONE
    if status == _READER_GONE:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(int(status))


def run(words: list[str]) -> int:
    """Run one command line; every failure is told on stderr and becomes an exit code."""
    try:
        status = app(args=words, prog_name="rescue", standalone_mode=False)
        if status == Exit.INTERRUPTED:
            return failure.tell_interrupted(failure.Stop.last)
        return int(status or 0)
    except TyperException as error:
        return _tell_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return failure.tell_interrupted(failure.Stop.last)
    except ReaderGone:
        return _READER_GONE
    except Exception as error:
        return tell_of(error)


def tell_of(error: Exception) -> int:
    """Tell of whatever went wrong; the exit code that it means."""
    if isinstance(error, RescueError):
        return failure.tell_error(error)
    if isinstance(error, OSError):
        what = f"use {error.filename}" if error.filename else "go on"
        return failure.tell_error(from_os_error(error, what))
    if isinstance(error, MemoryError):
        failure.tell("this machine has too little memory for it", "close other programs")
        return Exit.DISK
    return failure.tell_bug(error)


def _tell_usage(error: TyperException) -> int:
    message = error.format_message().rstrip(".").replace("\n", " ").replace("\t", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rescue"
    failure.tell(message[:1].lower() + message[1:], f"{command} --help shows how it is used")
    return Exit.USAGE


if __name__ == "__main__":
    main()
