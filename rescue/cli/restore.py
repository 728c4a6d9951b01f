"""``rescue restore``: write an image to a disk, after the person or script confirmed which."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.cli.console import is_terminal, put_json, say
from rescue.cli.options import ImageArgument, JsonOption, PartitionOption, TargetArgument
from rescue.cli.plan import show
from rescue.cli.secrets import (
    KeyFile,
    LookIn,
    PassphraseFd,
    PassphraseFile,
    RecoveryFile,
    for_image,
    given,
)
from rescue.cli.work import conclude
from rescue.core.errors import Interrupted

if TYPE_CHECKING:
    from rescue.jobs.restoring import Prepared

_HELP = """Write an image to TARGET, a disk or a plain file. What TARGET holds now is lost.

The plan is shown first. Then a person types the target's identity (its serial number, as
rescue disks shows it); a script gives it with --erase. The wrong identity: exit code 11, and
nothing was written. A TARGET file that does not exist is made. What was interrupted goes on when
the same command is run again.

\b
Examples:
  rescue restore --dry-run /mnt/store/pc.rescue /dev/sda
  rescue restore /mnt/store/pc.rescue /dev/sda
  rescue restore --erase S4EVNX0M123456 /mnt/store/pc.rescue /dev/sda
  rescue restore --partition 3 /mnt/store/pc.rescue /dev/sda
  rescue restore --partition 3 --into 1 /mnt/store/pc.rescue /dev/sdb
  rescue restore --partition 3 --into free /mnt/store/pc.rescue /dev/sdb
  rescue restore --fit last /mnt/store/pc.rescue /dev/sdb
  rescue restore --leave-out 5 /mnt/store/pc.rescue /dev/nvme0n1
  rescue restore --new-identity /mnt/store/pc.rescue /dev/sdb
  rescue restore --changed-only /mnt/store/pc.rescue /dev/sda
  rescue restore /mnt/store/pc.rescue disk.raw"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("restore", help=_HELP, short_help="Write an image to a disk.")(restore)


def restore(
    image: ImageArgument,
    target: TargetArgument,
    partition: PartitionOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; write nothing.")
    ] = False,
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit",
            metavar="WHICH",
            help="Use a larger TARGET, or make the image fit a smaller one: last, all, or the "
            "numbers of partitions (3, or 2,3).",
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="With --partition: into partition N of TARGET, or as new partitions into its "
            "free room: free (the largest gap), free@START (free@10G).",
        ),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            "--leave-out",
            metavar="NUMBERS",
            help="Restore all but these partitions (5, or 4,5), which stay empty.",
        ),
    ] = None,
    sector_size: Annotated[
        int | None,
        typer.Option(
            "--sector-size",
            metavar="BYTES",
            help="Sectors of a TARGET that is a file: 512 or 4096; those of the image if not said.",
        ),
    ] = None,
    changed_only: Annotated[
        bool | None,
        typer.Option(
            "--changed-only/--write-all",
            help="Read TARGET first and write only what differs; the default where TARGET is "
            "divided as the image already.",
        ),
    ] = None,
    read_back: Annotated[
        bool,
        typer.Option("--read-back/--no-read-back", help="Read everything back and compare it."),
    ] = True,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair/--no-repair",
            help="Fill in an EFI system partition's fallback path, make the firmware's boot "
            "entries, and follow a GRUB that moved, where that is needed.",
        ),
    ] = True,
    new_identity: Annotated[
        bool,
        typer.Option(
            "--new-identity",
            help="For a second copy beside the first: new disk, partition and filesystem "
            "identifiers, and the files that name them.",
        ),
    ] = False,
    trim: Annotated[
        bool, typer.Option("--trim", help="Give free space back to the disk (TRIM) at the end.")
    ] = False,
    wipe_free: Annotated[
        bool, typer.Option("--wipe-free", help="Overwrite free space with zeros at the end.")
    ] = False,
    undo_file: Annotated[
        Path | None,
        typer.Option(
            "--undo-file",
            metavar="FILE",
            help="Where to keep TARGET's present tables and superblocks; beside IMAGE if not said.",
        ),
    ] = None,
    erase: Annotated[
        str | None,
        typer.Option(metavar="IDENTITY", help="Serial or WWN of TARGET; a plain file's path."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
    json: JsonOption = False,
) -> int:
    """Write an image to a disk."""
    from rescue.jobs import restoring
    from rescue.restore.layout import parse_numbers, parse_sector

    secrets = for_image(image, given(passphrase_file, passphrase_fd, recovery_key_file, key_file))
    wish = restoring.RestoreWish(
        image,
        target,
        tuple(dict.fromkeys(partition or ())),
        erase,
        secrets,
        tuple(look_in or ()),
        ask=_ask_for_disc if is_terminal(sys.stdin) else None,
        fit=fit,
        changed_only=changed_only,
        read_back=read_back,
        undo_file=undo_file,
        into=into,
        leave_out=parse_numbers(leave_out, "--leave-out"),
        sector_size=parse_sector(sector_size),
        repair=repair,
        new_identity=new_identity,
        free="wipe" if wipe_free else "trim" if trim else "keep",
    )
    with restoring.prepare(wish) as prepared:
        if dry_run:
            prepared.check()
            if json:
                put_json(prepared.to_json())
                return 0
            show(prepared.lines(), as_data=True)
            say("nothing was written: this was --dry-run")
            return 0
        show(prepared.lines(), as_data=False)
        identity = erase if erase is not None else _ask(prepared)
        return conclude(lambda reporter: prepared.execute(identity, reporter), json=json)


def _ask(prepared: Prepared) -> str | None:
    """The identity as a person types it; None where nobody can be asked, or nobody needs to be."""
    if prepared.disk is None or not is_terminal(sys.stdin):
        return None
    # Every refusal that needs no answer comes before the question.
    prepared.check()
    say()
    plan, path = prepared.plan, prepared.disk.path
    what = "Everything on" if plan.whole else "What the plan names on"
    say(f"{what} {path} will be lost." if not plan.addition else f"{path} will be written.",
        style="red")  # fmt: skip
    say(f"To go on, type its identity: {prepared.disk.identity}")
    say("Anything else stops here, and nothing is written.")
    sys.stderr.write("> ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _ask_for_disc(what: str) -> None:
    """Ask for the next disc of a split image; an empty line goes on."""
    say()
    say(f"{what}, then press Enter (Ctrl-C stops)")
    if not sys.stdin.readline():
        raise Interrupted("nobody is there to put in the next disc")
