"""What a machine's firmware trusts, and whether it starts the programs of a medium.

``/sys/firmware/efi/efivars`` is only read. Signature lists after the UEFI specification (32.4.1).
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from builder.check.findings import Finding, Level
from builder.check.pe import Program, sbat
from rescue.core.errors import ImageDamaged

EFI = Path("sys/firmware/efi")
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
_SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072").bytes_le
_SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328").bytes_le
_MAX = 1 << 20
TOPIC = "secure boot"


@dataclass(frozen=True, slots=True)
class Trust:
    """What Secure Boot goes by; None where the firmware does not say.

    Attributes:
        kind: "bios", "uefi" or "uefi32".
        enforced: signatures are checked.
        allowed: fingerprint (SHA-256) of each certificate of db, to its name.
        refused: hashes of programs, and fingerprints of certificates, of dbx.
        level: component to the least generation that shim starts.
    """

    kind: str
    enforced: bool | None = None
    allowed: dict[str, str] | None = None
    refused: frozenset[str] | None = None
    level: dict[str, int] | None = None


def read(root: Path) -> Trust:
    """Ask the firmware; ``root``: of the machine's filesystem."""
    folder = root / EFI
    if not folder.is_dir():
        return Trust("bios")
    size = _text(folder / "fw_platform_size")
    mode = _variable(folder, "SecureBoot", _GLOBAL)
    allowed = _variable(folder, "db", _SECURITY)
    refused = _variable(folder, "dbx", _SECURITY)
    level = _variable(folder, "SbatLevelRT", _SHIM)
    return Trust(
        "uefi32" if size == "32" else "uefi",
        None if mode is None else mode[:1] == b"\1",
        None if allowed is None else _certificates(allowed),
        None if refused is None else _refused(refused),
        None if level is None else sbat(level.split(b"\0")[0].decode("ascii", "replace")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _variable(folder: Path, name: str, owner: str) -> bytes | None:
    """The value of a variable, behind its four bytes of attributes."""
    try:
        with (folder / "efivars" / f"{name}-{owner}").open("rb") as file:
            return file.read(_MAX)[4:]
    except OSError:
        return None


def signatures(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each entry of a signature database.

    Raises:
        ImageDamaged: its lengths make no sense.
    """
    at = 0
    while at + 28 <= len(data):
        kind = data[at : at + 16]
        whole, head, each = struct.unpack_from("<III", data, at + 16)
        if each <= 16 or whole < 28 + head or at + whole > len(data):
            raise ImageDamaged("the firmware's list of signatures cannot be read")
        for start in range(at + 28 + head, at + whole - each + 1, each):
            yield kind, data[start + 16 : start + each]
        at += whole


def _certificates(data: bytes) -> dict[str, str]:
    found = {}
    for kind, content in signatures(data):
        if kind == _X509:
            found[hashlib.sha256(content).hexdigest()] = _name(content)
    return found


def _refused(data: bytes) -> frozenset[str]:
    return frozenset(
        content.hex() if kind == _SHA256 else hashlib.sha256(content).hexdigest()
        for kind, content in signatures(data)
        if kind in (_SHA256, _X509)
    )


def _name(data: bytes) -> str:
    try:
        return _common(x509.load_der_x509_certificate(data).subject)
    except ValueError:
        return "a certificate that cannot be read"


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def judge(trust: Trust, shim: Program, grub: Program) -> list[Finding]:
    """Whether the firmware starts shim, and shim starts GRUB."""
    if trust.kind == "bios":
        return [
            Finding("firmware", Level.OK, "this machine was started by BIOS; the medium does, too")
        ]
    if trust.kind == "uefi32":
        words = "the firmware is a 32-bit UEFI, and the medium has only 64-bit programs"
        return [Finding("firmware", Level.BAD, words, "start it by BIOS, if the firmware can")]
    found = [Finding("firmware", Level.OK, "64-bit UEFI")]
    if trust.enforced is None:
        hint = "run this as root"
        return [*found, Finding(TOPIC, Level.NOTE, "the firmware's variables are not seen", hint)]
    if not trust.enforced:
        found.append(Finding(TOPIC, Level.OK, "off: any medium starts"))
    when = "" if trust.enforced else " when Secure Boot is switched on"
    problem = Level.BAD if trust.enforced else Level.NOTE
    found.append(_signed(trust, shim, problem, when))
    for program in (shim, grub):
        if trust.refused is not None and program.digest in trust.refused:
            words = f"dbx names {program.name}: the firmware refuses it{when}"
            hint = "build the medium anew, with the packages of today"
            found.append(Finding(TOPIC, problem, words, hint))
        found.append(_generation(trust, program, problem, when))
    return found


def _signed(trust: Trust, shim: Program, problem: Level, when: str) -> Finding:
    """Whether one of shim's signatures leads to a certificate of db."""
    if trust.allowed is None:
        return Finding(TOPIC, Level.NOTE, "db is not seen: whom the firmware trusts is not known")
    refused = trust.refused or frozenset()
    signers = []
    for chain in shim.chains:
        prints = {hashlib.sha256(_der(one)).hexdigest() for one in chain}
        names = {_common(one.issuer) for one in chain} | {_common(one.subject) for one in chain}
        signers.append(_common(chain[0].issuer) if chain else "?")
        if prints & refused:
            continue
        for digest, name in trust.allowed.items():
            if (digest in prints or name in names) and digest not in refused:
                return Finding(TOPIC, Level.OK, f"shim is signed under {name}, which db has")
    words = f"db has none of shim's signers ({', '.join(signers)}): it does not start{when}"
    hint = "allow Microsoft's third-party UEFI CA in the firmware's settings"
    return Finding(TOPIC, problem, words, hint)


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _generation(trust: Trust, program: Program, problem: Level, when: str) -> Finding:
    """Whether the generations of a program reach what shim asks for on this machine."""
    own = ", ".join(f"{name} {number}" for name, number in program.generations.items())
    if not program.generations:
        return Finding(TOPIC, problem, f"{program.name} says no generations (SBAT): refused{when}")
    if trust.level is None:
        words = f"{program.name} has the generations {own}; this machine asks for none yet"
        return Finding(TOPIC, Level.OK, words)
    old = [
        f"{name} {program.generations[name]}, and {least} is asked for"
        for name, least in trust.level.items()
        if program.generations.get(name, least) < least
    ]
    if old:
        hint = "build the medium anew, with the packages of today"
        words = f"{program.name} is too old (SBAT): {'; '.join(old)}{when}"
        return Finding(TOPIC, problem, words, hint)
    return Finding(TOPIC, Level.OK, f"{program.name} has the generations {own}: new enough")
