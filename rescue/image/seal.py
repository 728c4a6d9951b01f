"""Sealing: AES-256-GCM over a record's payload, under a key of its segment.

docs/format.md, "Encryption". A random master key belongs to a chain of images. Each segment (one
process that wrote) has a random salt and its own key by HKDF; a resumed capture opens a new segment
and so never continues an old key. The nonce is the record's type and number, which together occur
once in a segment. A commitment in the segment record makes a wrong key an error by itself.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rescue.core.errors import ImageDamaged, ImageLocked

TAG_SIZE = 16
SALT_SIZE = 32
_NONCE = struct.Struct("<B3xQ")


def derive(secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


@dataclass(frozen=True, slots=True)
class Namer:
    """Names chunk contents: BLAKE3, keyed in a sealed image so that nobody can guess contents."""

    key: bytes = b""

    def __call__(self, content: bytes | bytearray | memoryview) -> bytes:
        """32 bytes."""
        if self.key:
            return blake3(content, key=self.key).digest()
        return blake3(content).digest()


def namer_of(master: bytes) -> Namer:
    """The namer of a chain with this master key; empty for one that is not sealed."""
    return Namer(derive(master, b"", b"rescue 1 content")) if master else Namer()


class Sealer:
    """Seals and opens the records of one segment."""

    __slots__ = ("_aead", "_image_id", "commitment", "salt")

    def __init__(self, master: bytes, image_id: bytes, segment: int, salt: bytes = b"") -> None:
        """Derive the segment's key; a new random salt where none is given."""
        self.salt = salt or os.urandom(SALT_SIZE)
        info = b"rescue 1 segment" + image_id + struct.pack("<I", segment)
        material = derive(master, self.salt, info, 64)
        self._aead = AESGCM(material[:32])
        self.commitment = material[32:]
        self._image_id = image_id

    def check(self, commitment: bytes) -> None:
        """Make sure that this is the key the segment was written with.

        Raises:
            ImageLocked: it is another one.
        """
        if not hmac.compare_digest(self.commitment, commitment):
            raise ImageLocked("the key does not fit this image")

    def seal(self, head: bytes, kind: int, number: int, payload: bytes) -> bytes:
        """Payload and tag; ``head`` is the first 32 bytes of the record, bound to it."""
        return self._aead.encrypt(_NONCE.pack(kind, number), payload, head + self._image_id)

    def open(self, head: bytes, kind: int, number: int, payload: bytes | memoryview) -> bytes:
        """The payload as it was before sealing.

        Raises:
            ImageDamaged: it, its header or its place is not what was sealed.
        """
        try:
            return self._aead.decrypt(_NONCE.pack(kind, number), payload, head + self._image_id)
        except InvalidTag as error:
            raise ImageDamaged("a sealed record was changed") from error
