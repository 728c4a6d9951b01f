"""Keys of an image: only the header changes, and at any moment one copy of it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, ImageLocked, UsageError
from rescue.image.header import BODY_START, HEADER_SIZE, SLOTS
from rescue.image.keys import PrivateKey, new_private_key, new_recovery_key, unlock
from rescue.image.reader import Image
from rescue.upkeep import keyring
from rescue.upkeep.keyring import Access
from tests.unit.image.making import SIZE, write


@pytest.fixture
def key() -> PrivateKey:
    return new_private_key()


@pytest.fixture
def path(tmp_path: Path, key: PrivateKey) -> Path:
    write(tmp_path / "x", lock=keyring.new_lock(Access(recipients=(key.public,))))
    return tmp_path / "x"


def test_add_and_remove(path: Path, key: PrivateKey) -> None:
    body = path.read_bytes()[BODY_START:]
    recovery = new_recovery_key()
    header = keyring.add(path, [key], Access(recovery=recovery.secret))
    assert [words for _, words in keyring.describe(header)] == [
        "recipient (private key)",
        "recovery key",
    ]
    assert unlock(header, [key]) == unlock(header, [recovery])
    header = keyring.remove(path, [recovery], 1)
    assert [number for number, _ in keyring.describe(header)] == [2]
    with pytest.raises(ImageLocked):
        Image.open(path, secrets=[key])
    with Image.open(path, secrets=[recovery]) as image:
        assert image.read(0, SIZE)
    assert path.read_bytes()[BODY_START:] == body
    header = keyring.add(path, [recovery], Access(recipients=(key.public,)))
    assert [number for number, _ in keyring.describe(header)] == [1, 2]  # the free slot is taken
    assert header.generation == 4


def test_refusals(path: Path, key: PrivateKey, tmp_path: Path) -> None:
    before = path.read_bytes()
    stranger = new_private_key()
    for secrets in ([], [stranger]):
        with pytest.raises(ImageLocked):
            keyring.add(path, secrets, Access(recipients=(stranger.public,)))
        with pytest.raises(ImageLocked):
            keyring.remove(path, secrets, 1)
    with pytest.raises(UsageError, match="only key"):
        keyring.remove(path, [key], 1)
    for number in (0, 2, 17, -1):
        with pytest.raises(UsageError, match="no key"):
            keyring.remove(path, [key], number)
    with pytest.raises(UsageError, match=r"room for|in use"):
        keyring.add(path, [key], Access(recipients=(key.public,) * SLOTS))
    with pytest.raises(UsageError):
        keyring.new_lock(Access())
    assert path.read_bytes() == before
    write(tmp_path / "clear")
    with pytest.raises(UsageError, match="not encrypted"):
        keyring.read_header(tmp_path / "clear")
    with pytest.raises(DiskTrouble):
        keyring.read_header(tmp_path / "none")


@pytest.mark.parametrize("after", range(4))
def test_cut_off_anywhere(
    path: Path, key: PrivateKey, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Two writes, two flushes: whichever is the last that happens, the old key opens the image."""
    other = new_private_key()
    calls = 0
    real_write, real_sync = os.pwrite, os.fsync

    def count() -> None:
        nonlocal calls
        if calls == after:
            raise OSError(5, "Input/output error")
        calls += 1

    def torn(fd: int, data: bytes, offset: int) -> int:
        try:
            count()
        except OSError:
            real_write(fd, data[: HEADER_SIZE // 3], offset)  # some of it gets there
            raise
        return real_write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", torn)
    monkeypatch.setattr(os, "fsync", lambda fd: (count(), real_sync(fd))[1])
    with pytest.raises(DiskTrouble):
        keyring.add(path, [key], Access(recipients=(other.public,)))
    monkeypatch.undo()
    with Image.open(path, secrets=[key]) as image:
        assert image.read(0, SIZE)
    # And it can be done again.
    keyring.add(path, [key], Access(recipients=(other.public,)))
    with Image.open(path, secrets=[other]) as image:
        assert image.read(0, SIZE)


def test_a_short_write_is_not_taken_for_a_whole_one(
    path: Path, key: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may take a part of a write and say so only by the count."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:1000], at))
    header = keyring.add(path, [key], Access(recipients=(key.public,)))
    monkeypatch.undo()
    block = path.read_bytes()[:BODY_START]
    assert block == header.to_bytes() * 2
