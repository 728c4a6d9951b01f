"""The view with real tools: every filesystem looked into, copied out of, compared, exported.

The originals are read by mounting the source's own partitions, never by what is tested here.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.core.process import find, run
from rescue.core.units import MIB
from tests.system import volumes
from tests.system.test_round_trip import Made, make_disk, rescue

pytestmark = [pytest.mark.root]
NAMES = ["ext4", "fat32", "ntfs", "xfs", "btrfs"]
POSIX = ("ext4", "xfs", "btrfs")
RESCUE = Path(sys.executable).parent / "rescue"
FIND = "%P\\0%y\\0%s\\0%m\\0%U\\0%G\\0%T@\\0%l\\0"
TYPES = {"f": "file", "d": "folder", "l": "link", "p": "pipe", "c": "character device"}


@contextmanager
def original(made: Made, name: str, folder: Path, options: str = "ro") -> Iterator[Path]:
    """A partition of the source's disk, mounted by the kernel or ntfs-3g."""
    start, size = next((start, size) for n, start, size in made.volumes if n == name)
    where = ["--offset", str(start), "--sizelimit", str(size)]
    ro = ["--read-only"] if options.startswith("ro") else []
    loop = run(["losetup", "--find", "--show", *ro, *where, made.disk]).text.strip()
    folder.mkdir(exist_ok=True)
    mount = ["ntfs-3g"] if name == "ntfs" else ["mount"]
    options = f"{options},permissions" if name == "ntfs" else options
    try:
        run([*mount, "-o", options, loop, folder])
        try:
            yield folder
        finally:
            run(["umount", folder])
    finally:
        run(["losetup", "--detach", loop], check=False)


def fill_awkwardly(folder: Path) -> None:
    """What only a filesystem for Unix holds: owners, modes, times, links, attributes, odd names."""
    many = folder / "many"
    many.mkdir()
    for number in range(300):
        file = many / f"{number:04}"
        file.write_bytes(bytes([number % 256]) * number)
        file.chmod(0o400 + number % 0o377)
        os.chown(file, 1000 + number, 2000)
        os.utime(file, ns=(1, 1_000_000_000_123_456_789 + number * 10**12))
    (folder / "set-user-id").write_bytes(b"#!")
    (folder / "set-user-id").chmod(0o4755)
    (folder / "sticky").mkdir(mode=0o1777)
    (folder / "out").symlink_to("/etc")
    (folder / "up").symlink_to("../../../../etc/passwd")
    (folder / "nowhere").symlink_to("not there")
    (folder / "inside").symlink_to("/many")
    os.lchown(folder / "nowhere", 77, 78)
    Path(os.fsdecode(bytes(folder) + b"/not \xff\xfe UTF-8\n")).write_text("odd")
    os.setxattr(many / "0007", "user.note", b"kept")
    os.setxattr(many, "user.folder", b"too")
    os.mkfifo(folder / "pipe", 0o640)
    os.mknod(folder / "null", 0o600 | 0o020000, os.makedev(1, 3))
    os.utime(folder / "sticky", ns=(1, 987_654_321_000_000_000))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("view")
    disk = make_disk(folder, "gpt", NAMES)
    for name in POSIX:
        with original(disk, name, folder / "fill", "rw") as there:
            fill_awkwardly(there)
    with original(disk, "ntfs", folder / "fill", "rw") as there:
        (there / "later").chmod(0o640)
    return disk


@pytest.fixture(scope="module")
def image(made: Made) -> Path:
    path = made.disk.parent / "disk.rescue"
    rescue("capture", made.disk, path)
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def found(folder: Path) -> dict[str, tuple[str, ...]]:
    """What ``find`` says of everything below a folder: type, size, mode, owner, time, target."""
    done = run(["find", folder, "-mindepth", "1", "-printf", FIND])
    words = os.fsdecode(done.stdout).split("\0")[:-1]
    rows = [words[at : at + 8] for at in range(0, len(words), 8)]
    return {row[0]: tuple(row[1:2] + ([] if row[1] == "d" else row[2:3]) + row[3:]) for row in rows}


def attributes(folder: Path) -> dict[str, dict[str, bytes]]:
    known = {}
    for path in folder.rglob("*"):
        names = [] if path.is_symlink() else os.listxattr(path)
        if names:
            known[str(path.relative_to(folder))] = {n: os.getxattr(path, n) for n in names}
    return known


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where private views of these tests are made; somebody else's are none of their business."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("scratch"))
    yield
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before


