"""What an EFI system partition needs to be started, and where boot entries lead."""

from __future__ import annotations

import base64
import struct
import uuid
from pathlib import Path

import pytest

from rescue.devices.model import Disk
from rescue.restore import bootentries
from rescue.restore.bootentries import Target, missing, parse
from rescue.restore.esp import Copy, Loader, is_program, survey
from rescue.restore.starting import Starting, entries_for

GUID = "9ed95596-0133-834f-bfbb-3bcd2521ff8f"
# As efibootmgr made it and OVMF kept it, read from /sys/firmware/efi/efivars.
REAL = (
    "BwAAAAEAAABiAGQAZQBiAGkAYQBuAAAABAEqAAIAAAAAEAAAAAAAAAAAAgAAAAAAv3FeP5vWh1aW1HrHzh3xhwICBAQ0AFwA"
    "RQBGAEkAXABkAGUAYgBpAGEAbgBcAGcAcgB1AGIAeAA2ADQALgBlAGYAaQAAAH//BAA="
)
SHIM = Loader("EFI/debian/shimx64.efi", "debian")


def every(_path: str) -> bool:
    return True


def test_a_fallback_that_is_there_is_left_alone() -> None:
    found = survey(1, {"EFI/Boot/bootx64.efi": 9, "EFI/debian/shimx64.efi": 9,
                       "EFI/debian/grubx64.efi": 9}, every)  # fmt: skip
    assert (found.fallback, found.copies) == ("there", ())
    assert [one.path for one in found.loaders] == ["EFI/debian/shimx64.efi"]
    other = survey(1, {"EFI/BOOT/BOOTX64.EFI": 9}, lambda _path: False)
    assert (other.fallback, other.copies) == ("not a program", ())


def test_shim_comes_with_grub_and_what_is_beside_it() -> None:
    files = {"EFI/debian/" + name: size for name, size in (
        ("shimx64.efi", 1), ("grubx64.efi", 2), ("mmx64.efi", 3), ("grub.cfg", 4), ("fbx64.efi", 5),
    )}  # fmt: skip
    files |= {"EFI/Microsoft/Boot/bootmgfw.efi": 6, "EFI/Microsoft/Boot/BCD": 7}
    found = survey(2, files, every)
    assert found.copies == (
        Copy("EFI/debian/shimx64.efi", "EFI/BOOT/BOOTX64.EFI", 1),
        Copy("EFI/debian/grubx64.efi", "EFI/BOOT/grubx64.efi", 2),
        Copy("EFI/debian/mmx64.efi", "EFI/BOOT/mmx64.efi", 3),
        Copy("EFI/debian/grub.cfg", "EFI/BOOT/grub.cfg", 4),
    )
    assert [(one.path, one.label) for one in found.loaders] == [
        ("EFI/debian/shimx64.efi", "debian"),
        ("EFI/Microsoft/Boot/bootmgfw.efi", "Windows Boot Manager"),
    ]


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (["EFI/Microsoft/Boot/bootmgfw.efi"], "EFI/Microsoft/Boot/bootmgfw.efi"),
        (["EFI/systemd/systemd-bootx64.efi"], "EFI/systemd/systemd-bootx64.efi"),
        (["EFI/arch/GRUBX64.EFI"], "EFI/arch/GRUBX64.EFI"),
        (["EFI/opensuse/shim.efi", "EFI/opensuse/grub.efi"], "EFI/opensuse/shim.efi"),
        # A shim alone starts nothing; a copy in another folder is not Windows' own loader.
        (["EFI/debian/shimx64.efi"], None),
        (["EFI/copy/bootmgfw.efi"], None),
        (["shimx64.efi", "EFI/debian/BOOTX64.CSV"], None),
        ([], None),
    ],
)
def test_each_known_loader(files: list[str], source: str | None) -> None:
    found = survey(1, dict.fromkeys(files, 1), every)
    assert [copy.source for copy in found.copies[:1]] == ([source] if source else [])
    assert found.fallback == "missing"


def test_what_stands_beside_the_fallback_is_not_written_over() -> None:
    files = dict.fromkeys(
        ["EFI/debian/shimx64.efi", "EFI/debian/grubx64.efi", "EFI/boot/GRUBX64.EFI"], 1
    )
    assert len(survey(1, files, every).copies) == 1


