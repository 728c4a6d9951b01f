"""The file tree of a medium and its ISO 9660 names."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from builder.iso.tree import MAX_FILE, File, Names, Tree
from rescue.core.errors import DiskTrouble, UsageError
from rescue.core.progress import Silent


def test_files_are_sorted_and_folders_come_parents_first() -> None:
    tree = Tree.of({"b/c/d": b"12", "a": b"345"})
    assert [file.path for file in tree.files] == ["a", "b/c/d"]
    assert tree.folders == ("b", "b/c")
    assert tree.total == 5


def test_content_can_change_while_its_length_does_not() -> None:
    tree = Tree.of({"a": b"12", "b": b"34"}).with_content("a", b"xy")
    assert tree.files == (File("a", b"xy"), File("b", b"34"))
    with pytest.raises(AssertionError):
        tree.with_content("a", b"longer")


@pytest.mark.parametrize("path", ["/a", "a//b", "a/../b", "", "1/2/3/4/5/6/7/8/9"])
def test_paths_that_no_disc_has(path: str) -> None:
    with pytest.raises(UsageError, match="cannot be a path"):
        Tree.of({path: b""})


def test_missing_and_giant_files(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble):
        Tree.of({"a": tmp_path / "gone"})
    giant = tmp_path / "giant"
    with giant.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(UsageError, match="too large"):
        Tree.of({"a": giant})


def test_sums_of_bytes_and_of_files_agree(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    path = tmp_path / "x"
    path.write_bytes(data)
    wanted = hashlib.sha256(data).hexdigest()
    assert File("x", data).sha256(Silent()) == File("x", path).sha256(Silent()) == wanted


def test_iso_names_are_legal_and_unique() -> None:
    names = Names()
    given = [names.folder("boot"), names.folder("boot/x86_64-efi"), names.folder(".disk")]
    given += [
        names.file(path)
        for path in (
            "boot/grub-efi.img",
            "boot/grub_efi.img",
            "boot/a-very-long-name-that-goes-on-and-on.squashfs",
            "boot/a-very-long-name-that-goes-on-and-off.squashfs",
            "boot/x86_64-efi/no ending",
            ".disk/.hidden",
        )
    ]
    assert len(set(given)) == len(given)
    for name in given:
        folders, _, last = name.rpartition("/")
        assert re.fullmatch(r"(/[A-Z0-9_]+)*", folders)
        assert re.fullmatch(r"[A-Z0-9_]{1,20}(\.[A-Z0-9_]{0,8};1)?", last), name
    assert names.file("boot/grub-efi.img") == given[3]
