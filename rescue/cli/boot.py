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
    from rescue.view.machine import Machine
    from rescue.view.opened import OpenView

_HELP = """Start the machine in an image as a virtual machine, by QEMU, to see whether it starts.

Whatever it writes goes to a temporary file and is thrown away: the image stays as it is, byte for
byte. The firmware is the one the source had. It has no network unless --network is given, because
a second copy of a machine may do harm.

In a window where there is a screen; with --serial its serial line is this terminal (Ctrl-A X
ends it).

\b
Examples:
  rescue boot /mnt/store/pc.rescue
  rescue boot --serial --firmware uefi --memory 4G /mnt/store/pc.rescue"""


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
    from rescue.view.sources import image_source
    from rescue.view.starting import has_screen, start

    open_one = opener(passphrase_file, passphrase_fd, recovery_key_file, key_file, look_in)
    if firmware not in ("auto", "bios", "uefi"):
        raise UsageError(f"there is no firmware {firmware}", hint="auto, bios or uefi")
    if accelerator not in ("auto", "kvm", "tcg"):
        raise UsageError(f"there is no accelerator {accelerator}", hint="auto, kvm or tcg")
    try:
        size = parse_size(memory) // MIB
    except ValueError as error:
        raise UsageError(f"{memory} is not a size", hint="for instance 2G") from error
    if not serial and not dry_run and not has_screen():
        raise UsageError("there is no screen for a window", hint="use --serial")
    with image_source(image, strict=False, opener=open_one) as opened:
        for note in opened.notes:
            say(f"warning: {note}", style="yellow")
        with open_view(opened, filesystems=False) as view:
            machine = replace(
                _as_it_was(view, firmware),
                memory=size,
                processors=processors,
                window=not serial,
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
                status = start(view, machine, accelerator, reporter)
            finally:
                reporter.close()
            for line in view.server.messages():
                say(f"warning: {line}", style="yellow")
    if status:
        raise ProgramFailed(f"qemu ended with status {status}")
    return Exit.COMPLETE


def _as_it_was(view: OpenView, firmware: str) -> Machine:
    """The machine that the image says it came from."""
    from rescue.view.machine import Machine, attached_by, firmware_of, safe_serial

    image = view.opened.image
    assert image is not None
    manifest, sector_size = image.manifest, view.opened.sector_size
    known = firmware_of(manifest.machine, manifest.disk, manifest.layout, image.read(0, 440))
    if firmware in ("bios", "uefi"):
        known = "uefi" if firmware == "uefi" else "bios"
    is_file = manifest.disk.get("transport") == "file"
    return Machine(
        firmware=known,
        attached=attached_by(manifest.disk, sector_size),
        sector_size=sector_size,
        serial=safe_serial(manifest.disk.get("serial")),
        product="" if is_file else safe_serial(manifest.machine.get("serial"), 60),
    )
