"""The check against real signed programs, a real db and dbx, and a machine's sysfs."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from builder.check import firmware, pe
from builder.usb.payload import load, open_iso
from rescue.core.progress import Silent
from tests.boot import media
from tests.boot.qemu import Firmware

pytestmark = pytest.mark.timeout(900)
SYMBOL = {"SecureBoot": firmware._GLOBAL, "db": firmware._SECURITY, "dbx": firmware._SECURITY}


@pytest.fixture(scope="module")
def iso() -> Path:
    return media.ensure_iso()


def stored(store: bytes, name: str) -> bytes:
    """A variable of OVMF's own store (an authenticated variable store of EDK II)."""
    wanted = name.encode("utf-16-le") + b"\0\0"
    owner = uuid.UUID(SYMBOL[name]).bytes_le
    at = store.index(owner + wanted)
    name_size, data_size = struct.unpack_from("<II", store, at - 8)
    assert name_size == len(wanted)
    return store[at + 16 + name_size : at + 16 + name_size + data_size]


def machine(
    root: Path, *, devices: dict[str, tuple[str, str, str, str]], more: bytes = b""
) -> None:
    """A machine with the keys that OVMF is shipped with, and PCI devices."""
    variables = Firmware.SECURE_BOOT.variables
    assert variables is not None
    store = variables.read_bytes()
    folder = root / firmware.EFI / "efivars"
    folder.mkdir(parents=True)
    (folder.parent / "fw_platform_size").write_text("64\n")
    values = {name: stored(store, name) for name in ("db", "dbx")} | {"SecureBoot": b"\1"}
    values["dbx"] += more
    for name, value in values.items():
        (folder / f"{name}-{SYMBOL[name]}").write_bytes(b"\6\0\0\0" + value)
    for place, (kind, vendor, device, alias) in devices.items():
        one = root / "sys/bus/pci/devices" / place
        one.mkdir(parents=True)
        for name, text in (("class", kind), ("vendor", vendor), ("device", device)):
            (one / name).write_text(f"{text}\n")
        (one / "modalias").write_text(f"{alias}\n")


def check(iso: Path, root: Path) -> tuple[int, list[dict[str, str]]]:
    words = [sys.executable, "-m", "builder.cli.main", "check", iso, "--root", root, "--json"]
    done = subprocess.run(
        list(map(str, words)), cwd=media.ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)["findings"]


LAPTOP = {
    "0000:00:0e.0": ("0x010400", "0x8086", "0x467f", "pci:v00008086d0000467Fsv0sd0bc01sc04i00"),
    "0000:00:17.0": ("0x010601", "0x8086", "0xa352", "pci:v00008086d0000A352sv0sd0bc01sc06i01"),
    "0000:01:00.0": ("0x010802", "0x144d", "0xa808", "pci:v0000144Dd0000A808sv0sd0bc01sc08i02"),
    "0000:02:00.0": ("0x020000", "0x10ec", "0x8168", "pci:v000010ECd00008168sv0sd0bc02sc00i00"),
    "0000:03:00.0": ("0x028000", "0x8086", "0x2725", "pci:v00008086d00002725sv0sd0bc02sc80i00"),
    "0000:00:02.0": ("0x030000", "0x8086", "0x9a49", "pci:v00008086d00009A49sv0sd0bc03sc00i00"),
}


def test_the_digest_is_the_one_that_was_signed(iso: Path) -> None:
    """A signature holds the digest it is of: what is computed here stands in it."""
    with open_iso(iso, Silent()) as opened:
        efi = load(opened).efi
    for name, component in (("BOOTX64", "shim"), ("GRUBX64", "grub"), ("MMX64", "shim")):
        data = efi[f"EFI/BOOT/{name}.EFI"]
        program = pe.parse(name, data)
        assert bytes.fromhex(program.digest) in data, name
        assert program.generations[component] >= 1
        assert program.chains


def test_a_laptop_that_starts_it(iso: Path, tmp_path: Path) -> None:
    machine(tmp_path, devices=LAPTOP)
    status, found = check(iso, tmp_path)
    said = {(one["topic"], one["level"]): one["text"] for one in found}
    assert status == 0, found
    assert "bad" not in {one["level"] for one in found}
    text = "\n".join(one["text"] for one in found)
    for words in ("signed under Microsoft", "[8086:467f]: driver vmd", "[8086:a352]: driver ahci"):
        assert words in text
    assert "[144d:a808]: driver nvme" in text
    assert "[10ec:8168]: driver r8169" in text
    assert "Wi-Fi" in said["network", "note"]


def test_a_machine_that_refuses_it(iso: Path, tmp_path: Path) -> None:
    """The medium's own GRUB in dbx, and a controller that nobody has a driver for."""
    with open_iso(iso, Silent()) as opened:
        grub = pe.parse("GRUB", load(opened).efi["EFI/BOOT/GRUBX64.EFI"])
    more = firmware._SHA256 + struct.pack("<III", 28 + 48, 0, 48) + bytes(16)
    more += bytes.fromhex(grub.digest)
    alien = ("0x010700", "0xabcd", "0x1234", "pci:v0000ABCDd00001234sv0sd0bc01sc07i00")
    machine(tmp_path, devices={"0000:05:00.0": alien}, more=more)
    status, found = check(iso, tmp_path)
    assert status == 21
    bad = [one["text"] for one in found if one["level"] == "bad"]
    assert any("dbx names GRUB" in text for text in bad)
    assert any("[abcd:1234]: the medium has no driver" in text for text in bad)
