"""Where the passphrases of a disk's own encrypted partitions come from."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import pytest

from rescue.cli.unlock import unlocking
from rescue.core.errors import UsageError


def test_nothing_is_opened_unless_it_is_asked_for() -> None:
    assert unlocking(False, None, None) is None


def test_a_file_answers_once(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text("a sentence\nand more\n")
    for asked in (False, True):
        answer = unlocking(asked, path, None)
        assert answer is not None
        assert answer("partition 3", "crypto_LUKS", 0) == b"a sentence"
        with pytest.raises(UsageError, match=r"does not open partition 3 \(crypto_LUKS\)"):
            answer("partition 3", "crypto_LUKS", 1)


def test_a_descriptor_answers() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a sentence\n")
    os.close(writer)
    answer = unlocking(True, None, reader)
    os.close(reader)
    assert answer is not None
    assert answer("the disk", "BitLocker", 0) == b"a sentence"


def test_two_ways_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        unlocking(False, tmp_path / "p", 5)


def test_nobody_is_there_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match="nobody is there"):
        unlocking(True, None, None)


def test_a_person_is_asked_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def ask(prompt: str, stream: object = None) -> str:
        said.append(prompt)
        return ""

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answer = unlocking(True, None, None)
    assert answer is not None
    assert answer("partition 2", "BitLocker", 0) == b""
    answer("partition 2", "BitLocker", 2)
    assert said[0].startswith("passphrase of partition 2 (BitLocker; Enter alone: leave it closed)")
    assert said[1].startswith("that was not it. ")
    with pytest.raises(UsageError, match="not opened by 3 passphrases"):
        answer("partition 2", "BitLocker", 3)
