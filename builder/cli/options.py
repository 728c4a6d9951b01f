"""Options that several verbs share: which ISO, and how one is built when none is named."""

from __future__ import annotations

import json as json_module
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescue.core.errors import UsageError

if TYPE_CHECKING:
    from rescue.core.progress import Reporter

Iso = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", readable=False, help="An ISO of rescue-builder; else one is built."
    ),
]
Recipe = Annotated[
    Path | None, typer.Option(help="The recipe of the ISO that is built.", metavar="FILE")
]
Cache = Annotated[
    Path | None, typer.Option(help="Where layers are kept between builds.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON.")]


def check_iso(iso: Path | None, recipe: Path | None, cache: Path | None) -> None:
    """Refuse options of a build beside a finished ISO.

    Raises:
        UsageError: there are such.
    """
    if iso is not None and (recipe is not None or cache is not None):
        raise UsageError("--recipe and --cache are for an ISO that is built, and --iso names one")


@contextmanager
def the_iso(
    iso: Path | None, recipe: Path | None, cache: Path | None, reporter: Reporter
) -> Iterator[Path]:
    """The ISO that was named, or one that is built now."""
    if iso is not None:
        yield iso
        return
    from builder import assemble
    from builder.cli.main import default_cache
    from builder.recipe import Recipe as Chosen
    from builder.recipe import load

    place = (cache if cache is not None else default_cache(assemble.PROJECT)).absolute()
    chosen = load(recipe) if recipe is not None else Chosen()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="usb-", dir=place) as folder:
        path = Path(folder) / "rescue.iso"
        assemble.build_iso(chosen, path, place, reporter)
        yield path


def put_json(value: Mapping[str, object]) -> None:
    """The result on standard output."""
    print(json_module.dumps(value, indent=2))


def clean(text: str) -> str:
    """What hardware calls itself, without what could move a cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