def no_view_is_left() -> bool:
    """Nothing mounted, no loop device, no folder of these tests."""
    mine = f"{os.environ['TMPDIR']}/rescue-view-"
    mounts = Path("/proc/self/mountinfo").read_text()
    loops = run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).text
    return mine not in mounts + loops


def wait_for(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_original(made: Made, image: Path, tmp_path: Path, name: str) -> None:
    """Content, and where the filesystem has them modes, owners, times, links and attributes."""
    out, number = tmp_path / "out", NAMES.index(name) + 1
    done = rescue("copy", "--json", image, number, out)
    result = json.loads(done.stdout)
    assert result["failures"] == 0
    assert result["unkept"] == {}
    if name == "fat32":
        assert volumes.folded(volumes.hashes_of(out)) == made.files[name]
        reference = tmp_path / "reference"
        reference.mkdir()
        start = next(start for n, start, _ in made.volumes if n == name)
        run(["mcopy", "-s", "-Q", "-m", "-i", f"{made.disk}@@{start}", "::*", reference])
        assert times(out) == times(reference)
        return
    with original(made, name, tmp_path / "original") as there:
        assert volumes.hashes_of(out) == volumes.hashes_of(there)
        assert found(out) == found(there)
        if name in POSIX:
            assert attributes(out) == attributes(there) != {}
            assert (out / "big").stat().st_ino == (out / "same").stat().st_ino
            assert (out / "sparse").stat().st_blocks * 512 < MIB
    assert len(found(out)) > (450 if name in POSIX else 150)
    assert no_view_is_left()


def times(folder: Path) -> dict[str, int]:
    """Time of each file in seconds; FAT keeps even ones. Some short names lose their case."""
    return {
        str(path.relative_to(folder)).casefold(): int(path.stat().st_mtime)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["ext4", "ntfs", "xfs", "btrfs"])
def test_ls_lists_what_find_lists(made: Made, image: Path, tmp_path: Path, name: str) -> None:
    done = rescue("ls", "--recursive", "--json", image, NAMES.index(name) + 1)
    listed = json.loads(done.stdout)["entries"]
    with original(made, name, tmp_path / "original") as there:
        wanted = found(there)
    assert {entry["path"] for entry in listed} == set(wanted)
    for entry in listed:
        kind, *rest = wanted[entry["path"]]
        assert entry["type"] == TYPES[kind]
        mode, owner, group, when, target = rest[-5:]
        assert int(entry["mode"], 8) == int(mode, 8)
        assert (str(entry["uid"]), str(entry["gid"])) == (owner, group)
        assert entry["mtime_ns"] == int(when.replace(".", "")) // 10
        assert entry.get("target", "") == target
        if kind == "f":
            assert str(entry["size"]) == rest[0]


def test_ls_and_find_on_fat(made: Made, image: Path) -> None:
    listed = json.loads(rescue("ls", "-R", "--json", image, "2").stdout)["entries"]
    files = {entry["path"].casefold() for entry in listed if entry["type"] == "file"}
    assert files == set(made.files["fat32"])
    hits = rescue("find", image, "later").stdout.split()
    assert hits == ["1/later", "2/later", "3/later", "4/later", "5/later"]
    hits = rescue("find", "-i", image, "MANY/000?").stdout.split()
    assert hits == [f"{volume}/many/000{digit}" for volume in (1, 4, 5) for digit in range(10)]


def test_paths_that_climb_out_are_refused(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for path in ("1/../../etc/passwd", "..", "../1", "1/up/x", "1/out/passwd"):
        rescue("copy", image, path, out, ok=2)
        rescue("ls", image, path, ok=2)
    assert not out.exists()
    # A link inside is followed inside: /many is the volume's own.
    rescue("copy", image, "1/inside/0007", out)
    assert (out / "0007").read_bytes() == b"\x07" * 7
    # A link where a folder should go is not followed, and no file is written over.
    away, trap = tmp_path / "away", tmp_path / "trap"
    away.mkdir()
    trap.mkdir()
    (trap / "many").symlink_to(away)
    rescue("copy", image, "1/many", trap, ok=3)
    assert list(away.iterdir()) == []
    rescue("copy", image, "1/inside/0007", out, ok=3)


@contextmanager
def mounted(*words: object, at: Path) -> Iterator[Path]:
    """A view, unmounted whatever happens."""
    rescue("mount", *words, at)
    try:
        yield at
    finally:
        if os.path.ismount(at):
            rescue("unmount", "--lazy", at)


def test_tools_work_on_the_raw_files(made: Made, image: Path, tmp_path: Path) -> None:
    """Checkers, partclone, losetup, sfdisk and qemu-img, on files that are not there."""
    with mounted("--raw", image, at=tmp_path / "view") as view:
        for number, name in enumerate(NAMES, start=1):
            assert volumes.fault(volumes.KINDS[name], view / f"partition-{number}.raw") == "", name
            program = {"fat32": "vfat"}.get(name, name)
            mapped = tmp_path / f"{name}.map"
            run(
                [f"partclone.{program}", "-D", "-s", view / f"partition-{number}.raw", "-o", mapped]
            )
            assert "+" in mapped.read_text()
        table = run(["sfdisk", "--dump", view / "disk.raw"]).text
        assert table.replace(str(view / "disk.raw"), "x") == run(
            ["sfdisk", "--dump", made.disk]
        ).text.replace(str(made.disk), "x")
        back = tmp_path / "back.raw"
        rescue("restore", image, back)
        same = run(["qemu-img", "compare", "-f", "raw", "-F", "raw", view / "disk.raw", back])
        assert "identical" in same.text
        loop = run(["losetup", "--find", "--show", "--read-only", view / "disk.raw"]).text.strip()
        try:
            assert digest(Path(loop)) == digest(back)
        finally:
            run(["losetup", "--detach", loop])
        with pytest.raises(PermissionError if os.geteuid() else OSError):
            (view / "disk.raw").open("r+b").close()
        rescue("unmount", view)
    assert not os.path.ismount(tmp_path / "view")


def test_mounted_filesystems_can_do_no_harm(image: Path, tmp_path: Path) -> None:
    before = digest(image)
    with mounted(image, at=tmp_path / "view") as view:
        options = {}
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            words = line.split()
            if words[4].startswith(f"{view}/"):
                options[Path(words[4]).name] = set(words[5].split(","))
        assert sorted(options) == ["1-ext4", "3-ntfs", "4-xfs", "5-btrfs"]
        assert all({"ro", "nosuid", "nodev", "noexec"} <= each for each in options.values())
        for name in (*options, "2-vfat"):
            with pytest.raises(OSError):
                (view / name / "new").write_text("x")
        rescue("unmount", view)
        assert not list(view.iterdir())
    assert digest(image) == before


def server_of(view: Path) -> int:
    """The process that serves a view: it is the one whose arguments name the folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(view) in os.fsdecode((folder / "cmdline").read_bytes()).split("\0"):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("no process serves it")


def test_unmount_after_a_crash(image: Path, tmp_path: Path) -> None:
    view = tmp_path / "view"
    rescue("mount", image, view)
    os.kill(server_of(view), signal.SIGKILL)
    wait_for(lambda: not reachable(view))
    rescue("unmount", view)
    assert str(view) not in Path("/proc/self/mountinfo").read_text()
    assert list(view.iterdir()) == []
    wait_for(lambda: str(view) not in run(["losetup", "--list"]).text)
    rescue("unmount", view, ok=2)


def reachable(folder: Path) -> bool:
    try:
        (folder / "disk.raw").stat()
    except OSError:
        return False
    return True


def test_ctrl_c_unmounts(image: Path, tmp_path: Path) -> None:
    view = tmp_path / "view"
    command = [str(RESCUE), "mount", "--foreground", str(image), str(view)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: os.path.ismount(view / "4-xfs"))
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        # A failure must leave nothing mounted for the next test.
        child.kill()
        subprocess.run([RESCUE, "unmount", view], capture_output=True)
    assert child.returncode == 130, (out, err)
    assert str(view) not in Path("/proc/self/mountinfo").read_text()


def test_a_killed_copy_leaves_nothing_mounted(image: Path, tmp_path: Path) -> None:
    command = [str(RESCUE), "boot", "--serial", "--accelerator", "tcg", str(image)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    wait_for(lambda: not no_view_is_left())
    child.send_signal(signal.SIGKILL)
    child.wait()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"rescue-boot-" in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue
    wait_for(no_view_is_left)


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_a_journal_is_replayed_into_thin_air(tmp_path: Path, name: str) -> None:
    """A filesystem copied while it was in use: its newest file is only in the journal."""
    kind = volumes.KINDS[name]
    live, disk, image = tmp_path / "live", tmp_path / "disk.raw", tmp_path / "x.rescue"
    with live.open("wb") as file:
        file.truncate(kind.size)
    run([*kind.make, live])
    with volumes.mounted(kind, live, tmp_path / "there") as there:
        (there / "newest").mkdir()
        (there / "newest" / "file").write_bytes(b"in the journal" * 1000)
        fd = os.open(there / "newest" / "file", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        shutil.copyfile(live, disk)
    before = digest(disk)
    rescue("capture", disk, image)
    sealed = digest(image)
    done = rescue("ls", image)
    assert "journal was replayed into a throw-away overlay" in done.stdout
    out = tmp_path / "out"
    rescue("copy", image, "0/newest", out)
    assert (out / "newest" / "file").read_bytes() == b"in the journal" * 1000
    with mounted("--raw", image, at=tmp_path / "view") as view:
        assert digest(view / "disk.raw") == before
        rescue("unmount", view)
    assert digest(image) == sealed


def test_diff_says_what_changed(made: Made, image: Path, tmp_path: Path) -> None:
    disk = tmp_path / "later.raw"
    run(["cp", "--sparse=always", made.disk, disk])
    later = Made(disk, made.volumes, made.files)
    with original(later, "ext4", tmp_path / "fill", "rw") as there:
        (there / "new").mkdir()
        (there / "new" / "file").write_text("new")
        (there / "many" / "0001").unlink()
        (there / "many" / "0002").chmod(0o777)
        before = (there / "many" / "0100").stat()
        (there / "many" / "0100").write_bytes(b"x" * 100)
        os.utime(there / "many" / "0100", ns=(before.st_atime_ns, before.st_mtime_ns))
        (there / "later").write_bytes(b"changed")
    with original(later, "btrfs", tmp_path / "fill", "rw") as there:
        (there / "big").unlink()
    child = tmp_path / "later.rescue"
    rescue("capture", "--parent", image, disk, child)
    wanted = ["! 1/later", "- 1/many/0001", ". 1/many/0002", "+ 1/new", "+ 1/new/file", "- 5/big"]
    for other in (child, disk):
        look_in = ["--look-in", image.parent] if other == child else []
        assert rescue("diff", *look_in, image, other).stdout.splitlines() == wanted
    with_content = rescue("diff", "--content", image, disk).stdout.splitlines()
    assert with_content == [*wanted[:3], "! 1/many/0100", *wanted[3:]]
    assert rescue("diff", image, image).stdout == ""
    assert no_view_is_left()


def test_sealed_and_split_images(made: Made, image: Path, tmp_path: Path) -> None:
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text("open sesame\n")
    wrong.write_text("close sesame\n")
    sealed = tmp_path / "sealed.rescue"
    words = ["--encrypt", "--passphrase-file", secret, "--part-size", "20M"]
    rescue("capture", *words, made.disk, sealed)
    rescue("ls", sealed, ok=23)
    rescue("ls", "--passphrase-file", wrong, sealed, ok=23)
    out = tmp_path / "out"
    rescue("copy", "--passphrase-file", secret, sealed, "4/many", out)
    assert len(list((out / "many").iterdir())) == 300
    done = rescue("diff", "--passphrase-file", secret, sealed, image)
    assert done.stdout == ""
    Path(f"{sealed}.002").unlink()
    rescue("ls", "--passphrase-file", secret, sealed, ok=22)


@pytest.mark.parametrize("form", ["raw", "qcow2", "vhdx", "vmdk", "vdi"])
def test_export_is_the_disk(image: Path, tmp_path: Path, form: str) -> None:
    out, back = tmp_path / f"out.{form}", tmp_path / "back.raw"
    rescue("restore", image, back)
    rescue("export", "--format", form, image, out)
    done = run(["qemu-img", "compare", "-f", "raw", "-F", form, back, out])
    assert "identical" in done.text
    assert out.stat().st_blocks * 512 < 2 * back.stat().st_blocks * 512
    rescue("export", "--format", form, image, out, ok=2)
    rescue("export", "--format", "floppy", image, tmp_path / "x", ok=2)


def test_damage_costs_only_what_it_hits(made: Made, image: Path, tmp_path: Path) -> None:
    """A spoiled chunk: the copy names the file it could not read, and copies the rest."""
    from rescue.image.reader import Image

    hurt = tmp_path / "hurt.rescue"
    shutil.copyfile(image, hurt)
    with original(made, "ext4", tmp_path / "original") as there:
        blocks = run(["filefrag", "-b1", "-v", there / "big"]).text.splitlines()
    first = next(line for line in blocks if line.strip().startswith("0:"))
    offset = int(first.split(":")[2].split("..")[0])
    start = made.volumes[0][1]
    with Image.open(hurt) as opened:
        entry = opened.index.find((start + offset + 2 * MIB) // MIB)
        assert entry is not None
        place = 8192 + entry.position + 64 + entry.stored // 2
    with hurt.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))
    out = tmp_path / "out"
    done = rescue("copy", hurt, "1", out, ok=3)
    assert "failed: " in done.stdout
    assert "does not decode" in done.stderr or "does not hold" in done.stderr
    names = {line.split(": ")[1] for line in done.stdout.splitlines() if line.startswith("failed")}
    assert names & {"big", "same"}
    assert (out / "later").exists()
    assert not (out / "big").exists() or not (out / "same").exists()


def test_an_ordinary_user_sees_raw_files_and_fat(image: Path, tmp_path: Path) -> None:
    if find("setpriv") is None:
        pytest.skip("setpriv is not installed")
    home = tmp_path / "home"
    home.mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:  # as many levels as pytest and its workers made
            folder.chmod(0o755)
    mine = home / "mine.rescue"
    shutil.copyfile(image, mine)
    for path in (home, mine):
        os.chown(path, 65534, 65534)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def as_user(*words: object) -> subprocess.CompletedProcess[str]:
        command = [*user, str(RESCUE), *map(str, words)]
        env = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=home)

    if as_user("--version").returncode != 0:
        pytest.skip("an ordinary user cannot reach this installation")
    done = as_user("ls", mine)
    assert done.returncode == 0, done.stderr
    assert "seeing the files of ext4 needs root" in done.stdout
    done = as_user("copy", mine, "2/later", home / "out")
    assert done.returncode == 0, done.stderr
    assert (home / "out" / "later").stat().st_uid == 65534
    done = as_user("copy", mine, "1/later", home / "out")
    assert done.returncode == 2
    done = as_user("mount", mine, home / "view")
    assert done.returncode == 0, done.stderr
    head = [*user, "head", "--bytes=440", str(home / "view" / "disk.raw")]
    assert subprocess.run(head, capture_output=True, check=True).stdout[:254] == bytes(
        range(1, 255)
    )
    assert as_user("unmount", home / "view").returncode == 0
    assert not os.path.ismount(home / "view")


def test_refusals_are_one_line(image: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x")
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(100_000))
    rescue("mount", image, full, ok=2)
    rescue("mount", image, full / "x", ok=2)
    rescue("mount", noise, tmp_path / "m", ok=20)
    rescue("unmount", full, ok=2)
    rescue("ls", tmp_path / "not there", ok=10)
    rescue("ls", image, "9", ok=2)
    rescue("ls", image, "1/not/there", ok=2)
    rescue("copy", image, "1/later", full / "x", ok=2)
    rescue("copy", image, "1/later", "3/later", full, ok=2)
    rescue("diff", image, full, ok=2)
    rescue("boot", "--firmware", "coreboot", image, ok=2)
    rescue("boot", "--serial", "--memory", "much", image, ok=2)
    assert no_view_is_left()


def test_a_long_read_in_sequence_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Its pages are given back behind it, and what was read and what is read again is right."""
    disk, image, place = tmp_path / "disk", tmp_path / "disk.rescue", tmp_path / "seen"
    with disk.open("wb") as file:
        for number in range(160):
            file.write(random.Random(number).randbytes(MIB))
    rescue("capture", disk, image)
    place.mkdir()
    rescue("mount", "--raw", image, place)
    try:
        assert digest(place / "disk.raw") == digest(disk)
        words = ["fincore", "--bytes", "--noheadings", "--output", "RES", place / "disk.raw"]
        give_up = time.monotonic() + 10
        while (kept := int(run(words).text)) > 48 * MIB and time.monotonic() < give_up:
            time.sleep(0.1)
        assert kept <= 48 * MIB
        assert digest(place / "disk.raw") == digest(disk)
    finally:
        rescue("unmount", place)
