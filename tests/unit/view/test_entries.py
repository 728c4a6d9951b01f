"""Paths never leave their volume; a walk gives everything once, in order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.core.errors import UsageError
from rescue.view.entries import Entry, look, resolve, walk, words_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    volume = tmp_path / "volume"
    (volume / "usr" / "bin").mkdir(parents=True)
    (volume / "usr" / "bin" / "tool").write_text("x")
    (volume / "bin").symlink_to("usr/bin")
    (volume / "absolute").symlink_to("/usr")
    (volume / "up").symlink_to("../secret")
    (volume / "usr" / "far").symlink_to("../../../secret")
    (volume / "round").symlink_to("round")
    (volume / "a").symlink_to("b")
    (volume / "b").symlink_to("a")
    return volume


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a/b", ["a", "b"]),
        ("/a//b/", ["a", "b"]),
        ("./a/./b", ["a", "b"]),
        ("a/../b", ["b"]),
        ("", []),
    ],
)
def test_words(path: str, words: list[str]) -> None:
    assert words_of(path) == words


@pytest.mark.parametrize("path", ["..", "../a", "a/../..", "a/../../b", "/.."])
def test_words_that_climb(path: str) -> None:
    with pytest.raises(UsageError, match="climbs out"):
        words_of(path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("usr/bin/tool", "usr/bin/tool"),
        ("bin/tool", "usr/bin/tool"),
        ("absolute/bin/tool", "usr/bin/tool"),
        ("bin", "bin"),
        ("up", "up"),
        ("", ""),
    ],
)
def test_links_are_followed_inside(root: Path, path: str, found: str) -> None:
    assert resolve(root, path) == found


@pytest.mark.parametrize("path", ["up", "usr/far", "round", "a", "not there", "usr/bin/tool/x"])
def test_links_that_lead_out_or_nowhere_are_refused(root: Path, path: str) -> None:
    with pytest.raises(UsageError):
        resolve(root, path, follow_last=True)
    with pytest.raises(UsageError):
        resolve(root, f"{path}/more")


def test_a_walk_in_order_without_following(root: Path) -> None:
    failed: list[str] = []
    entries = list(walk(root, failed=lambda path, _error: failed.append(path)))
    paths = [entry.path.split("/") for entry in entries]
    assert paths == sorted(paths)
    top = [entry.path for entry in walk(root, depth=0, failed=lambda *_: None)]
    assert top == sorted(path.name for path in root.iterdir())
    by_path = {entry.path: entry for entry in entries}
    assert by_path["bin"].type == "link"
    assert by_path["bin"].target == "usr/bin"
    assert by_path["usr/bin/tool"].size == 1
    assert "bin/tool" not in by_path
    assert failed == []


def test_deep_folders_end_the_walk_with_a_word(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(520):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    failed: list[str] = []
    entries = list(walk(tmp_path, failed=lambda path, _error: failed.append(path)))
    assert 500 < len(entries) <= 520
    assert len(failed) == 1


def test_json_is_reversible(tmp_path: Path) -> None:
    name = os.fsdecode(b"odd \xff")
    (tmp_path / name).symlink_to("x")
    value = look(tmp_path, name).to_json()
    assert os.fsencode(value["path"]) == b"odd \xff"
    assert value["type"] == "link"
    assert value["target"] == "x"
    assert "target" not in Entry("a", 0o100644, 0, 0, 0, 0, 1, 1).to_json()
