"""A disk that the shell itself looks at for a moment is no disk in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rescue.devices.model import Disk, Use
from rescue.jobs import describe, runtime
from rescue.shell import world
from rescue.shell.words import source_warnings
from tests.unit.shell.recorded import DELL, MACHINE


@pytest.fixture(autouse=True)
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the running system that belongs to the test."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path))
    return tmp_path


def mounted_on(where: Path) -> Disk:
    return replace(MACHINE, uses=(Use("mounted", Path(f"{MACHINE.path}1"), str(where)),))


def see(monkeypatch: pytest.MonkeyPatch, *looks: Disk) -> world.ThisMachine:
    """A machine whose disk is found so, look by look; the last one for ever."""
    found = list(looks)
    monkeypatch.setattr(
        world, "list_disks", lambda: (found.pop(0) if len(found) > 1 else found[0],)
    )
    monkeypatch.setattr(world, "machine_facts", lambda: DELL)
    monkeypatch.setattr(world.places, "list_filesystems", lambda: ())
    monkeypatch.setattr(world, "_PAUSE", 0.0)
    return world.ThisMachine()


def test_a_look_of_our_own_is_waited_for(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = mounted_on(runtime_folder / "places" / "sda1")
    machine = see(monkeypatch, looked_at, looked_at, replace(MACHINE, uses=()))
    assert machine.sight(settled=True).disks[0].uses == ()


def test_the_first_screen_waits_for_nothing(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = mounted_on(runtime_folder / "places" / "sda1")
    machine = see(monkeypatch, looked_at, replace(MACHINE, uses=()))
    assert machine.sight().disks[0].uses == looked_at.uses


def test_a_mount_of_somebody_else_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = mounted_on(Path("/mnt/places"))
    machine = see(monkeypatch, in_use, replace(MACHINE, uses=()))
    assert machine.sight(settled=True).disks[0].uses == in_use.uses


def test_a_look_that_never_ends_is_told_in_the_end(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = mounted_on(runtime_folder / "places" / "sda1")
    monkeypatch.setattr(world, "_LOOK_SECONDS", 0.05)
    assert see(monkeypatch, looked_at).sight(settled=True).disks[0].uses == looked_at.uses


def test_a_look_of_our_own_does_not_spoil_an_image(runtime_folder: Path) -> None:
    """Seen in QEMU: a capture was warned of the shell's own look, with the advice to unmount it."""
    looked_at = mounted_on(runtime_folder / "places" / "sda1")
    assert source_warnings(looked_at, (), ()) == []
    (told,) = source_warnings(mounted_on(runtime_folder / "elsewhere"), (), ())
    assert "Unmount it first" in told


@pytest.mark.parametrize(
    ("behind", "kind", "is_view"),
    [
        ("/tmp/a view/partition-1.raw", "fuse.rescue", True),
        ("/tmp/a view/partition-1.raw", "fuse.other", False),
        ("/srv/disk.raw", "fuse.rescue", False),
        ("", "fuse.rescue", False),
    ],
)
def test_a_volume_of_an_open_image_is_no_disk(
    behind: str, kind: str, is_view: bool, tmp_path: Path
) -> None:
    """It would be offered as a place to copy to, with room on it, and cannot be written."""
    disk = replace(MACHINE, path=Path("/dev/loop3"), node_type="loop")
    folder = tmp_path / "sys" / "loop3" / "loop"
    folder.mkdir(parents=True)
    if behind:
        (folder / "backing_file").write_text(f"{behind}\n")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/images/pc.rescue /tmp/a\\040view {kind} rw 0 0\nnone /proc proc rw 0 0\n")
    assert describe.is_view(disk, tmp_path / "sys", mounts) == is_view
    assert not describe.is_view(replace(disk, node_type="disk"), tmp_path / "sys", mounts)
