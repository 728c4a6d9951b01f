"""``rescue prune``: remove old images of a folder by days, weeks and months."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rescue.cli.console import put, put_json
from rescue.cli.secrets import KeyFile, PassphraseFd, PassphraseFile, RecoveryFile, given
from rescue.core.errors import UsageError
from rescue.core.units import format_size, plural

_HELP = """Remove old images from a folder. What is needed stays: the newest image of each disk, the
images chosen by day, week and month, every parent of an image that stays, and whatever is
incomplete or damaged, for you to look at. Of which disk an encrypted image is nobody knows without
its key: then its chain counts as a disk of its own.

\b
Examples:
  rescue prune /mnt/store --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  rescue prune /mnt/store --keep-monthly 6"""

Count = typer.Option(metavar="N", min=0, max=10_000)


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("prune", help=_HELP, short_help="Remove old images.")(prune)


def prune(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with images.")],
    keep_daily: Annotated[int, Count] = 0,
    keep_weekly: Annotated[int, Count] = 0,
    keep_monthly: Annotated[int, Count] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Remove old images."""
    from rescue.upkeep import prune as pruning

    policy = pruning.Policy(keep_daily, keep_weekly, keep_monthly)
    if not (keep_daily or keep_weekly or keep_monthly):
        raise UsageError(
            "nothing says what to keep", hint="--keep-daily, --keep-weekly, --keep-monthly"
        )
    secrets = given(passphrase_file, passphrase_fd, recovery_key_file, key_file)
    planned = pruning.plan(pruning.look(folder, secrets), policy)
    freed = sum(image.size for image in planned.remove)
    if not dry_run:
        freed = pruning.carry_out(planned)
    if json:
        put_json(_data(planned, freed, dry_run))
        return 0
    for image, reason in planned.keep:
        put(f"keep    {image.path.name}  ({reason})")
    for image in planned.remove:
        put(f"remove  {image.path.name}  ({format_size(image.size)})")
    would = "would be " if dry_run else ""
    put(f"{plural(len(planned.remove), 'image')}, {format_size(freed)}: {would}removed")
    return 0


def _data(planned: Any, freed: int, dry_run: bool) -> dict[str, Any]:
    return {
        "action": "prune",
        "dry_run": dry_run,
        "keep": [{"image": str(i.path), "reason": reason} for i, reason in planned.keep],
        "remove": [{"image": str(i.path), "bytes": i.size} for i in planned.remove],
        "freed": freed,
    }
