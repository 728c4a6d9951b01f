"""The ways to name a wrong disk: each is refused with exit 11, one line and a hint."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rescue.core.errors import DiskTrouble, TargetRefused
from rescue.devices import refusals, target
from rescue.devices.model import Disk, Use

DISK = Disk(Path("/dev/sdx"), "block", 1 << 40, 512, 4096, "Model", "SERIAL1", "0xWWN1")
NODE = ("disk", 8, 16)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine with one disk, which a test changes; nothing of the real one is looked at."""
    state: dict[str, Any] = {"disk": DISK, "others": (), "below": {}}
    monkeypatch.setattr(refusals, "inspect", lambda path: state["disk"])
    monkeypatch.setattr(refusals, "list_disks", lambda: (state["disk"], *state["others"]))
    monkeypatch.setattr(refusals, "device_number", lambda path: str(path))
    monkeypatch.setattr(refusals, "overwritten_with", lambda path: {NODE})
    monkeypatch.setattr(
        refusals, "everything_below", lambda path: state["below"].get(str(path), {("disk", 8, 0)})
    )
    monkeypatch.setattr(refusals, "is_ours", lambda: False)
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    return state


def used(what: str, where: str = "/dev/sdx1", detail: str = "") -> dict[str, Any]:
    return {"disk": replace(DISK, uses=(Use(what, Path(where), detail),))}


KEEP = [Path("/mnt/pc.rescue"), Path("/mnt/old/pc-1.rescue.002")]
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "mounted": (used("mounted", detail="/srv"), {}, "/dev/sdx1 is mounted on /srv"),
    "swap": (used("swap"), {}, "used as swap"),
    "LVM": (used("holder", detail="vg-root"), {}, "in use by vg-root"),
    "RAID": (used("holder", detail="md0"), {}, "in use by md0"),
    "LUKS": (used("holder", detail="luks-1"), {}, "in use by luks-1"),
    "boot medium": (used("boot medium", "/dev/sdx"), {}, "is the boot medium"),
    "backing file": (used("loop device", "/dev/sdx", "/dev/loop3"), {}, "the backing file of"),
    "several uses": (
        {"disk": replace(DISK, uses=(Use("swap", Path("/dev/sdx1")),) * 3)}, {}, "and 2 more"
    ),
    "holds the image": ({"below": {str(KEEP[0]): {NODE}}}, {"keep": KEEP}, "holds /mnt/pc.rescue"),
    "holds a part of the chain": (
        {"below": {str(KEEP[1]): {NODE}}}, {"keep": KEEP}, "holds /mnt/old/pc-1.rescue.002"
    ),
    "is the source": ({"below": {"/dev/sdx": {NODE}}}, {"keep": [DISK.path]}, "what is to be read"),
    "another serial": ({}, {"erase": "SERIAL2"}, "is 'SERIAL1', not 'SERIAL2'"),
    "another WWN": ({}, {"erase": "0xWWN2"}, "not '0xWWN2'"),
    "a part of the serial": ({}, {"erase": "SERIAL"}, "not 'SERIAL'"),
    "its path and not its serial": ({}, {"erase": "/dev/sdx"}, "not '/dev/sdx'"),
    "an empty answer": ({}, {"erase": "  "}, "not ''"),
    "nobody confirmed": ({}, {"erase": None}, "everything on it would be lost"),
    "read-only": ({"disk": replace(DISK, read_only=True)}, {}, "is read-only"),
    "too small": ({}, {"needed": (1 << 40) + 1}, "is too small"),
    "a partition": ({"disk": replace(DISK, node_type="part")}, {}, "is a partition, not a whole"),
    "a logical volume": ({"disk": replace(DISK, node_type="lvm")}, {}, "is a lvm device, not"),
    "a disc": ({"disk": replace(DISK, node_type="rom")}, {}, "is a rom device, not"),
    "two of one serial": (
        {"others": (replace(DISK, path=Path("/dev/sdy"), wwn=""),)}, {}, "both answer to"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_disk(world: dict[str, Any], way: str) -> None:
    changes, arguments, words = WAYS[way]
    given: dict[str, Any] = {"erase": "SERIAL1", "needed": 1 << 30, "keep": KEEP}
    assert refusals.check(DISK.path, **given) == DISK
    world.update(changes)
    with pytest.raises(TargetRefused) as caught:
        refusals.check(DISK.path, **{**given, **arguments})
    assert words in caught.value.message and caught.value.exit_code == 11
    assert "\n" not in caught.value.message and caught.value.hint


def test_the_right_one_by_either_name(world: dict[str, Any]) -> None:
    for erase in ("SERIAL1", " serial1 ", "0xwwn1"):
        assert refusals.check(DISK.path, erase=erase, needed=1) == DISK
    nameless = replace(DISK, serial="", wwn="")
    world["disk"] = nameless
    assert refusals.check(DISK.path, erase="/dev/sdx", needed=1) == nameless


def test_a_name_under_dev_that_is_not_there() -> None:
    with pytest.raises(DiskTrouble, match="there is no disk"):
        refusals.check("/dev/no-such-disk", erase="SERIAL1", needed=1)


@pytest.mark.parametrize(
    ("mode", "number", "known", "words"),
    [
        (stat.S_IFREG, (8, 16), DISK, "something else"),
        (stat.S_IFBLK, (8, 32), DISK, "another disk"),
        (stat.S_IFBLK, (8, 16), replace(DISK, serial="SERIAL2"), "another disk"),
        (stat.S_IFBLK, (8, 16), replace(DISK, wwn="0xWWN2"), "another disk"),
    ],
    ids=["no block device", "another number", "another serial", "another WWN"],
)
def test_replaced_between_confirmation_and_opening(
    monkeypatch: pytest.MonkeyPatch, mode: int, number: tuple[int, int], known: Disk, words: str
) -> None:
    status = SimpleNamespace(st_mode=mode, st_rdev=os.makedev(*number))
    monkeypatch.setattr(target, "os", SimpleNamespace(**{**vars(os), "fstat": lambda fd: status}))
    monkeypatch.setattr(target, "inspect", lambda path: known)
    monkeypatch.setattr(target, "device_number", lambda path: "8:16")
    with pytest.raises(TargetRefused, match=words):
        target._same_disk(DISK, 5)


@pytest.mark.parametrize(("size", "sector"), [((1 << 40) - 512, 512), (1 << 40, 4096)])
def test_another_size_than_was_confirmed(
    monkeypatch: pytest.MonkeyPatch, size: int, sector: int
) -> None:
    monkeypatch.setattr(target, "size_of", lambda fd: size)
    monkeypatch.setattr(target, "sector_sizes", lambda fd: (sector, 4096))
    with pytest.raises(TargetRefused, match="just changed its size"):
        target._same_size(DISK, 5)
