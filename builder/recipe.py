"""The recipe: what a person may choose about a medium, as TOML, parsed once into a frozen value.

Every key has a default, so an empty file is a recipe. An unknown key, a wrong type or a value out
of bounds is refused with the file, the line, the key and what is allowed. How a kind of value is
checked is in ``recipe_values``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from builder.recipe_network import Network, Wifi, wired, wireless
from builder.recipe_values import Table
from builder.rootfs.variants import SMALL, VARIANTS
from rescue.core.errors import UsageError, from_os_error
from rescue.core.sshkey import PUBLIC_KEY

MAX_RECIPE_BYTES = 1 << 20
"""A recipe is written by hand; a larger file is something else named by mistake."""

KERNEL_KEYBOARD = "us"
"""What the kernel's console has by itself."""
RELEASE_LEVEL = 19
"""zstd level of --release: above it a build takes minutes more for a few bytes."""
UTC = "Etc/UTC"
"""What Debian's base has by itself."""

COLOURS = (
    *("black", "blue", "green", "cyan", "red", "magenta", "brown", "light-gray"),
    *("dark-gray", "light-blue", "light-green", "light-cyan", "light-red", "light-magenta"),
    *("yellow", "white"),
)
"""GRUB's names (its manual, "Theme file format" and ``color_normal``)."""

_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_TITLE = re.compile(r"[^\x00-\x1f\x7f'\"\\$`{}]{1,60}")
# GRUB's quoting and the kernel's own: blanks separate arguments, these would end the line.
_ARGUMENT = re.compile(r"[^\s'\"\\$`;|&<>{}#]{1,200}")
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,58}\.toml")
_LAYOUT = re.compile(r"[a-z]{2,12}(\([a-z0-9_-]{1,30}\))?")
_ZONE = re.compile(r"[A-Za-z0-9+_-]{1,30}(/[A-Za-z0-9+_-]{1,30}){0,2}")
_LOCALE = re.compile(r"C\.UTF-8|[a-z]{2,3}_[A-Z]{2}\.UTF-8")
_MODE = re.compile(r"0[0-7]{3}|[0-7]{4}")
_OWNER = re.compile(r"\d{1,9}:\d{1,9}")
_INSIDE = re.compile(r"/[^\x00-\x1f\x7f]{1,500}")


@dataclass(frozen=True, slots=True)
class Colours:
    """GRUB's colours, each TEXT/BACKGROUND."""

    normal: str = "light-gray/black"
    highlight: str = "black/light-gray"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a medium holds beyond the standard."""

    variant: str = SMALL.name
    """Which sets of drivers, firmware and programs it has: a name of VARIANTS."""
    hostname: str = "rescue"
    keyboard: str = KERNEL_KEYBOARD
    """An XKB layout with or without a variant: "de", "de(nodeadkeys)"."""
    timezone: str = UTC
    locales: tuple[str, ...] = ()
    """On top of C.UTF-8; the first one is that of root's own shells."""
    packages: tuple[str, ...] = ()
    """Debian packages added to the standard list."""
    kernel_arguments: tuple[str, ...] = ()
    menu_title: str = "Rescue"
    menu_timeout: int = 3
    """Seconds before the restore shell starts by itself; 0 starts it at once, -1 waits."""
    menu_colours: Colours = Colours()
    jobs: tuple[Path, ...] = ()
    """Job files put into /rescue/jobs on the medium."""
    files: Path | None = None
    """A folder that is laid over the medium's root."""
    modes: Mapping[str, int] = field(default_factory=dict)
    owners: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Modes and owners of what is in ``files``, by path on the medium."""
    ssh_authorized_keys: tuple[str, ...] = ()
    """Who may log in as root over the network, by key only; opens port 22 when there is one."""
    network: Network = field(default_factory=Network)
    wifi: Wifi | None = None
    compression: int = 15
    """zstd level of the base layer, 1 to 22."""


def load(path: Path) -> Recipe:
    """Read a recipe file; relative paths in it are taken from the file's own folder.

    Raises:
        UsageError: it is not a recipe.
        DiskTrouble: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if len(data) > MAX_RECIPE_BYTES:
        raise UsageError(
            f"{path} is larger than a recipe can be",
            hint="name a TOML file; see builder/recipe.toml",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="a recipe is a TOML file") from error
    return parse(text, str(path), path.parent)


