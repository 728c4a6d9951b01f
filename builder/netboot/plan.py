"""What lies on a netboot server, and under which names: pure, nothing is read or written.

A machine fetches in two steps. Its firmware, with GRUB or iPXE, loads the kernel and the initial
memory disk; the initial memory disk then fetches the layers into memory and compares each with its
sum, which it brings along. Everything of one build lies in a folder of its own, so that a machine
which is just starting never mixes two builds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.cargo import IMAGES, JOBS
from rescue.core.errors import ImageDamaged, UsageError

KERNEL = "live/vmlinuz"
INITRD = "live/initrd.img"
BASE = "live/base.squashfs"
MENU = "boot/grub/grub.cfg"
SUMS = "sha256sums.txt"
_BESIDE = (".disk/", "rescue/jobs/", f"{JOBS}/")
"""Folders of which a started medium knows something, besides its layers."""

_URL = re.compile(
    r"http://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~-]{1,100}){0,8})/?"
)
_ARGUMENTS = re.compile(r'^set arguments="([^"\n]*)"$', re.MULTILINE)
_TITLE = re.compile(r'^menuentry "([^"\n]*): restore shell" --id shell', re.MULTILINE)
_TIMEOUT = re.compile(r"^set timeout=(-?[0-9]{1,4})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where machines find the folder: an HTTP server, in the form each program wants.

    Attributes:
        host: name or IPv4 address, with the port where it is not 80.
        path: on the server, empty or with a slash at its start and none at its end.
    """

    host: str
    path: str

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://{self.host}{self.path}"


@dataclass(frozen=True, slots=True)
class Menu:
    """What the templates need.

    Attributes:
        build: the folder of this build.
        arguments: of the kernel, as on the ISO.
        place: None: the server that answered the machine's first request, port 80.
        recovery: job files that the menu offers.
    """

    title: str
    timeout: int
    arguments: str
    build: str
    place: Place | None
    recovery: tuple[str, ...]


def place_of(url: str) -> Place:
    """Parse an address.

    Raises:
        UsageError: it is not one that GRUB, iPXE and the initial memory disk all understand.
    """
    match = _URL.fullmatch(url)
    port = int(match["port"] or 80) if match else 0
    if match is None or not 1 <= port <= 65535 or "/.." in match["path"]:
        raise UsageError(
            f"{url!r} is not an address that a starting machine can use",
            hint="allowed: http://NAME-OR-IPv4[:PORT][/FOLDER], as in http://192.0.2.1/rescue",
        )
    host = match["host"] if port == 80 else f"{match['host']}:{port}"
    return Place(host, match["path"])


def menu_of(grub_cfg: str, build: str, place: Place | None, names: tuple[str, ...]) -> Menu:
    """The menu, from that of the ISO and the names of all its files.

    Raises:
        ImageDamaged: the ISO's menu is not one of this program.
    """
    arguments = _ARGUMENTS.search(grub_cfg)
    title = _TITLE.search(grub_cfg)
    timeout = _TIMEOUT.search(grub_cfg)
    if arguments is None or title is None or timeout is None:
        raise ImageDamaged("the ISO's menu cannot be read", hint="build the ISO anew")
    jobs = tuple(name.rpartition("/")[2] for name in sorted(names) if name.startswith(f"{JOBS}/"))
    return Menu(title[1], int(timeout[1]), arguments[1], build, place, jobs)


def fetched(names: tuple[str, ...]) -> tuple[str, ...]:
    """Which files of the ISO the initial memory disk fetches into memory, in this order.

    Raises:
        UsageError: the ISO carries images, which need not fit in memory.
    """
    if any(name.startswith(f"{IMAGES}/") for name in names):
        raise UsageError(
            "this ISO carries an image, and what is started over the network lies in memory",
            hint="take an ISO without --include, and keep the image on a share or a disk",
        )
    wanted = [
        name
        for name in names
        if (name.startswith("live/") and name not in (KERNEL, INITRD)) or name.startswith(_BESIDE)
    ]
    if BASE not in wanted:
        raise ImageDamaged(f"the ISO holds no {BASE}", hint="build the ISO anew")
    return tuple(sorted(wanted))


def sums_list(sums: dict[str, str]) -> str:
    """As ``sha256sum --check`` reads it."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items()))


def fetch_list(sizes: dict[str, int], sums: dict[str, str]) -> str:
    """What the initial memory disk reads: sum, size and path of each file, a line each."""
    return "".join(f"{sums[path]} {size} {path}\n" for path, size in sorted(sizes.items()))
