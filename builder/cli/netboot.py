"""``rescue-builder netboot``: a folder from which machines start over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli import options
from builder.cli.options import clean, put_json, the_iso
from rescue.core.errors import Interrupted
from rescue.core.units import format_size

_HELP = """Write a folder from which machines start over the network, by HTTP.

DIR gets the kernel, an initial memory disk with drivers of network cards, the layers, the signed
shim and GRUB for UEFI, GRUB for BIOS, a script for iPXE and an example for dnsmasq. Serve it by
HTTP, and by TFTP for firmware that starts there. What a machine fetches is compared with its sum.

\b
Examples:
  rescue-builder netboot /srv/rescue --url http://192.0.2.1
  rescue-builder netboot /srv/rescue --iso dist/rescue.iso --url http://192.0.2.1:8080/rescue"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("netboot", help=_HELP, short_help="Write a folder for starting by network.")(
        netboot
    )


def netboot(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", readable=False, help="The folder to make or renew.")
    ],
    iso: options.Iso = None,
    recipe: options.Recipe = None,
    cache: options.Cache = None,
    url: Annotated[
        str | None,
        typer.Option(help="Where machines find DIR; the server that answered first without it."),
    ] = None,
    json: options.Json = False,
) -> int:
    """Write the folder."""
    options.check_iso(iso, recipe, cache)
    from builder.cli.progress import Terminal
    from builder.netboot.plan import place_of
    from builder.netboot.write import check_output, write
    from builder.usb.payload import open_iso

    place = place_of(url) if url is not None else None
    check_output(folder)
    reporter = Terminal()
    try:
        with the_iso(iso, recipe, cache, reporter) as path, open_iso(path, reporter) as opened:
            served = write(opened, folder, place, reporter)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "interrupted", hint=f"{folder} is as it was before, or already renewed; run it again"
        ) from error
    finally:
        reporter.abandon()
    if json:
        put_json(
            {
                "exit": 0,
                "folder": str(served.folder),
                "build": served.build,
                "size": served.size,
                "memory": served.memory,
                "others": list(served.others),
            }
        )
        return 0
    typer.echo(clean(f"folder:  {served.folder}"))
    typer.echo(f"build:   {served.build}")
    typer.echo(f"fetched: {format_size(served.size)} by each machine")
    typer.echo(f"memory:  {format_size(served.memory)} of it stay in the machine's memory")
    for other in served.others:
        typer.echo(clean(f"kept:    {other}, an earlier build: remove it when nothing starts it"))
    # With HTTP/1.0 UEFI's own HTTP start often fails (docs/decisions/media-netboot.md).
    serve = f"python3 -m http.server --protocol HTTP/1.1 --directory {served.folder} 80"
    typer.echo(clean(f"serve:   {serve}"))
    typer.echo(clean(f"example: {served.folder}/dnsmasq.conf for DHCP and TFTP"))
    return 0
