"""``rescue-builder``: assemble bootable rescue media.

Only this package prints, asks or exits. What takes time to import (templates, pycdlib) is imported
when it is needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from builder.cli import check, netboot, options, usb, verify
from rescue import __version__
from rescue.core.errors import Exit, Interrupted, RescueError
from rescue.core.units import format_size

app = typer.Typer(
    name="rescue-builder",
    help="Assemble bootable rescue media.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_EXAMPLES = """\b
Examples:
  rescue-builder iso dist/rescue.iso
  rescue-builder iso dist/rescue.iso --recipe my-medium.toml
  rescue-builder iso dist/pc.iso --include pc.rescue --job restore-pc.toml
  rescue-builder iso dist/pc.iso --include pc.rescue --job restore-pc.toml --media-size dvd
\b
The recipe is TOML; builder/recipe.toml shows every key. The first build fetches Debian packages
(some minutes); the next ones take seconds."""

_LOCK_EXAMPLES = """\b
Examples:
  rescue-builder lock recipe.lock
  rescue-builder lock recipe.lock --update
  rescue-builder iso dist/rescue.iso --lock recipe.lock"""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rescue-builder {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Assemble bootable rescue media."""


@app.command(epilog=_EXAMPLES)
def iso(
    output: Annotated[Path, typer.Argument(help="The ISO file to write.", metavar="OUTPUT")],
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe file; the standard one without it.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where layers and packages are kept between builds.")
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Compress as small as is sensible (zstd 19).")
    ] = False,
    lock: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take the package versions of this lock, or fail."),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Sign the ISO with an SSH key or one of minisign, beside it."
        ),
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMAGE", help="An image to carry, with its parts; repeatable."),
    ] = None,
    job: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A job that the menu offers; repeatable."),
    ] = None,
    media_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Several discs where one is too small: dvd, bd, 700M."),
    ] = None,
) -> None:
    """Write one ISO that boots as a disc and as a USB stick, under BIOS, UEFI and Secure Boot."""
    from dataclasses import replace

    from builder import assemble
    from builder.cargo import Cargo
    from builder.cli.progress import Terminal
    from builder.discs import parse_media_size
    from builder.recipe import RELEASE_LEVEL, Recipe, load
    from builder.rootfs.lock import load as load_lock
    from builder.sign import sign as sign_file

    disc = parse_media_size(media_size) if media_size is not None else None
    reporter = Terminal()
    chosen = load(recipe) if recipe is not None else Recipe()
    if release:
        chosen = replace(chosen, compression=RELEASE_LEVEL)
    place = cache if cache is not None else default_cache(assemble.PROJECT)
    try:
        cargo = Cargo(tuple(include or ()), tuple(job or ()))
        locked = load_lock(lock) if lock is not None else None
        medium = assemble.build_iso(chosen, output, place.absolute(), reporter, cargo, locked, disc)
        signature = sign_file(output, sign) if sign is not None else None
    except KeyboardInterrupt as error:
        # typer would turn it into a bare exit status.
        more = "; its further discs may be new" if disc is not None else ""
        raise Interrupted("interrupted", hint=f"{output} is as it was before{more}") from error
    finally:
        reporter.abandon()
    typer.echo(f"file:   {medium.path}")
    typer.echo(f"size:   {medium.size} bytes ({format_size(medium.size)})")
    typer.echo(f"blake3: {medium.blake3}")
    typer.echo(f"sha256: {medium.sha256}")
    typer.echo(f"build:  {medium.build}")
    for number, path in enumerate(medium.further, start=2):
        typer.echo(f"disc {number}: {path} ({format_size(path.stat().st_size)})")
    if signature is not None:
        typer.echo(f"signed: {signature}")
    typer.echo(f"try:    {try_line(medium.path)}")
    typer.echo(f"stick:  {stick_line(medium.path)}   (sdX: the whole stick, all on it is lost)")


@app.command("lock", epilog=_LOCK_EXAMPLES)
def lock_(
    output: Annotated[Path, typer.Argument(help="The lock file to write.", metavar="FILE")],
    recipe: Annotated[Path | None, typer.Option(help="The recipe whose packages count.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where layers and packages are kept between builds.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Build the layer anew, with the versions of today.")
    ] = False,
) -> None:
    """Write down which version of each Debian package a medium holds, with its SHA-256."""
    from builder import assemble
    from builder.cli.progress import Terminal
    from builder.recipe import Recipe, load

    reporter = Terminal()
    chosen = load(recipe) if recipe is not None else Recipe()
    place = cache if cache is not None else default_cache(assemble.PROJECT)
    try:
        count = assemble.write_lock(chosen, output, place.absolute(), reporter, anew=update)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", hint=f"{output} is as it was before") from error
    finally:
        reporter.abandon()
    typer.echo(f"{output}: {count} packages")


usb.register(app)
verify.register(app)
netboot.register(app)
check.register(app)


def try_line(path: Path) -> str:
    """The QEMU command that boots the medium, screen and serial line both.

    Without ``-erms`` QEMU's own emulation spends most of its time clearing pages by ``rep stosb``;
    with more room for translated code than 256 MiB a third more in throwing it away.
    """
    import shlex

    return (
        "qemu-system-x86_64 -machine q35 -accel kvm -accel tcg,tb-size=256 -cpu max,-erms "
        f"-smp 2 -m 2048 -cdrom {shlex.quote(str(path))} -serial stdio"
    )


def stick_line(path: Path) -> str:
    """The command that writes the medium to a USB stick."""
    import shlex

    name = shlex.quote(str(path))
    return f"sudo dd if={name} of=/dev/sdX bs=4M oflag=direct,sync status=progress"


def default_cache(project: Path) -> Path:
    """``.cache`` in a checkout that can be written, else the user's own cache folder."""
    if os.access(project, os.W_OK):
        return project / ".cache"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "rescue-builder"


def main() -> None:
    """Entry point: every failure is one ``error:`` line, a hint, and an exit code that means it."""
    import signal

    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = app(standalone_mode=False)
    except RescueError as error:
        _fail(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", "", Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None
        sys.exit(Exit.PROGRAM)
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is not None:
            _fail(_one_line(str(message())), "see rescue-builder --help", Exit.USAGE)
        if type(error).__name__ == "Abort":
            _fail("interrupted", "", Exit.INTERRUPTED)
        _fail(f"a bug in rescue-builder: {error!r}", f"report: {_save_report()}", Exit.BUG)
    sys.exit(status if isinstance(status, int) else Exit.COMPLETE)


def _terminated(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _fail(message: str, hint: str, code: Exit) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    if "--json" in sys.argv[1:]:
        options.put_json({"exit": int(code), "error": message, "hint": hint})
    sys.exit(int(code))


def _save_report() -> str:
    """Write the traceback where a person can find it; return the path."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="rescue-builder-", suffix=".txt", delete=False
    ) as file:
        file.write(f"rescue-builder {__version__}, Python {sys.version}\n{sys.argv!r}\n")
        file.write(traceback.format_exc())
        return file.name


if __name__ == "__main__":
    main()