def test_a_loader_for_another_kind_of_machine_is_none() -> None:
    def program(machine: int) -> bytes:
        head = bytearray(512)
        head[:2], head[60:64], head[128:132] = b"MZ", (128).to_bytes(4, "little"), b"PE\0\0"
        head[132:134] = machine.to_bytes(2, "little")
        return bytes(head)

    assert is_program(program(0x8664))
    assert not is_program(program(0xAA64))
    assert not is_program(b"") and not is_program(b"MZ" + bytes(62)) and not is_program(bytes(512))
    assert not survey(1, {"EFI/a/grubx64.efi": 9}, lambda _path: False).loaders


def variable(path: str, *, guid: str = GUID, partition: int = 1, kind: int = 2) -> bytes:
    """A boot entry as UEFI 2.10 lays it out: 3.1.3, 10.3.5.1 and 10.3.5.4."""
    drive = struct.pack("<BBHIQQ16sBB", 4, 1, 42, partition, 2048, 131072,
                        uuid.UUID(guid).bytes_le, 2, kind)  # fmt: skip
    text = path.encode("utf-16-le") + b"\0\0"
    paths = drive + struct.pack("<BBH", 4, 4, 4 + len(text)) + text + b"\x7f\xff\4\0"
    return struct.pack("<IIH", 7, 1, len(paths)) + "debian\0".encode("utf-16-le") + paths + b"more"


def test_where_an_entry_leads() -> None:
    path = "\\EFI\\debian\\shimx64.efi"
    whole = variable(path)
    assert parse(whole) == Target(GUID, 1, path)
    real = Target("3f5e71bf-d69b-5687-96d4-7ac7ce1df187", 2, "\\EFI\\debian\\grubx64.efi")
    assert parse(base64.b64decode(REAL)) == real
    assert parse(variable(path, kind=1)) is None  # a signature of an MBR
    # Firmware entries of discs, networks and its own programs, and what is cut off: none is ours.
    assert parse(b"") is None
    for end in range(len(whole)):
        found = parse(whole[:end])
        assert found is None or found.guid == GUID


def test_an_entry_that_is_right_is_no_reason_for_another() -> None:
    there = [Target(GUID.upper(), 1, "\\efi\\DEBIAN\\shimx64.efi")]
    assert missing([SHIM], GUID, 1, there) == []
    assert missing([SHIM], GUID, 2, there) == [SHIM]
    assert missing([SHIM], str(uuid.uuid4()), 1, there) == [SHIM]


def test_entries_are_made_on_the_machine_itself_only(tmp_path: Path) -> None:
    disk = Disk(Path("/dev/sda"), "block", 1, 512, 512, transport="sata")
    assert "no disk of this machine" in bootentries.why_not(None)
    file = Disk(Path("a"), "file", 1, 512, 512, transport="file")
    assert "no disk of this machine" in bootentries.why_not(file)
    stick = Disk(Path("/dev/sdb"), "block", 1, 512, 512, transport="usb")
    assert "not built into" in bootentries.why_not(stick)
    assert "not started by UEFI" in bootentries.why_not(disk, tmp_path / "none")
    assert "no variables" in bootentries.why_not(disk, tmp_path)


def test_the_plan_in_words_and_values() -> None:
    esp = survey(1, {"EFI/debian/shimx64.efi": 4096, "EFI/debian/grubx64.efi": 4096}, every)
    there = entries_for(esp, GUID, "", [Target(GUID, 1, "\\EFI\\debian\\shimx64.efi")])
    fresh = entries_for(esp, GUID, "", [])
    assert there is not None and fresh is not None and not there.made and not fresh.there
    text = "\n".join(Starting((esp,), (there, fresh)).lines())
    assert "before, \\EFI\\BOOT\\BOOTX64.EFI is missing" in text
    assert "a copy of \\EFI\\debian\\shimx64.efi, with grubx64.efi (8.0 KiB)" in text
    assert "an entry for \\EFI\\debian\\shimx64.efi is there" in text
    assert "a boot entry 'debian' is made" in text
    values = Starting((esp,), (fresh,)).to_json()
    assert values["fallback"][0]["before"] == "missing"
    assert values["fallback"][0]["after"] == "there"
    assert values["boot_entries"][0]["made"] == [
        {"label": "debian", "path": "\\EFI\\debian\\shimx64.efi"}
    ]
