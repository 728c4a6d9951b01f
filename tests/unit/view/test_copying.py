"""Copies keep what can be kept, write over nothing and leave no half files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from rescue.core.errors import DiskTrouble, UsageError
from rescue.core.progress import Silent
from rescue.view import copying
from rescue.view.copying import Copied, copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_bytes(b"content" * 1000)
    os.link(root / "a" / "file", root / "a" / "b" / "other")
    (root / "a" / "link").symlink_to("/etc/passwd")
    with (root / "a" / "holes").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    (root / "a" / "b").chmod(0o500)
    os.utime(root / "a" / "b", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "a", ns=(1, 42))
    return root


def copied(root: Path, paths: list[str], out: Path) -> Copied:
    result = Copied()
    copy(root, paths, out, Silent(), result)
    return result


def test_everything_is_kept(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = copied(source, ["a"], out)
    assert result.failures == 0
    assert dict(result.counts) == {"folder": 2, "file": 3, "link": 1}
    assert (out / "a/file").read_bytes() == b"content" * 1000
    assert (out / "a/file").stat().st_ino == (out / "a/b/other").stat().st_ino
    assert (out / "a/link").readlink() == Path("/etc/passwd")
    assert (out / "a/holes").stat().st_size == (3 << 20) + 3
    assert (out / "a/holes").stat().st_blocks < 1000
    assert (out / "a/b").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (out / "a/b").stat().st_mode & 0o7777 == 0o500
    assert (out / "a").stat().st_mtime_ns == 42


def test_nothing_is_written_over_or_through_a_link(source: Path, tmp_path: Path) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    (out / "a").mkdir(parents=True)
    away.mkdir()
    (out / "a" / "file").write_text("mine")
    (out / "a" / "b").symlink_to(away)
    (out / "a" / "link").symlink_to("mine")
    result = copied(source, ["a"], out)
    assert result.failures >= 3
    assert (out / "a" / "file").read_text() == "mine"
    assert (out / "a" / "link").readlink() == Path("mine")
    assert list(away.iterdir()) == []
    assert any(line.startswith("a/file: ") for line in result.failed)


def test_a_failed_file_is_not_left_half_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def fail(*_words: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(copying.os, "pread", fail)
    result = copied(source, ["a"], out)
    assert "a/file: input/output error" in result.failed
    assert not (out / "a" / "file").exists()
    assert (out / "a" / "link").is_symlink()


def test_a_full_destination_ends_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_words: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying.os, "pwrite", full)
    with pytest.raises(DiskTrouble, match="no space left"):
        copied(source, ["a"], tmp_path)


def test_a_destination_that_is_no_folder(source: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(UsageError):
        copied(source, ["a"], tmp_path / "x")
    with pytest.raises(DiskTrouble):
        copied(source, ["a"], tmp_path / "none")
