"""The lock of packages: what it says, what it pins, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builder.rootfs import lock
from builder.rootfs.lock import Locked
from rescue.core.errors import DiskTrouble, ProgramFailed, UsageError

LISTING = "cryptsetup 2:2.7.5-2\nlibc6:amd64 2.41-12+deb13u5\n"


def kept(folder: Path) -> Path:
    debs = folder / "debs"
    debs.mkdir()
    (debs / "cryptsetup_2%3a2.7.5-2_amd64.deb").write_bytes(b"one")
    (debs / "libc6_2.41-12+deb13u5_amd64.deb").write_bytes(b"two")
    (debs / "other_1_all.deb").write_bytes(b"three")
    return debs


def test_a_lock_says_what_is_there_and_is_read_again(tmp_path: Path) -> None:
    found = lock.of_base(LISTING, kept(tmp_path))
    assert found == (
        Locked("cryptsetup", "2:2.7.5-2", hashlib.sha256(b"one").hexdigest()),
        Locked("libc6", "2.41-12+deb13u5", hashlib.sha256(b"two").hexdigest()),
    )
    text = lock.render(found)
    assert "://" not in text
    path = tmp_path / "recipe.lock"
    path.write_text(text)
    assert lock.load(path) == found
    assert lock.differences(found, LISTING) == ()
    lock.check_debs(found, tmp_path / "debs")


def test_apt_may_choose_nothing_else() -> None:
    text = lock.preferences((Locked("libc6", "2.41", "0" * 64), Locked("g++", "1:4", "0" * 64)))
    assert text.split("\n\n")[1] == "Package: g++\nPin: version 1:4\nPin-Priority: 1001\n"


def test_what_differs_is_named() -> None:
    locked = (Locked("libc6", "2.42", ""), Locked("gone", "1", ""))
    assert lock.differences(locked, LISTING) == (
        "cryptsetup is 2:2.7.5-2, and not there in the lock",
        "gone is not there, and 1 in the lock",
        "libc6 is 2.41-12+deb13u5, and 2.42 in the lock",
    )


def test_another_deb_of_the_same_version_is_refused(tmp_path: Path) -> None:
    debs = kept(tmp_path)
    found = lock.of_base(LISTING, debs)
    (debs / "libc6_2.41-12+deb13u5_amd64.deb").write_bytes(b"evil")
    with pytest.raises(ProgramFailed, match=r"libc6 2\.41-12\+deb13u5 is another one"):
        lock.check_debs(found, debs)
    (debs / "libc6_2.41-12+deb13u5_amd64.deb").unlink()
    with pytest.raises(ProgramFailed, match="is not there"):
        lock.check_debs(found, debs)
    with pytest.raises(ProgramFailed, match="not among those that were kept"):
        lock.of_base(LISTING, debs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a lock"),
        ("# rescue-builder lock 9: trixie\n", "not a lock"),
        (f"{lock.HEAD}\nlibc6 2.41\n", "line 2: not a package"),
        (f"{lock.HEAD}\nlibc6 2.41 {'0' * 64}\n\n", "line 3: not a package"),
        (f"{lock.HEAD}\nlibc6 2.41\\nPin: x {'0' * 64}\n", "line 2: not a package"),
    ],
)
def test_what_is_no_lock(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.lock"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        lock.load(path)
    with pytest.raises(DiskTrouble):
        lock.load(tmp_path / "gone")
