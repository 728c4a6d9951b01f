"""A medium made for real: built by the command, examined by other people's tools.

The base layer comes from the cache of the checkout when it is there; on a new machine it is made
here, once, for the boot tests too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from builder.sign import sign
from rescue.core.errors import DiskTrouble, ProgramFailed

PROJECT = Path(__file__).resolve().parents[2]
BUILDER = [sys.executable, "-m", "builder.cli.main"]
LIMIT = 220_000_000
"""Of the variant standard; small has 220 MB."""
pytestmark = pytest.mark.timeout(1200)

KEY = f"ssh-ed25519 {'A' * 68} me@desk"
RECIPE = f"""
hostname = "bench"
jobs = ["night.toml"]
menu_timeout = 1
timezone = "Europe/Berlin"
files = "over"
ssh_authorized_keys = ["{KEY}"]
[modes]
"/home/x/a file" = "0600"
[owners]
"/home/x/a file" = "1000:1001"
[menu_colours]
normal = "yellow/blue"
"""
RESTORE = """action = "restore"
target = { serial = "S1" }
erase = "S1"
image = { label = "medium", path = "rescue/images/pc.rescue" }
"""


def words_for(folder: Path) -> list[str | Path]:
    """The arguments that make the medium of these tests, but for its name."""
    cargo = ["--include", folder / "pc.rescue", "--job", folder / "pc.toml"]
    return ["--recipe", folder / "recipe.toml", *cargo]


def build(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BUILDER, "iso", *map(str, words)],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def tool(*words: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ISO of a recipe with a job in it, and its files unpacked beside it."""
    folder = tmp_path_factory.mktemp("medium")
    (folder / "night.toml").write_text("# a job\n")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    (folder / "over/home/x").mkdir(parents=True)
    (folder / "over/home/x/a file").write_text("hello\n")
    (folder / "over/home/x/link").symlink_to("/etc/motd")
    (folder / "pc.rescue").write_bytes(b"image" * 1000)
    (folder / "pc.toml").write_text(RESTORE)
    done = build(folder / "a.iso", *words_for(folder), SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stderr
    (folder / "out").write_text(done.stdout)
    (folder / "log").write_text(done.stderr)
    tool("xorriso", "-osirrox", "on", "-indev", folder / "a.iso", "-extract", "/", folder / "tree")
    tool("unsquashfs", "-no-xattrs", "-quiet", "-no-progress", "-dest", folder / "top",
         folder / "tree/live/top.squashfs")  # fmt: skip
    yield folder
    subprocess.run(["chmod", "-R", "u+w", folder / "tree"], check=False)


def test_it_says_what_it_made(medium: Path) -> None:
    out = dict(re.findall(r"(?m)^(\w+): +(.*)$", (medium / "out").read_text()))
    size = (medium / "a.iso").stat().st_size
    assert out["size"].startswith(f"{size} bytes")
    assert size <= LIMIT
    assert re.fullmatch(r"[0-9a-f]{64}", out["blake3"])
    assert "-cdrom" in out["try"]
    assert f"dd if={medium / 'a.iso'} of=/dev/sdX" in out["stick"]
    assert re.search(r"write the ISO: .* s, .*[MG]iB/s", (medium / "log").read_text())
    assert not list(medium.glob("*.partial"))


def test_both_boot_entries_and_the_tables(medium: Path) -> None:
    report = tool("xorriso", "-indev", medium / "a.iso", "-report_el_torito", "plain",
                  "-report_system_area", "plain")  # fmt: skip
    assert re.search(r"El Torito boot img : +1 +BIOS +y +none", report)
    assert re.search(r"El Torito boot img : +2 +UEFI +y +none", report)
    assert re.search(r"El Torito img opts : +1 +boot-info-table grub2-boot-info", report)
    assert "MBR protective-msdos-label grub2-mbr" in report
    assert re.search(r"GPT partition path : +1 +/boot/grub/efi.img", report)
    assert "Volume id    : 'RESCUE'" in report


def test_partition_checkers_find_no_fault(medium: Path) -> None:
    verdict = tool("sgdisk", "-v", medium / "a.iso")
    assert "No problems found" in verdict
    assert "Caution" not in verdict
    assert "No errors detected" in tool("sfdisk", "--verify", medium / "a.iso")


def test_every_sum_on_the_medium_is_true(medium: Path) -> None:
    lines = (medium / "tree/sha256sums.txt").read_text().splitlines()
    named = {}
    for line in lines:
        digest, name = line.split("  ", 1)
        named[name] = digest
        data = (medium / "tree" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, name
    there = {
        str(path.relative_to(medium / "tree"))
        for path in (medium / "tree").rglob("*")
        if path.is_file()
    }
    assert there - set(named) == {"sha256sums.txt", "boot/grub/boot.cat"}


def test_secure_boot_files_are_debians_own(medium: Path) -> None:
    image = medium / "tree/boot/grub/efi.img"
    listing = tool("mdir", "-i", image, "-b", "-/", "::")
    assert {"BOOTX64.EFI", "GRUBX64.EFI", "MMX64.EFI"} <= {
        line.rpartition("/")[2].upper() for line in listing.splitlines()
    }
    for name in ("BOOTX64.EFI", "grubx64.efi", "mmx64.efi"):
        copy = medium / name
        tool("mcopy", "-n", "-o", "-i", image, f"::/EFI/BOOT/{name}", copy)
        # The certificate table of the PE header: what a signature is.
        data = copy.read_bytes()
        optional = int.from_bytes(data[0x3C:0x40], "little") + 24
        entry = optional + (112 if data[optional : optional + 2] == b"\x0b\x02" else 96) + 4 * 8
        at = int.from_bytes(data[entry : entry + 4], "little")
        size = int.from_bytes(data[entry + 4 : entry + 8], "little")
        assert size > 1000, name
        assert at + size <= len(data), name


def test_the_top_layer_holds_project_recipe_and_no_identity(medium: Path) -> None:
    top = medium / "top"
    assert (top / "etc/hostname").read_text() == "bench\n"
    packages = next(top.glob("usr/local/lib/python3.*/dist-packages"))
    assert (packages / "rescue/core/errors.py").read_bytes() == (
        PROJECT / "rescue/core/errors.py"
    ).read_bytes()
    assert list((packages / "rescue/core/__pycache__").glob("errors.cpython-313.pyc"))
    assert (packages / "typer").is_dir()
    assert not (packages / "builder").exists()
    assert os.access(top / "usr/bin/rescue", os.X_OK)
    assert (medium / "tree/rescue/jobs/night.toml").read_text() == "# a job\n"
    text = (medium / "tree/boot/grub/grub.cfg").read_text()
    assert "set timeout=1\n" in text


def test_the_recipes_files_have_their_owners_and_modes(medium: Path) -> None:
    lines = tool("unsquashfs", "-lln", "-d", "", medium / "tree/live/recipe.squashfs").splitlines()
    found = {}
    for line in lines:
        match = re.match(r"(\S+) (\d+/\d+) +\d+ \S+ \S+ (.*)$", line)
        if match is not None:
            found[match[3]] = (match[1], match[2])
    assert found["/home/x/a file"] == ("-rw-------", "1000/1001")
    assert found["/home/x"] == ("drwxr-xr-x", "0/0")
    assert found["/home/x/link -> /etc/motd"][1] == "0/0"
    assert found["/root"] == ("drwx------", "0/0")
    assert found["/root/.ssh/authorized_keys"] == ("-rw-------", "0/0")
    layers = (medium / "tree/live/filesystem.module").read_text().split()
    assert layers == ["base.squashfs", "top.squashfs", "recipe.squashfs"]


def test_the_recipes_settings_are_on_the_top_layer(medium: Path) -> None:
    top = medium / "top"
    assert str((top / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Europe/Berlin"
    assert "DHCP=yes" in (top / "etc/systemd/network/70-recipe.network").read_text()
    wants = {path.name for path in (top / "etc/systemd/system/multi-user.target.wants").iterdir()}
    assert {"ssh.service", "systemd-networkd.service"} <= wants
    sshd = (PROJECT / "overlays/etc/ssh/sshd_config.d/rescue.conf").read_text()
    assert "PasswordAuthentication no" in sshd
    text = (medium / "tree/boot/grub/grub.cfg").read_text()
    assert "set menu_color_normal=yellow/blue\n" in text


def test_a_recovery_medium_carries_its_image_and_offers_its_job(medium: Path) -> None:
    tree = medium / "tree"
    assert (tree / "rescue/images/pc.rescue").read_bytes() == b"image" * 1000
    assert (tree / "rescue/recovery/pc.toml").read_text() == RESTORE
    assert not (tree / "rescue/jobs/pc.toml").exists()
    assert "Recovery by pc.toml" in (tree / "boot/grub/grub.cfg").read_text()


def test_the_list_of_contents_names_every_package(medium: Path) -> None:
    document = json.loads((medium / "tree/live/contents.spdx.json").read_text())
    names = {package["name"] for package in document["packages"]}
    for line in (medium / "tree/live/packages.txt").read_text().splitlines():
        assert line.split()[0].split(":")[0] in names
    assert {"rescue", "typer", "blake3"} <= names


def test_both_sums_are_those_of_the_file(medium: Path) -> None:
    out = dict(re.findall(r"(?m)^(\w+): +(.*)$", (medium / "out").read_text()))
    data = (medium / "a.iso").read_bytes()
    assert out["sha256"] == hashlib.sha256(data).hexdigest()
    assert out["blake3"] == blake3(data).hexdigest()


def test_nothing_on_the_base_layer_identifies_or_listens(medium: Path) -> None:
    base = medium / "tree/live/base.squashfs"
    names = set(tool("unsquashfs", "-lls", "-no-progress", "-dest", "", base).splitlines())
    paths = {line.split(None, 5)[-1] for line in names if line.count(" ") > 4}
    for gone in ("/etc/nvme/hostid", "/etc/nvme/hostnqn", "/etc/ssh/ssh_host_ed25519_key"):
        assert gone not in paths
    assert any(path.endswith("/sbin/partclone.ntfs") for path in paths)
    assert not any(re.match(r"/etc/systemd/system/[^/]+\.wants/", path) for path in paths)
    machine_id = [line for line in names if line.endswith(" /etc/machine-id")]
    assert re.search(r"\s0 \d{4}-", machine_id[0])
    shadow = subprocess.run(
        ["unsquashfs", "-cat", base, "etc/shadow"], capture_output=True, text=True, check=True
    ).stdout
    assert len(shadow.splitlines()) > 5
    assert all(line.split(":")[1].startswith(("!", "*")) for line in shadow.splitlines())


def test_the_same_input_gives_the_same_bytes_and_a_rebuild_is_quick(medium: Path) -> None:
    began = time.monotonic()
    done = build(medium / "b.iso", *words_for(medium), SOURCE_DATE_EPOCH="1700000000")
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert (medium / "a.iso").read_bytes() == (medium / "b.iso").read_bytes()
    assert seconds < 20


def test_a_lock_of_what_is_there_gives_the_same_medium(medium: Path) -> None:
    """And a signature by a key says whose it is."""
    path = medium / "recipe.lock"
    tool(*BUILDER, "lock", path, "--recipe", medium / "recipe.toml")
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + len((medium / "tree/live/packages.txt").read_text().splitlines())
    key = medium / "key"
    tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    words = [*words_for(medium), "--lock", path, "--sign", key]
    done = build(medium / "c.iso", *words, SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stderr
    assert "kept from an earlier build" in done.stderr
    data = (medium / "c.iso").read_bytes()
    assert data == (medium / "a.iso").read_bytes()
    (medium / "allowed").write_text(f"me {key.with_suffix('.pub').read_text()}")
    verify = ["ssh-keygen", "-Y", "verify", "-f", medium / "allowed", "-I", "me"]
    verify += ["-n", "rescue-medium", "-s", medium / "c.iso.sig"]
    for content, status in ((data, 0), (data[:-1] + b"x", 255)):
        checked = subprocess.run([str(w) for w in verify], input=content, check=False,
                                 capture_output=True)  # fmt: skip
        assert checked.returncode == status, checked.stderr


def test_minisign_signs_too(tmp_path: Path) -> None:
    """And a key that is none is told as such; the program that signs is the judge of its keys."""
    iso, key, public = (tmp_path / name for name in ("x.iso", "x.key", "x.pub"))
    iso.write_bytes(b"what is signed")
    tool("minisign", "-G", "-W", "-p", public, "-s", key)
    signature = sign(iso, key)
    assert signature == tmp_path / "x.iso.minisig"
    verify = ["minisign", "-V", "-q", "-p", str(public), "-m", str(iso)]
    assert subprocess.run(verify, check=False).returncode == 0
    iso.write_bytes(b"what is not signed")
    assert subprocess.run(verify, check=False, capture_output=True).returncode != 0
    with pytest.raises(ProgramFailed, match="minisign could not sign"):
        sign(iso, public)
    with pytest.raises(DiskTrouble, match="no such file"):
        sign(iso, tmp_path / "gone")


def test_ctrl_c_leaves_no_half_iso_and_the_old_one(medium: Path) -> None:
    output = medium / "old.iso"
    output.write_bytes(b"the old one")
    child = subprocess.Popen(
        [*BUILDER, "iso", str(output)], cwd=PROJECT, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("top layer"):
            child.send_signal(signal.SIGINT)
            break
    rest = child.stderr.read()
    assert child.wait() == 130, rest
    assert "error: interrupted" in rest
    assert "Traceback" not in rest
    assert output.read_bytes() == b"the old one"
    assert not list(medium.glob("old.iso?*"))
    assert not list((PROJECT / ".cache").glob("build-*"))


def test_a_second_build_touches_nothing_before_the_first_is_done(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [*BUILDER, "iso", str(tmp_path / "x.iso"), "--cache", str(tmp_path)],
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        assert any("waiting for another build" in line for line in child.stderr)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        child.send_signal(signal.SIGINT)
        assert "error: interrupted" in child.stderr.read()
        assert child.wait() == 130
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{folder}"], 2, "is a directory"),
        (["{folder}/x.iso", "--recipe", "{folder}/gone.toml"], 10, "no such file"),
        (["{folder}/x.iso", "--recipe", "{folder}"], 10, "is a directory"),
        (["{folder}/x.iso", "--recipe", "/dev/zero"], 2, "larger than a recipe"),
        (["{folder}/file/x.iso"], 10, "cannot make"),
        (["/dev/null"], 2, "not a plain file"),
        ([], 2, "missing argument"),
        (["{folder}/x.iso", "--include", "{folder}/gone"], 10, "there is no file"),
        (["{folder}/x.iso", "--job", "{folder}/file"], 2, "not a job file's name"),
        (["{folder}/x.iso", "--lock", "{folder}/file"], 2, "is not a lock"),
        (["{folder}/x.iso", "--nonsense"], 2, "no such option"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    (tmp_path / "file").write_text("")
    done = build(*(word.format(folder=tmp_path) for word in words))
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert len(errors) == 1, done.stderr
    assert message in errors[0].lower()
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_clock_that_is_none(tmp_path: Path) -> None:
    done = build(tmp_path / "x.iso", SOURCE_DATE_EPOCH="yesterday")
    assert done.returncode == 2
    assert "error: SOURCE_DATE_EPOCH is not a time: 'yesterday'" in done.stderr
