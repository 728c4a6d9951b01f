"""Key slots: the master key of an image, wrapped once for each way to open it.

docs/format.md, "Key slots". 16 slots of 160 bytes in the header of part 0, little-endian::

    offset size
         0    1  kind: 0 empty, 1 passphrase, 2 recovery key, 3 X25519 recipient
         1    3  zero
         4    4  Argon2id memory in KiB (kind 1, else 0)
         8    4  Argon2id passes
        12    4  Argon2id lanes
        16   32  salt
        48   32  ephemeral X25519 public key (kind 3, else zero)
        80   12  nonce
        92   48  master key under AES-256-GCM, with its tag
       140   20  zero

Nothing in a slot names the image: an incremental image takes over the slots of its parent, whose
master key it shares. Slots of another chain lead to a master key that no segment's commitment fits.

Limits on what a header may ask of Argon2id: 1 GiB of memory, 16 passes, 16 lanes. A header is not
trusted, and one that asks for more is refused before anything is reserved.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from rescue.core.errors import ImageDamaged, ImageUnsupported
from rescue.image.header import SLOT_SIZE, SLOTS
from rescue.image.seal import derive

MAX_MEMORY_KIB = 1 << 20
MAX_PASSES = 16
MAX_LANES = 16
_FIXED = struct.Struct("<B3sIII32s32s12s48s20s")


class Kind(IntEnum):
    """How a slot is opened."""

    EMPTY = 0
    PASSPHRASE = 1
    RECOVERY = 2
    RECIPIENT = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What deriving a key from a passphrase costs: Argon2id, RFC 9106."""

    memory_kib: int = 256 << 10
    passes: int = 3
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class Slot:
    """One key slot in memory."""

    kind: Kind
    cost: Cost
    salt: bytes
    public: bytes
    nonce: bytes
    wrapped: bytes

    def to_bytes(self) -> bytes:
        """160 bytes."""
        return self._head() + self.nonce + self.wrapped + bytes(20)

    def _head(self) -> bytes:
        """What is bound to the wrapped key: everything that says how to open it."""
        cost = self.cost
        fixed = struct.pack(
            "<B3sIII", self.kind, bytes(3), cost.memory_kib, cost.passes, cost.lanes
        )
        return fixed + self.salt + self.public

    def wrap(self, key: bytes, master: bytes) -> Slot:
        """The slot with ``master`` in it, under ``key``."""
        nonce = os.urandom(12)
        wrapped = AESGCM(key).encrypt(nonce, master, self._head())
        return Slot(self.kind, self.cost, self.salt, self.public, nonce, wrapped)

    def unwrap(self, key: bytes) -> bytes | None:
        """The master key, or None when ``key`` does not open this slot."""
        try:
            return AESGCM(key).decrypt(self.nonce, self.wrapped, self._head())
        except InvalidTag:
            return None


EMPTY = Slot(Kind.EMPTY, Cost(0, 0, 0), bytes(32), bytes(32), bytes(12), bytes(48))


def parse_slots(area: bytes) -> tuple[Slot, ...]:
    """All 16 slots, strictly.

    Raises:
        ImageUnsupported: a kind that this version does not know.
        ImageDamaged: values that no writer writes, or a cost above the limits.
    """
    if len(area) != SLOT_SIZE * SLOTS:
        raise ImageDamaged("the key slots are cut short")
    return tuple(_parse(area[at : at + SLOT_SIZE]) for at in range(0, len(area), SLOT_SIZE))


def _parse(block: bytes) -> Slot:
    kind, zero, memory, passes, lanes, salt, public, nonce, wrapped, rest = _FIXED.unpack(block)
    if kind not in tuple(Kind):
        raise ImageUnsupported(
            f"the image has a key slot of unknown kind {kind}", hint="use a newer rescue"
        )
    if any(zero) or any(rest) or (kind == Kind.EMPTY and any(block)):
        raise ImageDamaged("a key slot holds values that no writer writes")
    if kind == Kind.PASSPHRASE:
        within = (
            8 * lanes <= memory <= MAX_MEMORY_KIB
            and 1 <= passes <= MAX_PASSES
            and 1 <= lanes <= MAX_LANES
        )
        if not within:
            raise ImageDamaged(
                f"a key slot asks for {memory} KiB of memory, {passes} passes and {lanes} lanes; "
                f"at most {MAX_MEMORY_KIB} KiB, {MAX_PASSES} and {MAX_LANES} are allowed"
            )
    elif memory or passes or lanes:
        raise ImageDamaged("a key slot holds values that no writer writes")
    if kind != Kind.RECIPIENT and any(public):
        raise ImageDamaged("a key slot holds values that no writer writes")
    return Slot(Kind(kind), Cost(memory, passes, lanes), salt, public, nonce, wrapped)


def passphrase_key(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    """The key that a passphrase makes; takes about a second, on purpose."""
    return Argon2id(
        salt=salt,
        length=32,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    ).derive(passphrase)


def recovery_key(secret: bytes, salt: bytes) -> bytes:
    """The key of a recovery key's 32 random bytes."""
    return derive(secret, salt, b"rescue 1 recovery")


def shared_key(shared: bytes, salt: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """The key of an X25519 exchange; both public keys are bound to it."""
    return derive(shared, salt, b"rescue 1 recipient" + ephemeral + recipient)


def for_passphrase(passphrase: bytes, master: bytes, cost: Cost | None = None) -> Slot:
    """A slot that a passphrase opens."""
    salt = os.urandom(32)
    cost = cost or Cost()
    empty = Slot(Kind.PASSPHRASE, cost, salt, bytes(32), bytes(12), bytes(48))
    return empty.wrap(passphrase_key(passphrase, salt, cost), master)


def for_recovery(secret: bytes, master: bytes) -> Slot:
    """A slot that a recovery key opens."""
    salt = os.urandom(32)
    empty = Slot(Kind.RECOVERY, Cost(0, 0, 0), salt, bytes(32), bytes(12), bytes(48))
    return empty.wrap(recovery_key(secret, salt), master)


def for_recipient(recipient: bytes, master: bytes) -> Slot:
    """A slot that the holder of a private key opens; making it needs no secret."""
    private = X25519PrivateKey.generate()
    ephemeral = private.public_key().public_bytes_raw()
    shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    salt = os.urandom(32)
    empty = Slot(Kind.RECIPIENT, Cost(0, 0, 0), salt, ephemeral, bytes(12), bytes(48))
    return empty.wrap(shared_key(shared, salt, ephemeral, recipient), master)
