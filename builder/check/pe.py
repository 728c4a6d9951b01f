"""A signed EFI program: what it hashes to for Secure Boot, its certificates, its generations.

After Microsoft's "Windows Authenticode Portable Executable Signature Format" and shim's SBAT.md.
Only what is asked here is parsed, and every offset is checked.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from rescue.core.errors import ImageDamaged

_CHECKSUM = 88
_CERTIFICATES = 168
"""Offsets from the PE header, in a 64-bit program."""
_SECTION = 40
_PKCS = 2


@dataclass(frozen=True, slots=True)
class Program:
    """An EFI program.

    Attributes:
        digest: SHA-256 as Secure Boot takes it, which leaves out checksum and signatures.
        chains: the certificates of each signature.
        generations: the components of its .sbat section, and the generation of each.
    """

    name: str
    digest: str
    chains: tuple[tuple[x509.Certificate, ...], ...]
    generations: dict[str, int]


def parse(name: str, data: bytes) -> Program:
    """Read a program.

    Raises:
        ImageDamaged: it is no signed 64-bit EFI program.
    """
    try:
        header = struct.unpack_from("<I", data, 0x3C)[0]
        magic = struct.unpack_from("<H", data, header + 24)[0]
        if data[header : header + 4] != b"PE\0\0" or magic != 0x20B:
            raise ImageDamaged(f"{name} is not a 64-bit EFI program")
        start, length = struct.unpack_from("<II", data, header + _CERTIFICATES)
        if not start or start + length > len(data):
            raise ImageDamaged(f"{name} is not signed")
        first, second = header + _CHECKSUM, header + _CERTIFICATES
        body = data[:first] + data[first + 4 : second] + data[second + 8 : start]
        digest = hashlib.sha256(body).hexdigest()
        chains = tuple(_chains(data[start : start + length]))
        return Program(name, digest, chains, sbat(_section(data, header, b".sbat")))
    except (struct.error, ValueError) as error:
        raise ImageDamaged(f"{name} cannot be read: {error}") from error


def _chains(table: bytes) -> list[tuple[x509.Certificate, ...]]:
    """The certificates in a table of signatures (WIN_CERTIFICATE)."""
    found = []
    at = 0
    while at + 8 <= len(table):
        length, _, kind = struct.unpack_from("<IHH", table, at)
        if length < 8:
            break
        if kind == _PKCS:
            with warnings.catch_warnings():
                # The padding to eight bytes behind a signature is no damage.
                warnings.simplefilter("ignore")
                found.append(tuple(pkcs7.load_der_pkcs7_certificates(table[at + 8 : at + length])))
        at += -(-length // 8) * 8
    return found


def _section(data: bytes, header: int, wanted: bytes) -> str:
    """A section as text, without what pads it; empty when there is none."""
    count = struct.unpack_from("<H", data, header + 6)[0]
    optional = struct.unpack_from("<H", data, header + 20)[0]
    for number in range(count):
        at = header + 24 + optional + number * _SECTION
        name, size, _, raw, place = struct.unpack_from("<8sIIII", data, at)
        if name.rstrip(b"\0") == wanted:
            text = data[place : place + min(size, raw)]
            return text.split(b"\0")[0].decode("ascii", "replace")
    return ""


def sbat(text: str) -> dict[str, int]:
    """Component to generation, from the lines of a .sbat section or of a level."""
    found = {}
    for line in text.splitlines():
        words = line.split(",")
        if len(words) >= 2 and words[1].strip().isdecimal():
            found[words[0].strip()] = int(words[1])
    return found
