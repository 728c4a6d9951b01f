"""Which boot loader is started when no firmware remembers one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.view.loader import choose, files_of, script

DEBIAN = ["EFI/debian/grubx64.efi", "EFI/debian/shimx64.efi", "EFI/debian/mmx64.efi"]


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (DEBIAN, "EFI/debian/shimx64.efi"),
        ([*DEBIAN, "EFI/Boot/bootx64.EFI"], None),
        (["EFI/Microsoft/Boot/bootmgfw.efi"], "EFI/Microsoft/Boot/bootmgfw.efi"),
        (["efi/systemd/systemd-bootx64.efi"], "efi/systemd/systemd-bootx64.efi"),
        (["EFI/x y/shimx64.efi", "EFI/$(reboot)/grubx64.efi", "EFI/a%i/grubx64.efi"], None),
        (["EFI/tools/memtest.efi"], None),
        ([], None),
    ],
)
def test_the_loader_that_an_installer_would_note(paths: list[str], chosen: str | None) -> None:
    assert choose(paths) == chosen


def test_the_script_looks_on_every_disk() -> None:
    lines = script("EFI/debian/shimx64.efi").split("\r\n")
    assert "  if exist fs%i:\\EFI\\debian\\shimx64.efi then" in lines
    assert lines[4:6] == ["    cd \\EFI\\debian", "    shimx64.efi"]


def test_files_below_efi_only(tmp_path: Path) -> None:
    for name in ("EFI/debian/shimx64.efi", "EFI/debian/grub.cfg", "other/shimx64.efi", "top.efi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert files_of(tmp_path) == ["EFI/debian/shimx64.efi"]
    assert files_of(tmp_path / "not there") == []
