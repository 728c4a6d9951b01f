"""What a stick remembers for the machines that it starts: who may log in, and the network.

On the data partition of a stick a folder ``rescue`` may hold

* ``authorized_keys``: lines as in a .pub file. Root's login by these keys, and port 22 with it;
* ``*.network``: systemd.network(5) for wired cards and Wi-Fi, instead of DHCP;
* ``wifi.conf``: wpa_supplicant.conf(5).

systemd calls this for a partition called RESCUE-DATA when it appears. Only the stick that this
system was started from is listened to: a partition of that name on any other disk says nothing.
Whoever can write to the stick decides, as they could replace the whole system on it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rescue.core import process
from rescue.core.errors import RescueError
from rescue.core.sshkey import PUBLIC_KEY
from rescue.devices.discover import list_disks
from rescue.jobs.held import fresh, held

FOLDER = "rescue"
KEYS = "authorized_keys"
WIFI = "wifi.conf"
MAX_FILE = 64 << 10
"""Some hundred keys; a larger file is something else under the same name."""
MAX_NETWORKS = 16
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}\.network")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was found; ``ignored`` says in words what was not taken, and why."""

    keys: tuple[str, ...] = ()
    networks: tuple[tuple[str, str], ...] = ()
    """Name and text of each file."""
    wifi: str = field(default="", repr=False)
    ignored: tuple[str, ...] = ()


def read(root: Path) -> Remembered:
    """Look into the folder on a mounted data partition; nothing there is no error."""
    folder = root / FOLDER
    ignored: list[str] = []
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return Remembered()
    keys: list[str] = []
    for number, line in enumerate(_text(folder, KEYS, names, ignored).splitlines(), start=1):
        if PUBLIC_KEY.fullmatch(line.strip()):
            keys.append(line.strip())
        elif line.strip() and not line.startswith("#"):
            ignored.append(f"{KEYS}, line {number}: not a public key as in a .pub file")
    networks = []
    for name in [name for name in names if _NETWORK.fullmatch(name)][:MAX_NETWORKS]:
        if text := _text(folder, name, names, ignored):
            networks.append((name, text))
    return Remembered(
        tuple(keys), tuple(networks), _text(folder, WIFI, names, ignored), tuple(ignored)
    )


def _text(folder: Path, name: str, names: Iterable[str], ignored: list[str]) -> str:
    """A plain file of the folder; empty when it is not there or cannot be taken."""
    if name not in names:
        return ""
    try:
        # A link could lead to a file of the running system.
        fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("not a plain file")
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE} bytes")
        # Windows writes a mark in front and two characters at each line's end.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        ignored.append(f"{name}: {reason or 'unreadable'}")
        return ""


def lay(found: Remembered, root: Path) -> list[str]:
    """Put it where sshd, systemd-networkd and wpa_supplicant look; the units to start.

    Raises:
        OSError: a file cannot be written.
    """
    units = []
    if found.keys:
        place = root / "root/.ssh"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(place / KEYS, os.O_APPEND) as file:
            file.writelines(f"{key}\n" for key in found.keys)
        units.append("ssh.service")
    place = root / "run/systemd/network"
    place.mkdir(parents=True, exist_ok=True)
    for name, text in found.networks:
        # Before the recipe's own 70-*: what a person put on the stick is newer.
        (place / f"60-stick-{name}").write_text(text)
    if found.wifi:
        place = root / "etc/rescue"
        place.mkdir(parents=True, exist_ok=True)
        with _private(place / WIFI, os.O_TRUNC) as file:
            file.write(found.wifi)
        if not any("wlan" in text or "Name=wl" in text for _, text in found.networks):
            (root / "run/systemd/network/65-stick-wifi.network").write_text(
                "[Match]\nType=wlan\n\n[Network]\nDHCP=yes\nLLMNR=no\nMulticastDNS=no\n"
            )
        cards = sorted((root / "sys/class/net").glob("*/phy80211"))
        units += [f"rescue-wifi@{card.parent.name}.service" for card in cards]
    if units or found.networks:
        units.insert(0, "systemd-networkd.service")
    return units


def _private(path: Path, how: int) -> IO[str]:
    """A file that only root reads."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
    os.fchmod(fd, 0o600)
    return os.fdopen(fd, "w", encoding="utf-8")


def is_of_the_medium(node: Path) -> bool:
    """Whether this system was started from the disk that a partition lies on."""
    disk = fresh(node).disk
    return any(
        one.path == disk and any(use.what == "boot medium" for use in one.uses)
        for one in list_disks()
    )


def take(node: Path) -> list[str]:
    """Take what the partition remembers and start what follows from it; lines for the journal."""
    try:
        if not is_of_the_medium(node):
            return [f"{node}: this system was not started from its disk; it is not listened to"]
        with held(node, writable=False) as place:
            found = read(place.root)
        units = lay(found, Path("/"))
        if units:
            # --no-block: this itself is a job of systemd's.
            process.run(["systemctl", "--no-block", "restart", *units])
    except RescueError as error:
        return [f"{node}: {error.message}"]
    except OSError as error:
        return [f"{node}: {error}"]
    networks = [name for name, _ in found.networks] + ([WIFI] if found.wifi else [])
    return [
        *(f"{FOLDER}/{line}: ignored" for line in found.ignored),
        f"{node}: {len(found.keys)} keys; {', '.join(networks) or 'no network'}",
    ]
