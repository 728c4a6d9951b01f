"""The recipe's own layer: the person's files with their owners and modes, SSH keys, the Wi-Fi.

A layer of its own, because the top layer belongs to root throughout. Owners and modes are given to
mksquashfs as a list, so that no root is needed to make files that somebody else owns.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from builder.recipe import Recipe
from builder.recipe_network import Wifi
from rescue.core import process
from rescue.core.errors import UsageError, from_os_error
from rescue.core.progress import Reporter

# A folder that lies on top of another decides its mode: these are not as folders usually are.
_KNOWN = {"": 0o755, "root": 0o700, "root/.ssh": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
_Value = TypeVar("_Value")
_KEYS = "root/.ssh/authorized_keys"
_WIFI = "etc/rescue/wifi.conf"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the layer; a link has ``link``, a file ``source`` or ``data``."""

    name: str
    mode: int
    owner: tuple[int, int]
    folder: bool = False
    link: str = ""
    source: Path | None = None
    data: bytes = b""


def wanted(recipe: Recipe) -> bool:
    """Whether there is anything to put into the layer."""
    return recipe.files is not None or bool(recipe.ssh_authorized_keys) or recipe.wifi is not None


def items(recipe: Recipe) -> tuple[Item, ...]:
    """Everything of the layer, each folder before what is in it.

    Raises:
        UsageError: something that is neither file, folder nor link, or a name with a control
            character or a quote.
        OSError: a file cannot be looked at.
    """
    found = {item.name: item for item in _from_folder(recipe)}
    if recipe.ssh_authorized_keys:
        if _KEYS in found:
            raise UsageError(f"the folder files holds {_KEYS}, and the recipe has keys of its own")
        text = "".join(f"{key}\n" for key in recipe.ssh_authorized_keys)
        found[_KEYS] = Item(_KEYS, 0o600, (0, 0), data=text.encode())
        for name in ("root", "root/.ssh"):
            found.setdefault(name, Item(name, 0o700, (0, 0), folder=True))
    if recipe.wifi is not None:
        # Read by root alone: it holds the passphrase.
        found[_WIFI] = Item(_WIFI, 0o600, (0, 0), data=wpa_supplicant(recipe.wifi).encode())
        for name in ("etc", "etc/rescue"):
            found.setdefault(name, Item(name, 0o755, (0, 0), folder=True))
    found.setdefault("", Item("", 0o755, (0, 0), folder=True))
    return tuple(found[name] for name in sorted(found, key=lambda name: Path(name).parts))


def wpa_supplicant(wifi: Wifi) -> str:
    """wpa_supplicant.conf(5) for a network with WPA2 or WPA3."""
    lines = ["ctrl_interface=DIR=/run/wpa_supplicant", "update_config=0"]
    lines += [f"country={wifi.country}"] if wifi.country else []
    lines += [
        "network={",
        # As hexadecimal digits a name may hold anything; a quoted string ends at its last quote.
        f"    ssid={wifi.ssid.encode().hex()}",
        f'    psk="{wifi.passphrase}"',
        "    key_mgmt=WPA-PSK WPA-PSK-SHA256 SAE",
        "    ieee80211w=1",
        "}",
    ]
    return "\n".join((*lines, ""))


def _from_folder(recipe: Recipe) -> Iterator[Item]:
    top = recipe.files
    if top is None:
        return
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if not name.isprintable() or '"' in name or "\\" in name:
            raise UsageError(f"{name!r} in the folder files has a name that cannot be on a medium")
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        owner = _of(recipe.owners, name, (0, 0))
        if kind == stat.S_IFDIR:
            mode = _of(recipe.modes, name, _KNOWN.get(name, 0o755))
            yield Item(name, mode, owner, folder=True)
        elif kind == stat.S_IFREG:
            usual = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            yield Item(name, _of(recipe.modes, name, usual), owner, source=path)
        elif kind == stat.S_IFLNK:
            yield Item(name, 0o777, owner, link=str(path.readlink()))
        else:
            raise UsageError(f"{path} is neither file, folder nor link")


def _of(table: Mapping[str, _Value], name: str, usual: _Value) -> _Value:
    return table.get(f"/{name}", usual)


def pseudo(entries: tuple[Item, ...]) -> str:
    """mksquashfs' list of modes and owners, and the links."""
    lines = []
    for one in entries:
        kind = f"s {one.mode:o}" if one.link else f"m {one.mode:o}"
        more = f" {one.link}" if one.link else ""
        lines.append(f'"/{one.name}" {kind} {one.owner[0]} {one.owner[1]}{more}\n')
    return "".join(lines)


def build(recipe: Recipe, cache: Path, out: Path, reporter: Reporter) -> None:
    """Write the layer's squashfs to ``out``.

    Raises:
        UsageError: see ``items``.
        DiskTrouble: a file could not be read or written.
        ProgramFailed: mksquashfs failed.
    """
    reporter.start("layer of the recipe's own files", None)
    process.require("mksquashfs", package="squashfs-tools")
    try:
        with tempfile.TemporaryDirectory(prefix="extra-", dir=cache) as scratch:
            root = Path(scratch) / "root"
            entries = items(recipe)
            for one in entries:
                path = root / one.name
                if one.folder:
                    path.mkdir()
                elif one.source is not None:
                    shutil.copyfile(one.source, path)
                elif not one.link:
                    path.write_bytes(one.data)
            listing = Path(scratch) / "list"
            listing.write_text(pseudo(entries))
            process.run(
                [
                    *("mksquashfs", root, out, "-comp", "zstd", "-Xcompression-level", "9"),
                    *("-b", "256K", "-pf", listing),
                    *("-noappend", "-no-progress", "-quiet"),
                ]
            )
    except OSError as error:
        raise from_os_error(error, "assemble the layer of the recipe's own files") from error
    reporter.finish()
