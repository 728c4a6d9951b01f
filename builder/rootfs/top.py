"""The top layer: this project, its wheels, the overlays and the recipe's settings.

Thin on purpose. It is made anew by every build, so that a changed line of ``rescue/`` is on the
medium seconds later; the heavy parts (packages, wheels and their byte code) are kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.recipe import UTC, Recipe
from builder.recipe_network import Network
from builder.rootfs import overlay, wheels
from builder.rootfs.base import Base
from builder.rootfs.packages import PYTHON
from rescue import __version__
from rescue.core import process
from rescue.core.errors import UsageError, from_os_error
from rescue.core.progress import Reporter

PACKAGES = Path(f"usr/local/lib/python{PYTHON}/dist-packages")
_UNITS = Path("/usr/lib/systemd/system")
_WIFI = """\
[Match]
Type=wlan

[Network]
DHCP=yes
LLMNR=no
MulticastDNS=no
"""
# The layer is small: the level that costs a second, not the one that costs a minute.
_LEVEL = 9
# A small file costs the unpacking of its whole block, and the shell starts from hundreds of them.
_BLOCK = "64K"


def build(
    project: Path, recipe: Recipe, base: Base, cache: Path, scratch: Path, report: Reporter
) -> Path:
    """Make the top layer's squashfs in the folder ``scratch``; returns its path.

    Raises:
        ProgramFailed: pip, compiling or mksquashfs failed.
        DiskTrouble: a file could not be read or written.
    """
    wheel_tree = wheels.ensure(project / "ci" / "media.lock", base, cache, report)
    report.start("top layer: this project, wheels, overlays", None)
    try:
        # mksquashfs keeps the mode of the folder it is given as that of the medium's "/".
        root, out = scratch / "root", scratch / "top.squashfs"
        root.mkdir(mode=0o755)
        _stage(project, recipe, base, wheel_tree, root)
        _squash(root, out)
    except OSError as error:
        raise from_os_error(error, "assemble the top layer") from error
    report.finish()
    return out


def _stage(project: Path, recipe: Recipe, base: Base, wheel_tree: Path, root: Path) -> None:
    entries = overlay.read(project / "overlays")
    overlay.lay((entry for entry in entries if entry.late), root)
    (root / "etc/hostname").write_text(f"{recipe.hostname}\n")
    (root / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {recipe.hostname}\n::1 localhost ip6-localhost\n"
    )
    _settings(recipe, base, root)
    (root / "etc/rescue/release").write_text(f"{__version__}\n")

    installed = root / PACKAGES
    shutil.copytree(wheel_tree, installed)
    shutil.copytree(
        project / "rescue", installed / "rescue", ignore=shutil.ignore_patterns("__pycache__")
    )
    wheels.compile_tree(installed / "rescue", base, Path("/") / PACKAGES / "rescue")


def _settings(recipe: Recipe, base: Base, root: Path) -> None:
    """What the recipe says about time zone, locale, network and who may log in."""
    if recipe.timezone != UTC:
        zone = f"usr/share/zoneinfo/{recipe.timezone}"
        layer = base.path("base.squashfs")
        if not process.run(["unsquashfs", "-l", "-d", "", layer, zone]).text.count(f"/{zone}"):
            raise UsageError(
                f"the recipe's time zone {recipe.timezone!r} is not known",
                hint='allowed: a zone of the tz database, as "Europe/Berlin"',
            )
        (root / "etc/localtime").symlink_to(f"/{zone}")
        (root / "etc/timezone").write_text(f"{recipe.timezone}\n")
    if recipe.locales:
        (root / "etc/default").mkdir()
        (root / "etc/default/locale").write_text(f"LANG={recipe.locales[0]}\n")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    networks = root / "etc/systemd/network"
    if recipe.wifi is not None:
        (networks / "70-wifi.network").write_text(_WIFI)
    if recipe.network.mode != "off" or recipe.wifi is not None:
        (networks / "70-recipe.network").write_text(network_file(recipe.network))
        (wants / "systemd-networkd.service").symlink_to(_UNITS / "systemd-networkd.service")
    if recipe.ssh_authorized_keys:
        (wants / "ssh.service").symlink_to(_UNITS / "ssh.service")


def network_file(network: Network) -> str:
    """systemd.network(5) for the recipe's network."""
    match = f"Name={network.interface}" if network.interface else "Type=ether"
    if network.mode == "off":
        # Only with a Wi-Fi: what manages that one would bring up wired cards, too.
        return f"[Match]\n{match}\n\n[Link]\nUnmanaged=yes\n"
    lines = ["[Match]", match, "", "[Network]", "LLMNR=no", "MulticastDNS=no"]
    if network.mode == "dhcp":
        lines.append("DHCP=yes")
    else:
        lines.append(f"Address={network.address}")
        lines += [f"Gateway={network.gateway}"] if network.gateway else []
        lines += [f"DNS={one}" for one in network.dns]
    return "\n".join((*lines, ""))


def _squash(root: Path, out: Path) -> None:
    process.require("mksquashfs", package="squashfs-tools")
    process.run(
        [
            "mksquashfs",
            root,
            out,
            "-comp",
            "zstd",
            "-Xcompression-level",
            str(_LEVEL),
            "-b",
            _BLOCK,
            "-all-root",
            "-noappend",
            "-no-progress",
            "-quiet",
        ]
    )
