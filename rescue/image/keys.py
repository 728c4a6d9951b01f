"""Secrets that open a sealed image, and how they are written down.

A recovery key is 256 random bits in 14 groups of four characters (base32 without the letters that
are mistaken for others), the last ones a checksum, so that a slip of the pen is noticed before it
is tried. A private key (``rescue key new``) and its public half are one line of text each.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from rescue.core.errors import ImageDamaged, ImageLocked, UsageError
from rescue.image import slots
from rescue.image.header import SLOT_SIZE, SLOTS, Header
from rescue.image.slots import Kind, Slot, parse_slots

# Crockford's base32: no I, L, O, U.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("ILO", "110")
_SECRET_PREFIX = "RESCUE-SECRET-KEY-"
_PUBLIC_PREFIX = "rescue-public-key-"
_CHECK_BYTES = 3
_GROUP = 4


@dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """Something a person remembers, as UTF-8 bytes."""

    text: bytes


@dataclass(frozen=True, slots=True, repr=False)
class RecoveryKey:
    """32 random bytes that were written down."""

    secret: bytes


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """The private half of a recipient, 32 bytes."""

    secret: bytes

    @property
    def public(self) -> bytes:
        """The public half."""
        return X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()


Secret = Passphrase | RecoveryKey | PrivateKey


def new_recovery_key() -> RecoveryKey:
    """A new random one."""
    return RecoveryKey(os.urandom(32))


def new_private_key() -> PrivateKey:
    """A new random one."""
    return PrivateKey(X25519PrivateKey.generate().private_bytes_raw())


def _encode(data: bytes) -> str:
    data += blake3(b"rescue key" + data).digest()[:_CHECK_BYTES]
    value = int.from_bytes(data)
    count = -(-len(data) * 8 // 5)
    return "".join(_ALPHABET[value >> 5 * (count - 1 - i) & 31] for i in range(count))


def _decode(text: str, what: str) -> bytes:
    """32 bytes with their checksum from base32."""
    letters = text.upper().translate(_MISREAD)
    size = 32 + _CHECK_BYTES
    wrong = UsageError(f"this is not a {what}", hint="a character is missing or mistaken")
    if len(letters) != -(-size * 8 // 5) or any(letter not in _ALPHABET for letter in letters):
        raise wrong
    value = 0
    for letter in letters:
        value = value << 5 | _ALPHABET.index(letter)
    if value >> 8 * size:
        raise wrong
    data = value.to_bytes(size)
    if blake3(b"rescue key" + data[:32]).digest()[:_CHECK_BYTES] != data[32:]:
        raise wrong
    return data[:32]


def recovery_words(key: RecoveryKey) -> str:
    """The recovery key as a person writes it down: 14 groups of four characters."""
    text = _encode(key.secret)
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def parse_recovery(text: str) -> RecoveryKey:
    """Read a recovery key back; spaces, dashes and small letters do not matter.

    Raises:
        UsageError: it is not one; the text is not repeated.
    """
    return RecoveryKey(_decode("".join(text.split()).replace("-", ""), "recovery key"))


def secret_line(key: PrivateKey) -> str:
    """A private key as a line of text."""
    return _SECRET_PREFIX + _encode(key.secret)


def public_line(key: PrivateKey) -> str:
    """The public half as a line of text, for ``--recipient``."""
    return _PUBLIC_PREFIX + _encode(key.public).lower()


def parse_secret(text: str) -> PrivateKey:
    """Read a private key back.

    Raises:
        UsageError: it is not one; the text is not repeated.
    """
    if not text.startswith(_SECRET_PREFIX):
        raise UsageError("this is not a private key", hint="make one with: rescue key new FILE")
    return PrivateKey(_decode(text.removeprefix(_SECRET_PREFIX), "private key"))


def parse_public(text: str) -> bytes:
    """Read a public key: 32 bytes.

    Raises:
        UsageError: it is not one.
    """
    text = text.strip()
    if not text.lower().startswith(_PUBLIC_PREFIX):
        raise UsageError(
            "this is not a public key", hint=f"a recipient begins with {_PUBLIC_PREFIX}"
        )
    public = _decode(text[len(_PUBLIC_PREFIX) :], "public key")
    X25519PublicKey.from_public_bytes(public)
    return public


def opens(slot: Slot, secret: Secret) -> bytes | None:
    """The master key, when this secret opens this slot."""
    key: bytes | None = None
    if slot.kind is Kind.PASSPHRASE and isinstance(secret, Passphrase):
        key = slots.passphrase_key(secret.text, slot.salt, slot.cost)
    elif slot.kind is Kind.RECOVERY and isinstance(secret, RecoveryKey):
        key = slots.recovery_key(secret.secret, slot.salt)
    elif slot.kind is Kind.RECIPIENT and isinstance(secret, PrivateKey):
        try:
            private = X25519PrivateKey.from_private_bytes(secret.secret)
            shared = private.exchange(X25519PublicKey.from_public_bytes(slot.public))
        except ValueError as error:  # a public key of small order
            raise ImageDamaged("a key slot holds a public key that is none") from error
        key = slots.shared_key(shared, slot.salt, slot.public, secret.public)
    return slot.unwrap(key) if key is not None else None


def unlock(header: Header, secrets: Sequence[Secret]) -> bytes:
    """The master key of a sealed image.

    Raises:
        ImageLocked: none of the secrets opens it.
        ImageDamaged: the slots are not whole or ask for too much.
    """
    found = parse_slots(header.slots)
    for secret in secrets:
        for slot in found:
            master = opens(slot, secret)
            if master is not None:
                return master
    if not secrets:
        raise ImageLocked(
            "the image is encrypted",
            hint="give --passphrase-file, --recovery-key-file or --key-file",
        )
    raise ImageLocked(
        "no key slot of the image is opened by this passphrase or key",
        hint="look at the keyboard's layout and capitals; the recovery key opens it as well",
    )


def slot_area(filled: Sequence[Slot]) -> bytes:
    """The key slot area of a header.

    Raises:
        UsageError: more slots than there is room for.
    """
    if len(filled) > SLOTS:
        raise UsageError(f"an image has room for {SLOTS} keys")
    return b"".join(slot.to_bytes() for slot in filled).ljust(SLOT_SIZE * SLOTS, b"\0")
