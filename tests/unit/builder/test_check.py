"""What a check says of firmware and devices, for machines of every kind."""

from __future__ import annotations

import datetime
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from builder.check import devices, firmware, pe
from builder.check.devices import Device, Drivers
from builder.check.findings import Finding, Level
from builder.check.firmware import Trust
from builder.check.pe import Program
from rescue.core.errors import ImageDamaged


def certificate(name: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2026, 1, 1)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    made = made.public_key(key.public_key()).serial_number(7).not_valid_before(now)
    return made.not_valid_after(now.replace(year=2030)).sign(key, hashes.SHA256())


CA = certificate("Microsoft Corporation UEFI CA 2011")
PRINT = hashlib.sha256(CA.public_bytes(Encoding.DER)).hexdigest()
SHIM = Program("shim", "aa" * 32, ((CA,),), {"sbat": 1, "shim": 4})
GRUB = Program("GRUB", "bb" * 32, (), {"sbat": 1, "grub": 5, "grub.debian": 5})
TRUST = Trust("uefi", True, {PRINT: "Microsoft Corporation UEFI CA 2011"}, frozenset(), None)


def worst(found: list[Finding]) -> Level:
    levels = {one.level for one in found}
    return next(level for level in (Level.BAD, Level.NOTE, Level.OK) if level in levels)


def judged(trust: Trust, shim: Program = SHIM, grub: Program = GRUB) -> tuple[Level, str]:
    found = firmware.judge(trust, shim, grub)
    return worst(found), "\n".join(f"{one.text} {one.hint}" for one in found)


def test_a_machine_that_starts_the_medium() -> None:
    level, said = judged(TRUST)
    assert level is Level.OK
    assert "under Microsoft Corporation UEFI CA 2011" in said
    assert judged(Trust("bios"))[0] is Level.OK


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "uefi32"}, "32-bit UEFI"),
        ({"allowed": {"00" * 32: "Another CA"}}, "db has none of shim's signers (Microsoft"),
        ({"refused": frozenset({PRINT})}, "db has none of shim's signers"),
        ({"refused": frozenset({"aa" * 32})}, "dbx names shim"),
        ({"refused": frozenset({"bb" * 32})}, "dbx names GRUB"),
        ({"level": {"sbat": 1, "shim": 5}}, "shim is too old (SBAT): shim 4, and 5 is asked for"),
        ({"level": {"grub.debian": 6}}, "GRUB is too old (SBAT): grub.debian 5, and 6"),
    ],
)
def test_what_keeps_it_from_starting(change: dict[str, object], said: str) -> None:
    trust = replace(TRUST, **change)  # type: ignore[arg-type]
    level, text = judged(trust)
    assert level is Level.BAD
    assert said in text
    if trust.kind == "uefi":
        # The same with Secure Boot off is worth a note, and the medium starts.
        level, text = judged(replace(trust, enforced=False))
        assert level is Level.NOTE
        assert "when Secure Boot is switched on" in text


def test_what_cannot_be_seen_is_said() -> None:
    assert "run this as root" in judged(replace(TRUST, enforced=None))[1]
    assert "db is not seen" in judged(replace(TRUST, allowed=None))[1]
    level, text = judged(TRUST, grub=replace(GRUB, generations={}))
    assert level is Level.BAD
    assert "says no generations" in text


def signature_list(kind: bytes, *entries: bytes) -> bytes:
    each = 16 + len(entries[0])
    head = struct.pack("<III", 28 + each * len(entries), 0, each)
    return kind + head + b"".join(bytes(16) + entry for entry in entries)


def machine(root: Path, variables: dict[str, bytes]) -> None:
    folder = root / firmware.EFI / "efivars"
    folder.mkdir(parents=True)
    (folder.parent / "fw_platform_size").write_text("64\n")
    for name, value in variables.items():
        (folder / name).write_bytes(b"\7\0\0\0" + value)


