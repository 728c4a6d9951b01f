"""A medium with a Wi-Fi in its recipe joins it, by WPA2 and by WPA3, and is given an address.

The kernel's simulated radios (mac80211_hwsim) stand in for cards: two of them in one virtual
machine, which hear each other. On one wpa_supplicant is the access point and systemd-networkd the
DHCP server; the other is left to the medium. It counts as joined when the medium's card has an
address of that network, given over the air; and with another passphrase in the recipe it must not.

    ci/torture wifi [--folder DIR]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

from rescue.core.process import run
from tests.boot import accelerator as accelerators
from tests.boot import lines, media
from tests.boot.debian import ensure_base
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Firmware, Machine

_NAME, _SECRET = "Müllers Netz", "correct horse battery"
_RECIPE = """
variant = "standard"
[wifi]
ssid = "{name}"
passphrase = "{secret}"
"""
_ADDRESS = "[Match]\nName=wlan1\n\n[Network]\nAddress=10.9.0.1/24\nDHCPServer=yes\n"
_POINT = """network={{
    ssid={name}
    mode=2
    frequency=2412
    psk="{secret}"
    proto=RSN
    pairwise=CCMP
    {kind}
}}
"""
_KINDS = {"WPA2": "key_mgmt=WPA-PSK", "WPA3": "key_mgmt=SAE\n    ieee80211w=2"}


def _do(guest: Guest, line: str) -> str:
    status, text = guest.shell(line, 60)
    assert status == 0, (line, text)
    return text


def _write(guest: Guest, path: str, text: str) -> None:
    _do(guest, f"printf %b {shlex.quote(text.replace(chr(10), chr(92) + 'n'))} > {path}")


def point(guest: Guest, kind: str) -> None:
    """Make the second radio the access point, and its network's DHCP server."""
    _do(guest, "mkdir -p /run/systemd/network")
    _write(guest, "/run/systemd/network/10-point.network", _ADDRESS)
    text = _POINT.format(name=_NAME.encode().hex(), secret=_SECRET, kind=_KINDS[kind])
    _write(guest, "/run/point.conf", text)
    _do(guest, "networkctl reload; modprobe mac80211_hwsim radios=2; udevadm settle")
    # The medium takes both cards for its own.
    _do(guest, "systemctl mask --runtime --now rescue-wifi@wlan1; sleep 1")
    _do(guest, "wpa_supplicant -B -D nl80211 -i wlan1 -c /run/point.conf")


def address(guest: Guest, seconds: float) -> str:
    """The address that the medium's card was given, or nothing."""
    until = time.monotonic() + seconds
    found = ""
    while not found and time.monotonic() < until:
        time.sleep(2)
        found = guest.shell("ip -4 -o address show dev wlan0 scope global", 60)[1].strip()
    return found


def one(iso: Path, kind: str, accelerator: Accelerator) -> str:
    """Start the medium beside the access point; the address it was given."""
    log = media.ROOT / "build" / f"torture-wifi-{kind}.log"
    with Guest(
        Machine(Firmware.BIOS, (media.disc(iso),), 2048, processors=2), accelerator, log
    ) as guest:
        guest.expect(media.READY, 60)
        guest.expect(lines.MENU, 60)
        media.root_shell(guest)
        point(guest, kind)
        found = address(guest, 40 * accelerator.patience)
        journal = _do(guest, "journalctl -b --no-pager -u rescue-wifi@wlan0 -o cat | tail -n 5")
        print(f"{kind}: {found or 'no address'}\n{journal.strip()}", flush=True)
    return found


def _medium(folder: Path, name: str, secret: str) -> Path:
    recipe, iso = folder / f"{name}.toml", folder / f"{name}.iso"
    recipe.write_text(_RECIPE.format(name=_NAME, secret=secret))
    words = [sys.executable, "-m", "builder.cli.main", "iso", iso, "--recipe", recipe]
    run(words, cwd=media.ROOT, timeout=1200)
    return iso


def main() -> int:
    """Both kinds with the right passphrase, one with a wrong one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the media are made")
    asked = parser.parse_args()
    base = ensure_base()
    accelerator = accelerators.choose(base.kernel, base.initrd)
    with tempfile.TemporaryDirectory(prefix="wifi-", dir=asked.folder) as name:
        right = _medium(Path(name), "right", _SECRET)
        joined = [one(right, kind, accelerator) for kind in _KINDS]
        right.unlink()
        wrong = one(_medium(Path(name), "wrong", _SECRET + "!"), "WPA2", accelerator)
    if not all(" 10.9.0." in found for found in joined) or wrong:
        print("error: not joined where it should be, or joined where it should not")
        return 1
    print("joined by WPA2 and WPA3, and not with another passphrase")
    return 0


if __name__ == "__main__":
    sys.exit(main())
