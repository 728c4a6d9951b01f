"""The keyboard's layout: asked for at the first start, and kept on the stick.

A person types the identity of a disk and passphrases: with the wrong layout both fail. The layout
is the kernel's own (``loadkeys``), so it holds for every virtual terminal and the root shell.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from rescue.core import process
from rescue.core.errors import DiskTrouble, RescueError, from_os_error
from rescue.jobs import describe, runtime
from rescue.jobs.held import held
from rescue.shell.world import World, data_partition

KEPT = "rescue-keyboard"
ASKED = "keyboard-asked"
_RECIPE = Path("/etc/rescue/keymap")
_FOLDER = Path("/usr/share/keymaps/i386")
_NAME = re.compile(r"\w[\w.-]{0,39}\Z")
_CONSOLE = re.compile(r"/dev/tty[0-9]+\Z")
TITLE = "Which keyboard is this?"
WHY = "Choose it, so that every key types what is printed on it."
LATER = "Tools has this list at any time."
# What most people have, named in their own language; the rest follows by name.
COMMON = {
    "us": "English (US)",
    "uk": "English (UK)",
    "de-latin1": "Deutsch",
    "sg-latin1": "Deutsch (Schweiz)",
    "fr-latin9": "Francais (AZERTY)",
    "fr_CH-latin1": "Francais (Suisse)",
    "be-latin1": "Belgie / Belgique",
    "es": "Espanol",
    "la-latin1": "Espanol (Latinoamerica)",
    "it": "Italiano",
    "pt-latin1": "Portugues",
    "br-abnt2": "Portugues (Brasil)",
    "nl": "Nederlands",
    "pl": "Polski",
    "cz-lat2": "Cestina",
    "dk-latin1": "Dansk",
    "no-latin1": "Norsk",
    "se-latin1": "Svenska",
    "fi-latin1": "Suomi",
    "ru": "Russkij",
    "dvorak": "Dvorak",
}


def layouts(folder: Path = _FOLDER) -> list[tuple[str, str]]:
    """Name and title of every layout that is there, the common ones first."""
    names = sorted({path.name.split(".kmap")[0] for path in folder.glob("*/*.kmap.gz")})
    common = [(name, title) for name, title in COMMON.items() if name in names]
    rest = [name for name in names if name not in COMMON and not name.endswith("include")]
    return [*common, *((name, name) for name in rest)]


def apply(name: str) -> None:
    """Load a layout.

    Raises:
        DiskTrouble: it is no name of one.
        ProgramFailed: loadkeys refuses.
    """
    if not _NAME.match(name):
        raise DiskTrouble(f"{name!r} is no keyboard layout")
    process.run([process.require("loadkeys", package="kbd"), "--quiet", name])


def remember(name: str, world: World) -> bool:
    """Keep a layout on the stick's data partition; False where there is none."""
    place = data_partition(world.sight())
    if place is None:
        return False
    with held(place.node, writable=True) as opened:
        try:
            (opened.root / KEPT).write_text(name + "\n")
        except OSError as error:
            raise from_os_error(error, f"write {place.node}") from error
    return True


def recall(world: World) -> str:
    """Load the layout that was kept; its name, or nothing when there is none."""
    try:
        place = data_partition(world.sight())
        if place is None:
            return ""
        with held(place.node, writable=False) as opened:
            name = (opened.root / KEPT).read_bytes()[:64].decode(errors="replace").strip()
        apply(name)
    except (RescueError, OSError):
        return ""
    return name


def to_ask(world: World) -> bool:
    """Load the layout that the stick remembers; whether a person is to be asked for one instead.

    Asked is who sits at this machine's own keyboard, once in a start, where neither the stick nor
    the medium's recipe has said it. A serial line and SSH have keys of their own.
    """
    if not describe.is_live() or not is_own_keyboard():
        return False
    try:
        if recall(world) or _RECIPE.exists() or not layouts():
            return False
        return not (runtime.folder("shell") / ASKED).exists()
    except (RescueError, OSError):
        return False


def asked() -> None:
    """Remember until the machine is switched off that this was answered, or passed over."""
    with suppress(RescueError, OSError):
        (runtime.folder("shell") / ASKED).touch()


def is_own_keyboard() -> bool:
    """Whether this shell stands on a virtual console."""
    try:
        return bool(_CONSOLE.match(os.ttyname(0)))
    except OSError:
        return False


def choose(name: str, world: World) -> str:
    """Load a layout and keep it; what became of it, as a sentence."""
    apply(name)
    title = COMMON.get(name, name)
    try:
        kept = remember(name, world)
    except RescueError as error:
        return f"{title} is loaded. It could not be kept on the stick: {error.message}."
    return f"{title} is loaded" + (" and kept on the stick." if kept else ", until the restart.")
