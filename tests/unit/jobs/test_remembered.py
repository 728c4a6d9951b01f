"""What a stick remembers: what is taken of its folder, and where that is put."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rescue.jobs import remembered
from rescue.jobs.remembered import Remembered, lay, read

KEY = f"ssh-ed25519 {'A' * 68} me@desk"
OTHER = f"ssh-rsa {'B' * 400}=="


def folder(root: Path) -> Path:
    path = root / remembered.FOLDER
    path.mkdir()
    return path


def test_an_empty_partition_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == Remembered()
    folder(tmp_path)
    assert read(tmp_path) == Remembered()
    assert lay(Remembered(), tmp_path) == []
    assert not (tmp_path / "root").exists()


def test_keys_are_taken_line_by_line(tmp_path: Path) -> None:
    lines = ["# mine", KEY, "", f'command="reboot" {KEY}', "secret", OTHER]
    (folder(tmp_path) / "authorized_keys").write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    )
    found = read(tmp_path)
    assert found.keys == (KEY, OTHER)
    assert [line.partition(":")[0] for line in found.ignored] == [
        "authorized_keys, line 4",
        "authorized_keys, line 5",
    ]
    root = tmp_path / "system"
    (root / "root/.ssh").mkdir(parents=True)
    (root / "root/.ssh/authorized_keys").write_text("of the recipe\n")
    assert lay(found, root) == ["systemd-networkd.service", "ssh.service"]
    written = root / "root/.ssh/authorized_keys"
    assert written.read_text() == f"of the recipe\n{KEY}\n{OTHER}\n"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_no_key_that_can_be_used_opens_nothing(tmp_path: Path) -> None:
    (folder(tmp_path) / "authorized_keys").write_text("ssh-ed25519 short\n")
    assert lay(read(tmp_path), tmp_path / "system") == []


def test_networks_and_wifi(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "office.network").write_text("[Match]\nType=ether\n")
    (place / "bad name.network").write_text("x")
    (place / "wifi.conf").write_text('network={\n psk="secret words"\n}\n')
    found = read(tmp_path)
    assert found.networks == (("office.network", "[Match]\nType=ether\n"),)
    assert "secret words" not in repr(found)
    root = tmp_path / "system"
    (root / "sys/class/net/wlp2s0/phy80211").mkdir(parents=True)
    (root / "sys/class/net/enp1s0").mkdir()
    assert lay(found, root) == ["systemd-networkd.service", "rescue-wifi@wlp2s0.service"]
    networks = root / "run/systemd/network"
    assert sorted(path.name for path in networks.iterdir()) == [
        "60-stick-office.network",
        "65-stick-wifi.network",
    ]
    assert stat.S_IMODE((root / "etc/rescue/wifi.conf").stat().st_mode) == 0o600


def test_only_plain_small_files_are_read(tmp_path: Path) -> None:
    place = folder(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(KEY + "\n")
    (place / "authorized_keys").symlink_to(secret)
    os.mkfifo(place / "wifi.conf")
    (place / "large.network").write_bytes(b"#" * (remembered.MAX_FILE + 1))
    (place / "binary.network").write_bytes(b"\xff\xfe")
    found = read(tmp_path)
    assert (found.keys, found.networks, found.wifi) == ((), (), "")
    assert {line.partition(":")[0] for line in found.ignored} == {
        "authorized_keys",
        "wifi.conf",
        "large.network",
        "binary.network",
    }
