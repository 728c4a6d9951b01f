"""Sealing: keys, slots, and what of a sealed image can be read without them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import (
    ImageDamaged,
    ImageError,
    ImageLocked,
    ImageUnsupported,
    UsageError,
)
from rescue.core.progress import Silent
from rescue.image import keys, slots
from rescue.image.header import SLOT_SIZE, Header
from rescue.image.keys import Passphrase, PrivateKey, RecoveryKey, unlock
from rescue.image.reader import Image
from rescue.image.seal import Sealer
from rescue.image.slots import Cost, parse_slots
from rescue.image.writer import Lock
from rescue.upkeep import keyring
from rescue.verify.deep import verify_deep
from rescue.verify.stored import verify_stored
from tests.unit.image.making import SIZE, write

CHEAP = Cost(8 * 4, 1, 4)
MASTER = bytes(range(32))


@pytest.fixture
def lock() -> Lock:
    return Lock(MASTER, keys.slot_area([slots.for_passphrase(b"canary", MASTER, CHEAP)]))


def test_sealed_image_round_trip(tmp_path: Path, lock: Lock) -> None:
    path = tmp_path / "x"
    data = write(path, lock=lock)
    raw = path.read_bytes()
    assert b"the quick brown" not in raw
    assert b"ext4" not in raw and b"canary" not in raw
    with Image.open(path, secrets=[Passphrase(b"canary")]) as image:
        assert image.read(0, SIZE) == data
        assert image.manifest.volumes[0].label == "root"
    with pytest.raises(ImageLocked):
        Image.open(path)
    with pytest.raises(ImageLocked, match="no key slot"):
        Image.open(path, secrets=[Passphrase(b"wrong")])
    assert verify_deep(path, Silent(), secrets=[Passphrase(b"canary")]).ok
    with pytest.raises(ImageLocked):
        verify_deep(path, Silent())


def test_stored_bytes_are_verified_without_a_key(tmp_path: Path, lock: Lock) -> None:
    path = tmp_path / "x"
    write(path, lock=lock)
    assert verify_stored(path, Silent()).ok
    data = path.read_bytes()
    for at in range(0, len(data), 2003):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        for secrets in ([], [Passphrase(b"canary")]):
            try:
                report = verify_stored(path, Silent(), secrets=secrets)
            except ImageError:
                continue
            assert not report.ok, at


def test_names_of_contents_are_keyed(tmp_path: Path, lock: Lock) -> None:
    write(tmp_path / "clear")
    write(tmp_path / "sealed", lock=lock)
    with (
        Image.open(tmp_path / "clear") as clear,
        Image.open(tmp_path / "sealed", secrets=[Passphrase(b"canary")]) as sealed,
    ):
        assert clear.index.numbers == sealed.index.numbers
        assert clear.index.digests[:32] != sealed.index.digests[:32]


def test_every_segment_and_image_has_its_own_key() -> None:
    one = Sealer(MASTER, bytes(16), 1)
    same = Sealer(MASTER, bytes(16), 1, one.salt)
    box = one.seal(b"head", 2, 7, b"payload")
    assert same.open(b"head", 2, 7, box) == b"payload"
    assert same.commitment == one.commitment
    others = [
        Sealer(MASTER, bytes(16), 1),
        Sealer(MASTER, bytes(16), 2, one.salt),
        Sealer(MASTER, b"x" * 16, 1, one.salt),
        Sealer(b"y" * 32, bytes(16), 1, one.salt),
    ]
    for other in others:
        assert other.commitment != one.commitment
        with pytest.raises(ImageLocked):
            other.check(one.commitment)
        with pytest.raises(ImageDamaged):
            other.open(b"head", 2, 7, box)
    for head, kind, number in ((b"heaD", 2, 7), (b"head", 3, 7), (b"head", 2, 8)):
        with pytest.raises(ImageDamaged):
            one.open(head, kind, number, box)


def test_three_ways_in() -> None:
    recovery, private = keys.new_recovery_key(), keys.new_private_key()
    area = keys.slot_area(
        [
            slots.for_passphrase(b"p", MASTER, CHEAP),
            slots.for_recovery(recovery.secret, MASTER),
            slots.for_recipient(private.public, MASTER),
        ]
    )
    header = Header(bytes(16), critical=1, slots=area)
    for secret in (Passphrase(b"p"), recovery, private):
        assert unlock(header, [secret]) == MASTER
    for wrong in (Passphrase(b"q"), RecoveryKey(bytes(32)), keys.new_private_key()):
        with pytest.raises(ImageLocked):
            unlock(header, [wrong])


def test_a_header_that_asks_for_4_tib_is_refused_at_once() -> None:
    slot = replace(slots.for_passphrase(b"p", MASTER, CHEAP), cost=Cost(0xFFFFFFFF, 3, 4))
    header = Header(bytes(16), critical=1, slots=keys.slot_area([slot]))
    started = time.monotonic()
    with pytest.raises(ImageDamaged, match="asks for"):
        unlock(header, [Passphrase(b"p")])
    assert time.monotonic() - started < 0.1


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, b"\x04", ImageUnsupported),
        (1, b"\x01", ImageDamaged),
        (4, (1 << 20 | 1).to_bytes(4, "little"), ImageDamaged),
        (8, (17).to_bytes(4, "little"), ImageDamaged),
        (8, bytes(4), ImageDamaged),
        (12, (17).to_bytes(4, "little"), ImageDamaged),
        (48, b"\x01", ImageDamaged),
        (159, b"\x01", ImageDamaged),
        (SLOT_SIZE + 20, b"\x01", ImageDamaged),
    ],
)
def test_slots_are_parsed_strictly(offset: int, value: bytes, error: type[Exception]) -> None:
    area = bytearray(keys.slot_area([slots.for_passphrase(b"p", MASTER, CHEAP)]))
    area[offset : offset + len(value)] = value
    with pytest.raises(error):
        parse_slots(bytes(area))


def test_recovery_words_survive_a_person() -> None:
    key = keys.new_recovery_key()
    words = keys.recovery_words(key)
    assert len(words.split("-")) == 14
    assert keys.parse_recovery(words.lower().replace("-", " ")) == key
    swapped = words.translate(str.maketrans("01", "OI"))
    assert keys.parse_recovery(swapped) == key
    for bad in (words[:-1], words + "A", words[1:] + words[0], "", "x"):
        with pytest.raises(UsageError):
            keys.parse_recovery(bad)


def test_key_lines() -> None:
    key = keys.new_private_key()
    assert keys.parse_secret(keys.secret_line(key)) == key
    assert keys.parse_public(keys.public_line(key) + "\n") == key.public
    for bad in ("", keys.secret_line(key)[:-1], keys.public_line(key)):
        with pytest.raises(UsageError):
            keys.parse_secret(bad)
    for bad in ("", "rescue-public-key-", keys.secret_line(key)):
        with pytest.raises(UsageError):
            keys.parse_public(bad)
    assert "Passphrase(" in repr(Passphrase(b"secret")) or "secret" not in repr(
        PrivateKey(b"secret")
    )
    assert "secret" not in repr(Passphrase(b"secret"))


def test_keys_are_added_and_removed_in_the_header_alone(
    tmp_path: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "Cost", lambda *a: Cost(*a) if a else CHEAP)
    path = tmp_path / "x"
    data = write(path, lock=lock)
    body = path.read_bytes()[8192:]
    recovery = keys.new_recovery_key()
    keyring.add(path, [Passphrase(b"canary")], keyring.Access(b"second", recovery.secret))
    assert [kind for _, kind in keyring.describe(keyring.read_header(path))] == [
        "passphrase",
        "passphrase",
        "recovery key",
    ]
    keyring.remove(path, [recovery], 1)
    with pytest.raises(ImageLocked):
        Image.open(path, secrets=[Passphrase(b"canary")])
    for secret in (Passphrase(b"second"), recovery):
        with Image.open(path, secrets=[secret]) as image:
            assert image.read(0, SIZE) == data
    keyring.remove(path, [recovery], 2)
    with pytest.raises(UsageError, match="only key"):
        keyring.remove(path, [recovery], 3)
    with pytest.raises(UsageError, match="no key 9"):
        keyring.remove(path, [recovery], 9)
    with pytest.raises(ImageLocked):
        keyring.add(path, [Passphrase(b"canary")], keyring.Access(b"third"))
    assert path.read_bytes()[8192:] == body
    assert verify_stored(path, Silent()).ok
    write(tmp_path / "clear")
    with pytest.raises(UsageError, match="not encrypted"):
        keyring.add(tmp_path / "clear", [], keyring.Access(b"x"))


def test_sixteen_keys_and_no_more(lock: Lock) -> None:
    slot = parse_slots(lock.slots)[0]
    assert len(keys.slot_area([slot] * 16)) == 16 * SLOT_SIZE
    with pytest.raises(UsageError, match="16"):
        keys.slot_area([slot] * 17)
