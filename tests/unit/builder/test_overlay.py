"""The overlays: files, modes and links, and each mistake in their lists."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from builder.rootfs import overlay
from rescue.core.errors import UsageError

OVERLAYS = Path(__file__).parents[3] / "overlays"
UNITS = "etc/systemd/system"


def tree(folder: Path, modes: str = "", links: str = "") -> Path:
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/tool").write_text("#!/bin/sh\n")
    (folder / "modes").write_text(f"# modes\n\n{modes}")
    (folder / "links").write_text(f"# links\n{links}")
    return folder


def test_they_are_laid_with_modes_and_links_whatever_the_checkout_has(tmp_path: Path) -> None:
    source = tree(tmp_path / "a", "0755 usr/bin/tool\n0700 usr\n", "etc/x.wants/y.service ../y\n")
    (source / "usr/bin/tool").chmod(0o600)
    root = tmp_path / "root"
    root.mkdir()
    overlay.lay(overlay.read(source), root)
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "usr").stat().st_mode) == 0o700
    assert (root / "etc/x.wants/y.service").readlink() == Path("../y")
    assert sorted(path.name for path in root.iterdir()) == ["etc", "usr"]


@pytest.mark.parametrize("line", ["755 a", "0755 /a", "0999 a", "0755"])
def test_a_bad_mode_is_told(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="overlays/modes, line 3"):
        overlay.read(tree(tmp_path, modes=f"{line}\n"))


@pytest.mark.parametrize("line", ["/etc/a /dev/null", "etc/a", "etc/a b c"])
def test_a_bad_link_is_told(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="overlays/links, line 2"):
        overlay.read(tree(tmp_path, links=f"{line}\n"))


def test_what_is_named_twice_or_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names usr/none"):
        overlay.read(tree(tmp_path / "a", modes="0755 usr/none\n"))
    with pytest.raises(UsageError, match="and a file as well"):
        overlay.read(tree(tmp_path / "b", links="usr/bin/tool /dev/null\n"))
    source = tree(tmp_path / "c")
    (source / "usr/link").symlink_to("/dev/null")
    with pytest.raises(UsageError, match="is a link"):
        overlay.read(source)


def test_every_program_of_the_project_can_be_started() -> None:
    for entry in overlay.read(OVERLAYS):
        if entry.source and entry.source.read_bytes()[:2] == b"#!":
            assert entry.mode == 0o755, entry.name


def test_no_file_of_the_project_was_a_link_once() -> None:
    """A checkout that cannot hold links leaves files that hold a path and no end of line."""
    for path in OVERLAYS.rglob("*"):
        assert path.is_dir() or path.read_bytes().endswith(b"\n"), path


def test_units_that_are_started_exist() -> None:
    entries = {entry.name: entry for entry in overlay.read(OVERLAYS)}
    started = [entry for name, entry in entries.items() if ".wants/" in name and entry.link]
    assert len(started) == 7
    for entry in started:
        unit = Path(entry.link).name
        assert entries[f"{UNITS}/{unit}"].source, entry
        name, _, kind = Path(entry.name).name.rpartition(".")
        assert unit in (f"{name}.{kind}", f"{name.partition('@')[0]}@.{kind}")


def test_what_makes_the_initramfs_is_early_and_rules_stay_in_force() -> None:
    entries = {entry.name: entry for entry in overlay.read(OVERLAYS)}
    rule = entries["etc/udev/rules.d/10-rescue-read-only.rules"]
    assert rule.early
    assert rule.late
    assert entries["etc/udev/rules.d/69-lvm.rules"].link == "/dev/null"
    hook = entries["etc/initramfs-tools/hooks/zz-rescue-trim"]
    assert hook.early
    assert not hook.late
    assert not entries["usr/bin/rescue"].early