def parse(text: str, name: str, folder: Path) -> Recipe:
    """Parse the text of a recipe; ``name`` is for messages, ``folder`` for relative paths.

    Raises:
        UsageError: syntax, an unknown key, a wrong type or a value out of bounds.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rstrip(".").partition(" (at ")
        at = re.match(r"line (\d+)", place)
        line = int(at[1]) if at else len(text.splitlines())
        raise UsageError(
            f"{name}, line {line}: {reason[:1].lower()}{reason[1:]}",
            hint="allowed: TOML, as in builder/recipe.toml",
        ) from error
    table = Table(found, text.splitlines(), name)
    table.only([one.name for one in fields(Recipe)])
    files = _files(table, folder)
    keys = table.texts(
        "ssh_authorized_keys", PUBLIC_KEY, 'lines as in a .pub file: "ssh-ed25519 AAAA…"'
    )
    variant = table.choice("variant", SMALL.name, tuple(VARIANTS))
    wifi = wireless(table, folder)
    if wifi is not None and not VARIANTS[variant].wireless:
        raise table.refuse("wifi", f"the variant {variant} has no Wi-Fi", 'variant = "standard"')
    return Recipe(
        variant=variant,
        hostname=table.text("hostname", "rescue", _HOSTNAME, "a to z, 0 to 9 and -"),
        keyboard=table.text(
            "keyboard", KERNEL_KEYBOARD, _LAYOUT, 'an XKB layout: "de", "de(nodeadkeys)"'
        ),
        timezone=table.text("timezone", UTC, _ZONE, 'a zone: "Europe/Berlin"'),
        locales=table.texts("locales", _LOCALE, 'UTF-8 locales: "de_DE.UTF-8"'),
        packages=table.texts("packages", _PACKAGE, "names of Debian packages"),
        kernel_arguments=table.texts(
            "kernel_arguments", _ARGUMENT, "words without blanks, quotes or shell characters"
        ),
        menu_title=table.text("menu_title", "Rescue", _TITLE, "1 to 60 characters, no quotes"),
        menu_timeout=table.number("menu_timeout", 3, -1, 3600),
        menu_colours=_colours(table),
        jobs=_jobs(table, folder),
        files=files,
        modes={
            path: int(mode, 8)
            for path, mode in _by_path(table, "modes", _MODE, 'octal: "0600"', files).items()
        },
        owners={
            path: _pair(owner)
            for path, owner in _by_path(
                table, "owners", _OWNER, 'numbers: "1000:1000"', files
            ).items()
        },
        ssh_authorized_keys=keys,
        network=wired(table, default="dhcp" if keys or wifi is not None else "off"),
        wifi=wifi,
        compression=table.number("compression", 15, 1, 22),
    )


def _jobs(table: Table, folder: Path) -> tuple[Path, ...]:
    jobs = tuple(folder / job for job in table.texts("jobs"))
    for job in jobs:
        if not _JOB_NAME.fullmatch(job.name):
            raise table.refuse(
                "jobs", f"{job.name!r} is not a job file's name", "letters, digits, then .toml"
            )
        if not job.is_file():
            raise table.refuse("jobs", f"there is no file {job}", "name a file beside the recipe")
    if len({job.name for job in jobs}) != len(jobs):
        raise table.refuse("jobs", "two files have the same name", "rename one of them")
    return jobs


def _colours(table: Table) -> Colours:
    inner = table.table("menu_colours", ["normal", "highlight"])
    pair = re.compile(f"({'|'.join(COLOURS)})/({'|'.join(COLOURS)})")
    allowed = f"TEXT/BACKGROUND, each one of {', '.join(COLOURS)}"
    standard = Colours()
    return Colours(
        inner.text("normal", standard.normal, pair, allowed),
        inner.text("highlight", standard.highlight, pair, allowed),
    )


def _files(table: Table, folder: Path) -> Path | None:
    if "files" not in table:
        return None
    path = folder / table.text("files", "", None, "")
    if not path.is_dir():
        raise table.refuse("files", f"there is no folder {path}", "name a folder beside the recipe")
    return path


def _by_path(
    table: Table, key: str, shape: re.Pattern[str], allowed: str, files: Path | None
) -> Mapping[str, str]:
    """A table of paths of the overlay folder, and something about each."""
    inner = table.table(key, None)
    found = {}
    for path in inner:
        if not _INSIDE.fullmatch(path) or ".." in path.split("/"):
            raise inner.refuse(path, "is not a path on the medium", 'as in "/etc/motd"')
        if files is None or not (files / path[1:]).exists():
            raise inner.refuse(path, "is not in the folder that files names", "add it there")
        found[path.rstrip("/")] = inner.text(path, "", shape, allowed)
    return found


def _pair(owner: str) -> tuple[int, int]:
    user, _, group = owner.partition(":")
    return int(user), int(group)
