"""The pure parts: names, ways, mounts, differences, machines."""

from __future__ import annotations

import stat
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from rescue.core.errors import ProgramFailed, UsageError
from rescue.core.extent import Extent
from rescue.view import machine
from rescue.view.compare import judge, merge
from rescue.view.entries import Entry
from rescue.view.machine import Machine, attached_by, command, firmware_of, safe_serial
from rescue.view.mounting import is_view, parse_mountinfo
from rescue.view.names import Seen, choose, plain
from rescue.view.starting import accelerators
from rescue.view.ways import way_to_see, why_not


def seen(number: int, label: str = "", fs: str = "ext4") -> Seen:
    return Seen(number, Extent(0, 1), fs, label)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("root", "root"),
        ("../../etc", "_.._etc"),
        ("a/b\\c", "a_b_c"),
        ("\x1b[2Jx", "_[2Jx"),
        ("..", "volume"),
        ("", "volume"),
        ("ä" * 100, "ä" * 30),
    ],
)
def test_labels_become_plain_names(label: str, name: str) -> None:
    assert plain(label) == name


def test_a_volume_is_named_in_three_ways() -> None:
    volumes = [seen(1, "EFI", "vfat"), seen(3, "root"), seen(4, "data"), seen(5, "data"), seen(0)]
    assert choose(volumes, "3") is volumes[1]
    assert choose(volumes, "3-root") is volumes[1]
    assert choose(volumes, "EFI") is volumes[0]
    assert choose(volumes, "data") is None  # two have it
    assert choose(volumes, "0-ext4") is volumes[4]
    assert choose(volumes, "9") is None
    assert (volumes[4].file, volumes[1].file) == ("disk.raw", "partition-3.raw")


def test_every_journal_is_left_alone_or_replayed_elsewhere() -> None:
    for fs in ("ext3", "ext4", "xfs", "btrfs", "f2fs", "nilfs2"):
        way = way_to_see(fs)
        assert way is not None
        assert way.journal
        assert way.quiet, fs
    assert way_to_see("crypto_LUKS") is None
    assert way_to_see("no such thing") is None
    assert "encrypted" in why_not("crypto_LUKS")
    assert why_not("") == why_not("unknown") == "no known filesystem"


def test_mountinfo() -> None:
    lines = parse_mountinfo(
        "36 35 98:0 /r /mnt/a\\040b rw,noatime master:1 - fuse.rescue /x\\011y rw\n"
        "nonsense\n"
        "37 36 7:1 / /mnt/a\\040b/3-root ro - ext4 /dev/loop1 ro\n"
    )
    assert [line.point for line in lines] == ["/mnt/a b", "/mnt/a b/3-root"]
    assert [is_view(line) for line in lines] == [True, False]
    assert lines[0].source == "/x\ty"
    assert lines[1].device == "7:1"


def entry(path: str, **more: Any) -> Entry:
    known = {"mode": stat.S_IFREG | 0o644, "size": 1, "time": 1, "owner": 0, "group": 0, "links": 1}
    return Entry(path=path, inode=1, **{**known, **more})


def test_merge_pairs_what_is_on_both_sides() -> None:
    one = ["a", "a/b", "a/b/c", "a.txt", "b", "d"]
    other = ["a", "a/b", "a/c", "a.txt", "c", "c/x"]
    pairs = merge(map(entry, one), map(entry, other))
    found = [(a.path if a else None, b.path if b else None) for a, b in pairs]
    assert found == [
        ("a", "a"), ("a/b", "a/b"), ("a/b/c", None), (None, "a/c"), ("a.txt", "a.txt"),
        ("b", None), (None, "c"), (None, "c/x"), ("d", None),
    ]  # fmt: skip
    assert list(merge(iter(()), iter(()))) == []
    assert {p for p in chain.from_iterable(found) if p} == {*one, *other}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, None),
        ({"links": 5}, None),
        ({"size": 2}, "changed"),
        ({"time": 2}, "changed"),
        ({"mode": stat.S_IFREG | 0o600}, "attributes"),
        ({"owner": 7}, "attributes"),
        ({"mode": stat.S_IFLNK | 0o644}, "changed"),
        ({"target": "x"}, "changed"),
    ],
)
def test_judge(change: dict[str, Any], what: str | None) -> None:
    assert judge(entry("a"), entry("a", **change)) == what
    folder = {"mode": stat.S_IFDIR | 0o755}
    assert judge(entry("a", **folder), entry("a", **folder, time=9, size=9)) is None


