"""``rescue boot``: start an image in a virtual machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.cli.console import put, say
from rescue.cli.options import ImageArgument
from rescue.cli.secrets import KeyFile, LookIn, PassphraseFd, PassphraseFile, RecoveryFile
from rescue.cli.viewing import opener
from rescue.core.errors import Exit, ProgramFailed, UsageError
from rescue.core.units import MIB, parse_size

if TYPE_CHECKING:
    from rescue.view.rehearsal import Rehearsed

_HELP = """Start the machine in an image as a virtual machine, by QEMU, to see whether it starts.

Whatever it writes goes to a temporary file and is thrown away: the image stays as it is, byte for
byte. The firmware is the one the source had. It has no network unless --network is given, because
a second copy of a machine may do harm.

In a window where there is a screen; with --serial its serial line is this terminal (Ctrl-A X
ends it). With --rehearse nobody need look: the machine's power button is pressed again and again,
and when its system switches it off in order, it has started. That works for any system that
obeys its power button.

\b
Examples:
  rescue boot /mnt/store/pc.rescue
  rescue boot --serial --firmware uefi --memory 4G /mnt/store/pc.rescue
  rescue boot --rehearse /mnt/store/pc.rescue

Exit code 24: it did not start (--rehearse)."""


_SLOWLY = "emulation gets four times as long"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("boot", help=_HELP, short_help="Start an image in a virtual machine.")(boot)


def boot(
    image: ImageArgument,
    firmware: Annotated[str, typer.Option(help="auto, bios or uefi.")] = "auto",
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Of the machine.")] = "2G",
    processors: Annotated[int, typer.Option(min=1, max=255, help="Of the machine.")] = 2,
    serial: Annotated[
        bool, typer.Option("--serial", help="Its serial line here, and no window.")
    ] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="See whether it starts, and say so; no window.")
    ] = False,
    timeout: Annotated[
        int,
        typer.Option(min=10, max=86400, metavar="SECONDS", help=f"For --rehearse; {_SLOWLY}."),
    ] = 300,
    network: Annotated[bool, typer.Option("--network", help="Let it reach the network.")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, kvm or tcg (emulation).")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be started; start nothing.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    recovery_key_file: RecoveryFile = None,
    key_file: KeyFile = None,
    look_in: LookIn = None,
) -> int:
    """Start an image in a virtual machine."""
    from rescue.cli.progress import make_reporter
    from rescue.view.machine import check
    from rescue.view.opened import open_view
    from rescue.view.rehearsal import rehearse as rehearsed
    from rescue.view.sources import image_source
    from rescue.view.starting import as_it_was, has_screen, start

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    if firmware not in ("auto", "bios", "uefi"):
        raise UsageError(f"there is no firmware {firmware}", hint="auto, bios or uefi")
    if accelerator not in ("auto", "kvm", "tcg"):
        raise UsageError(f"there is no accelerator {accelerator}", hint="auto, kvm or tcg")
    try:
        size = parse_size(memory) // MIB
    except ValueError as error:
        raise UsageError(f"{memory} is not a size", hint="for instance 2G") from error
    if rehearse and (serial or network):
        raise UsageError("--rehearse goes with neither --serial nor --network")
    if not serial and not rehearse and not dry_run and not has_screen():
        raise UsageError("there is no screen for a window", hint="use --serial or --rehearse")
    with image_source(image, strict=False, opener=open_one) as opened:
        for note in opened.notes:
            say(f"warning: {note}", style="yellow")
        with open_view(opened, filesystems=False) as view:
            machine = replace(
                as_it_was(view, firmware),
                memory=size,
                processors=processors,
                window=not serial and not rehearse,
                network=network,
            )
            check(machine)
            say(
                f"{machine.firmware.upper()}, disk by {machine.attached}, {machine.memory} MiB; "
                "nothing is written to the image"
            )
            if dry_run:
                put(f"firmware: {machine.firmware}")
                return 0
            reporter = make_reporter()
            try:
                if rehearse:
                    return _told(rehearsed(view, machine, accelerator, timeout, reporter))
                status = start(view, machine, accelerator, reporter)
            finally:
                reporter.close()
            for line in view.server.messages():
                say(f"warning: {line}", style="yellow")
    if status:
        raise ProgramFailed(f"qemu ended with status {status}")
    return Exit.COMPLETE


def _told(found: Rehearsed) -> int:
    """The verdict of a rehearsal, and the machine's last words where it had none of its own."""
    if found.started:
        put(f"starts: yes, because {found.words}", style="green")
        return Exit.COMPLETE
    for line in found.serial:
        put(f"its serial console: {line}")
    put(f"starts: not proven, because {found.words}", style="red")
    return Exit.UNSOUND
