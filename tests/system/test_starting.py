"""An EFI system partition without anything on the fallback path gets it filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from tests.system.test_fit import cut_out, parts
from tests.system.test_round_trip import digest, rescue

ESP = 48 * MIB
START = 20480 * 52


def program(folder: Path, name: str) -> Path:
    """A real program for UEFI."""
    path = folder / name
    modules = ["part_gpt", "fat", "normal", "configfile", "ext2"]
    run(["grub-mkimage", "-O", "x86_64-efi", "-p", f"/EFI/{name}", "-o", path, *modules])
    return path


def machine(folder: Path, *, full: bool = False, start: int = START) -> Path:
    """A disk with an ESP on which only Debian's folder has a loader; captured."""
    volume = folder / "esp"
    with volume.open("wb") as file:
        file.truncate(ESP)
    run(["mkfs.vfat", "-F", "32", "-s", "1", "-n", "ESP", volume])
    run(["mmd", "-i", volume, "::/EFI", "::/EFI/debian"])
    for name in ("shimx64.efi", "grubx64.efi", "mmx64.efi"):
        run(["mcopy", "-i", volume, program(folder, name), f"::/EFI/debian/{name}"])
    config = folder / "grub.cfg"
    config.write_text("search.fs_uuid 0000 root\n")
    run(["mcopy", "-i", volume, config, "::/EFI/debian/grub.cfg"])
    if full:
        filler = folder / "filler"
        free = run(["mdir", "-i", volume, "::"]).text.split("bytes free")[0].split("\n")[-1]
        filler.write_bytes(b"x" * (int(free.replace(" ", "")) - 100_000))
        run(["mcopy", "-i", volume, filler, "::filler"])
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(80 * MIB)
    where = f"start={start // 512}, size={ESP // 512}"
    lines = ["label: gpt", "first-lba: 34", f"{where}, type=U, name=esp"]
    run(["sfdisk", "--quiet", disk], input="\n".join(lines).encode())
    run(["dd", f"if={volume}", f"of={disk}", "bs=20K", f"seek={start // 20480}",
         "conv=notrunc,sparse"])  # fmt: skip
    rescue("capture", disk, folder / "machine.rescue")
    return folder / "machine.rescue"


def content(volume: Path, path: str) -> bytes:
    return run(["mtype", "-i", volume, f"::/{path}"]).stdout


def check_filled(disk: Path, folder: Path) -> None:
    """The fallback path holds what Debian's folder does, and the filesystem is whole."""
    volume = cut_out(disk, parts(disk)[1], folder / "restored.esp")
    assert "Dirty" not in run(["fsck.vfat", "-n", volume]).text
    for source, target in (("shimx64.efi", "BOOTX64.EFI"), ("grubx64.efi", "grubx64.efi"),
                           ("mmx64.efi", "mmx64.efi"), ("grub.cfg", "grub.cfg")):  # fmt: skip
        known = content(volume, f"EFI/debian/{source}")
        assert known and content(volume, f"EFI/BOOT/{target}") == known, target


@pytest.mark.parametrize("size", [80 * MIB, 120 * MIB])
def test_the_fallback_path_is_filled_in(tmp_path: Path, size: int) -> None:
    """At its place, and rebuilt longer; said before and after; and it can be left away."""
    image, back = machine(tmp_path), tmp_path / "back.raw"
    with back.open("wb") as file:
        file.truncate(size)
    words = ["restore", image, back, *(["--fit", "1"] if size > 80 * MIB else [])]
    plan = json.loads(rescue(*words, "--dry-run", "--json").stdout)
    (fallback,) = plan["repairs"]["fallback"]
    assert (fallback["before"], fallback["after"]) == ("missing", "there")
    assert fallback["copies"][0]["to"] == "\\EFI\\BOOT\\BOOTX64.EFI"
    (entry,) = plan["repairs"]["boot_entries"]
    assert entry["why_not"] and not entry["made"]
    done = rescue(*words, "--erase", back)
    assert "outcome: complete" in done.stdout and "was filled in with" in done.stdout
    check_filled(back, tmp_path)
    # Once more, comparing: the image has no such files, and they are there again.
    rescue(*words, "--erase", back, "--changed-only", "--undo-file", tmp_path / "undo")
    check_filled(back, tmp_path)
    if size == 80 * MIB:
        back = tmp_path / "plain.raw"
        rescue("restore", image, back, "--no-repair")
        assert digest(back, 0, size) == digest(tmp_path / "disk.raw", 0, size)


def test_a_partition_without_room_is_told(tmp_path: Path) -> None:
    """The rest is restored all the same, and nothing of it is damaged."""
    image, back = machine(tmp_path, full=True), tmp_path / "back.raw"
    done = rescue("restore", image, back)
    assert "was not filled in" in done.stdout and "outcome: complete" in done.stdout
    assert digest(back, 0, 80 * MIB) == digest(tmp_path / "disk.raw", 0, 80 * MIB)


def test_a_partition_that_begins_in_the_first_chunk(tmp_path: Path) -> None:
    """That chunk is written last of all, with the table, and must not undo it."""
    image, back = machine(tmp_path, start=20480), tmp_path / "back.raw"
    done = rescue("restore", image, back)
    assert "outcome: complete" in done.stdout and "was filled in with" in done.stdout
    check_filled(back, tmp_path)