ESP = {"label": "gpt", "partitions": [{"type": machine.ESP}]}
BOTH = {"label": "gpt", "partitions": [{"type": machine.ESP}, {"type": machine.BIOS_BOOT}]}
MBR = {"label": "msdos", "partitions": [{"type": "83"}]}
FILE = {"transport": "file"}


@pytest.mark.parametrize(
    ("what", "disk", "layout", "code", "firmware"),
    [
        ({"firmware": "uefi"}, {}, MBR, b"x", "uefi"),
        ({"firmware": "bios"}, {}, ESP, b"", "bios"),
        ({"firmware": "uefi"}, FILE, MBR, b"x", "bios"),
        ({"firmware": "bios"}, FILE, ESP, b"", "uefi"),
        ({}, FILE, BOTH, b"x", "bios"),
        ({}, FILE, BOTH, b"\0", "uefi"),
        ({"firmware": 7}, {"transport": []}, {"partitions": "no"}, b"", "bios"),
        ({}, {}, {"label": "gpt", "partitions": [None, {"type": None}]}, b"", "bios"),
    ],
)
def test_the_firmware_is_the_sources(
    what: dict[str, Any], disk: dict[str, Any], layout: dict[str, Any], code: bytes, firmware: str
) -> None:
    assert firmware_of(what, disk, layout, code) == firmware


def test_the_disk_is_attached_as_it_was() -> None:
    assert attached_by({"transport": "nvme"}, 512) == "nvme"
    assert attached_by({"transport": "usb"}, 512) == "sata"
    assert attached_by({"transport": 5}, 4096) == "nvme"
    assert safe_serial("a,b=c d") == "a-b-c-d"
    assert safe_serial(None) == ""
    assert len(safe_serial("x" * 99)) == 20


def test_the_command_names_only_the_overlay_and_no_network() -> None:
    words = command(
        Machine("bios", "nvme", 4096, serial="S1"), "tcg", Path("/o"), Path("/v"), Path("/q")
    )
    line = " ".join(words)
    assert "format=qcow2,cache=unsafe,file=/o" in line
    assert "max,-erms" in line
    assert "-netdev" not in line
    assert "pflash" not in line
    assert "nvme,drive=disk,bootindex=0,serial=S1,logical_block_size=4096" in line
    assert words.count("-drive") == 1
    with_network = Machine("bios", "sata", 512, network=True, window=True)
    words = command(with_network, "kvm", Path("/o"), Path("/v"), Path("/q"))
    assert "-netdev" in words
    assert "mon:stdio" not in words


def test_limits_of_a_machine(tmp_path: Path) -> None:
    machine.check(Machine("bios", "sata", 512))
    for bad in ({"memory": 1}, {"memory": 1 << 30}, {"processors": 0}):
        with pytest.raises(UsageError):
            machine.check(Machine("bios", "sata", 512, **bad))
    with pytest.raises(ProgramFailed, match="UEFI"):
        machine.ovmf([(str(tmp_path / "code"), str(tmp_path / "variables"))])


def test_kvm_needs_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescue.view.starting.os.access", lambda *_: True)
    assert accelerators("auto", "flags : fpu vmx sse\n") == ("kvm", "tcg")
    assert accelerators("auto", "flags : fpu sse\n") == ("tcg",)
    assert accelerators("tcg", "flags : vmx") == ("tcg",)
    assert accelerators("kvm", "") == ("kvm",)
    monkeypatch.setattr("rescue.view.starting.os.access", lambda *_: False)
    assert accelerators("auto", "flags : vmx") == ("tcg",)
