"""The recipe's networks: wired cards, and one Wi-Fi with its passphrase.

The passphrase is never part of a message: what is refused about it is told without it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from builder.recipe_values import Table

_LINK = re.compile(r"[A-Za-z0-9*?._-]{1,15}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_MOST_SSID = 32
"""Bytes of a network's name (IEEE 802.11, the SSID element)."""
_PASSPHRASE = re.compile(r"[\x20-\x7e]{8,63}")
"""IEEE 802.11, annex J.4: 8 to 63 printable characters."""


@dataclass(frozen=True, slots=True)
class Network:
    """Which wired network is there from the start; "off" until somebody starts it."""

    mode: Literal["off", "dhcp", "static"] = "off"
    interface: str = ""
    """A name or pattern of the card; every wired one without it."""
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wifi:
    """A wireless network that is joined from the start."""

    ssid: str
    passphrase: str = field(repr=False)
    """For WPA2 and WPA3 personal."""
    country: str = ""
    """Where the machine is, for the channels that are allowed there."""


def wired(table: Table, default: str) -> Network:
    """The table ``network``."""
    inner = table.table("network", ["mode", "interface", "address", "gateway", "dns"])
    mode = inner.choice("mode", default, ("off", "dhcp", "static"))
    for key in ("address", "gateway", "dns"):
        if key in inner and mode != "static":
            raise inner.refuse(key, "is for a static network", 'set mode = "static"')
    if mode == "static" and "address" not in inner:
        raise inner.refuse("mode", "a static network has an address", 'address = "192.0.2.7/24"')
    address = inner.text("address", "", None, "")
    gateway = inner.text("gateway", "", None, "")
    dns = inner.texts("dns")
    if address:
        _address(inner, "address", address, ipaddress.ip_interface, "192.0.2.7/24")
        if "/" not in address:
            raise inner.refuse("address", f"{address!r} has no length of its net", "192.0.2.7/24")
    if gateway:
        _address(inner, "gateway", gateway, ipaddress.ip_address, "192.0.2.1")
    for one in dns:
        _address(inner, "dns", one, ipaddress.ip_address, "192.0.2.53")
    interface = inner.text("interface", "", _LINK, 'a name or a pattern: "enp3s0", "en*"')
    return Network(cast(Literal["off", "dhcp", "static"], mode), interface, address, gateway, dns)


def _address(table: Table, key: str, value: str, parser: Any, example: str) -> None:
    try:
        parser(value)
    except ValueError as error:
        raise table.refuse(key, f"{value!r} is not an address", f"as in {example}") from error


def wireless(table: Table, folder: Path) -> Wifi | None:
    """The table ``wifi``; a file with the passphrase is taken from the recipe's own folder."""
    if "wifi" not in table:
        return None
    inner = table.table("wifi", ["ssid", "passphrase", "passphrase_file", "country"])
    ssid = inner.text("ssid", "", None, "the network's name")
    if not 1 <= len(ssid.encode()) <= _MOST_SSID:
        raise inner.refuse("ssid", "is not a network's name", f"1 to {_MOST_SSID} bytes")
    if ("passphrase" in inner) == ("passphrase_file" in inner):
        key = "passphrase" if "passphrase" in inner else "ssid"
        raise inner.refuse(
            key, "one of passphrase and passphrase_file is needed", 'passphrase_file = "wifi.txt"'
        )
    return Wifi(
        ssid,
        _passphrase(inner, folder),
        inner.text("country", "", _COUNTRY, 'two capital letters: "DE"'),
    )


def _passphrase(inner: Table, folder: Path) -> str:
    key = "passphrase"
    found = inner.text(key, "", None, "a passphrase")
    if "passphrase_file" in inner:
        key = "passphrase_file"
        path = folder / inner.text(key, "", None, "a file beside the recipe")
        try:
            with path.open("rb") as file:
                found = file.read(200).decode(errors="replace").removesuffix("\n")
        except OSError as error:
            raise inner.refuse(
                key, f"{path} cannot be read", "name a file beside the recipe"
            ) from error
    if not _PASSPHRASE.fullmatch(found):
        # Not with what was found: it may be a passphrase with a slip of the finger.
        raise inner.refuse(key, "is not a passphrase", "8 to 63 printable ASCII characters")
    return found
