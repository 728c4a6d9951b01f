"""The overlays: files, modes and links that are laid over the rescue root.

Files lie in ``overlays/`` as on the target. Modes and symbolic links are lists beside them,
because a checkout carries neither reliably: a link that arrives as a file holding "/dev/null" would
leave the unit it masks alive, and nobody would see it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import UsageError

EARLY = ("etc/initramfs-tools", "etc/udev/rules.d", "etc/modprobe.d")
"""Parts that must be in place when the initramfs is made."""

_LISTS = ("modes", "links")
_MODE = re.compile(r"(0[0-7]{3}) ([^/\s]\S*)")
_LINK = re.compile(r"([^/\s]\S*) (\S+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link: exactly one of ``source`` and ``link`` is set, or neither."""

    name: str
    """Path in the rescue root, relative."""
    mode: int
    source: Path | None = None
    """A file: where its content is."""
    link: str = ""
    """A symbolic link: where it leads."""

    @property
    def early(self) -> bool:
        """Whether it takes part in making the initramfs."""
        return any(self.name == part or self.name.startswith(f"{part}/") for part in EARLY)

    @property
    def late(self) -> bool:
        """Whether it has an effect in the running system, too."""
        return not self.early or self.name.startswith("etc/udev/")


def read(overlays: Path) -> tuple[Entry, ...]:
    """All entries, sorted, each folder before what is in it.

    Raises:
        UsageError: a list has a bad line or names what is not there, or a link is no line of one.
        OSError: a list cannot be read.
    """
    modes = {
        name: int(mode, 8) for mode, name in _lines(overlays / "modes", _MODE, "a mode and a path")
    }
    links = dict(_lines(overlays / "links", _LINK, "a path and where it leads"))
    found: dict[str, Entry] = {}
    for path in overlays.rglob("*"):
        name = str(path.relative_to(overlays))
        if name in _LISTS:
            continue
        if path.is_symlink():
            raise UsageError(f"{path} is a link", hint="links are lines of overlays/links")
        if path.is_dir():
            found[name] = Entry(name, modes.get(name, 0o755))
        else:
            found[name] = Entry(name, modes.get(name, 0o644), source=path)
    if lost := sorted(modes.keys() - found.keys()):
        raise UsageError(f"overlays/modes names {lost[0]}, which is not there")
    for name, link in links.items():
        if name in found:
            raise UsageError(f"{name} is a line of overlays/links and a file as well")
        found[name] = Entry(name, 0o777, link=link)
        for folder in Path(name).parents:
            if str(folder) != ".":
                found.setdefault(str(folder), Entry(str(folder), 0o755))
    return tuple(found[name] for name in sorted(found, key=lambda name: Path(name).parts))


def lay(entries: Iterable[Entry], root: Path) -> None:
    """Write entries under ``root``, which exists.

    Raises:
        OSError: something cannot be written.
    """
    for entry in entries:
        path = root / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            path.symlink_to(entry.link)
            continue
        if entry.source is None:
            path.mkdir(exist_ok=True)
        else:
            shutil.copyfile(entry.source, path)
        path.chmod(entry.mode)


def _lines(path: Path, form: re.Pattern[str], what: str) -> list[tuple[str, str]]:
    """The two words of each line of a list; comments and empty lines left out."""
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = form.fullmatch(line.strip())
        if match is None:
            raise UsageError(f"overlays/{path.name}, line {number}: not {what}: {line!r}")
        pairs.append((match[1], match[2]))
    return pairs