def test_the_variables_of_a_machine(tmp_path: Path) -> None:
    der = CA.public_bytes(Encoding.DER)
    owner = firmware._SECURITY
    machine(
        tmp_path,
        {
            f"SecureBoot-{firmware._GLOBAL}": b"\1",
            f"db-{owner}": signature_list(firmware._X509, der),
            f"dbx-{owner}": signature_list(firmware._SHA256, b"\1" * 32, b"\2" * 32)
            + signature_list(firmware._X509, der),
            f"SbatLevelRT-{firmware._SHIM}": b"sbat,1,2024010900\nshim,4\ngrub,3\n\0",
        },
    )
    trust = firmware.read(tmp_path)
    assert trust == Trust(
        "uefi",
        True,
        {PRINT: "Microsoft Corporation UEFI CA 2011"},
        frozenset({"01" * 32, "02" * 32, PRINT}),
        {"sbat": 1, "shim": 4, "grub": 3},
    )
    assert firmware.read(tmp_path / "none") == Trust("bios")


def test_a_list_of_signatures_that_makes_no_sense(tmp_path: Path) -> None:
    good = signature_list(firmware._SHA256, b"\1" * 32)
    for bad in (good[:-1], good[:16] + b"\xff" * 12 + good[28:], good[:24] + bytes(4) + good[28:]):
        with pytest.raises(ImageDamaged):
            list(firmware.signatures(bad))


def test_what_is_no_signed_program() -> None:
    for data in (b"", b"MZ" + bytes(100), bytes(0x3C) + b"\xff\xff\0\0" + bytes(200)):
        with pytest.raises(ImageDamaged):
            pe.parse("x", data)


AHCI = "pci:v00008086d0000A352sv00001028sd000008B9bc01sc06i01"
ALIASES = devices.parse_aliases(
    "alias pci:v*d*sv*sd*bc01sc06i01* ahci\n"
    "alias pci:v00008086d0000282Asv*sd*bc*sc*i* ahci\n"
    "alias pci:v00008086d0000467Fsv*sd*bc*sc*i* vmd\n"
    "alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\n"
    "alias usb:v1234p* other\n"
)


def device(kind: int, alias: str) -> Device:
    return Device("0000:00:17.0", kind, int(alias[5:13], 16), int(alias[14:22], 16), alias)


def drivers(*firmware_there: str) -> Drivers:
    asks = {"r8169": ("rtl_nic/rtl8168h-2.fw",)}
    return Drivers(ALIASES, frozenset(firmware_there), lambda name: asks.get(name, ()))


@pytest.mark.parametrize(
    ("kind", "alias", "level", "said"),
    [
        (0x0106, AHCI, Level.OK, "driver ahci"),
        (0x0104, "pci:v00008086d0000282Asv0sd0bc01sc04i00", Level.NOTE, "RAID mode (Intel RST)"),
        (0x0104, "pci:v00008086d0000467Fsv0sd0bc01sc04i00", Level.OK, "driver vmd"),
        (0x0104, "pci:v00001000d00000001sv0sd0bc01sc04i00", Level.BAD, "no driver"),
        (0x0805, "pci:v00001000d00000002sv0sd0bc08sc05i01", Level.BAD, "no driver"),
        (0x0280, "pci:v00008086d00000003sv0sd0bc02sc80i00", Level.NOTE, "Wi-Fi"),
        (0x0200, "pci:v00008086d00000004sv0sd0bc02sc00i00", Level.NOTE, "no driver"),
        (0x0300, "pci:v00008086d00000005sv0sd0bc03sc00i00", Level.OK, "firmware's own picture"),
    ],
)
def test_a_device(kind: int, alias: str, level: Level, said: str) -> None:
    one = device(kind, alias)
    (found, *_) = devices.judge([one], drivers())
    assert found.level is level
    assert said in found.text


def test_a_driver_without_its_firmware() -> None:
    card = device(0x0200, "pci:v000010ECd00008168sv0sd0bc02sc00i00")
    assert devices.judge([card], drivers())[0].level is Level.NOTE
    assert devices.judge([card], drivers("rtl_nic/rtl8168h-2.fw"))[0].level is Level.OK
    assert devices.judge([card], drivers("rtl_nic/rtl8168h-2.fw.xz"))[0].level is Level.OK
    assert devices.parse_modinfo(b"\0x=1\0firmware=a/b.bin\0firmware=c\0") == ("a/b.bin", "c")


def test_what_is_built_in() -> None:
    found = devices.parse_builtin("kernel/drivers/virtio/virtio_pci.ko\nkernel/x/y.ko\n")
    assert ("pci:v00001AF4d*", "virtio_pci") in found
    assert devices.parse_builtin("kernel/x/y.ko\n") == []
    assert devices.judge([], drivers())[0].level is Level.NOTE
