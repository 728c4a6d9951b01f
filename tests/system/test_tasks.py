"""Tasks with real disks: they outlive the shell, one writes at a time, mounts are shared."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.jobs import runtime, tasks
from rescue.jobs.held import fresh, held, looking, quiet_lock
from rescue.shell import actions, keyboard
from rescue.shell.facts import Sight
from rescue.shell.world import ThisMachine

pytestmark = [pytest.mark.root]
RESCUE = Path(sys.executable).parent / "rescue"


@pytest.fixture(autouse=True)
def own_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks and mounts of this test only."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))


@contextmanager
def loop(file: Path) -> Iterator[Path]:
    """A file as a disk."""
    node = run(["losetup", "--find", "--show", file]).text.strip()
    try:
        yield Path(node)
    finally:
        run(["losetup", "--detach", node], check=False)


def make_store(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-L", "STORE", path])
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A disk full of what does not shrink, and its image: restoring it takes a second or more."""
    folder = tmp_path_factory.mktemp("shell")
    disk, made = folder / "disk.raw", folder / "shell-test.rescue"
    with disk.open("wb") as file:
        for _ in range(300):
            file.write(os.urandom(MIB))
    run([RESCUE, "capture", "--all-sectors", "--level", "1", disk, made])
    return disk, made


def wait(task: tasks.Task, seconds: float = 60) -> tasks.Task:
    until = time.monotonic() + seconds
    while task.alive and time.monotonic() < until:
        time.sleep(0.1)
        task = tasks.find(task.id)
    assert not task.alive, "the task goes on and on"
    return task


def start(*words: str | Path, **more: tuple[Path, ...]) -> tasks.Task:
    wish = tasks.TaskWish(tuple(map(str, words)), "a test", **more)
    return tasks.start(wish, [str(RESCUE)])


def test_the_shell_is_killed_in_the_middle_of_a_restore(
    image: tuple[Path, Path], tmp_path: Path
) -> None:
    """It goes on, ends well, and a new shell shows it; meanwhile nothing else may write."""
    disk, made = image
    target = tmp_path / "target.raw"
    with target.open("wb") as file:
        file.truncate(disk.stat().st_size)
    shutil.copyfile(made, tmp_path / "slow.rescue")
    with loop(target) as node:
        # The shell of a person: a script that starts the task, then waits as the shell does.
        code = (
            "import sys, time; from rescue.jobs import tasks; "
            f"wish = tasks.TaskWish(('restore', {str(made)!r}, {str(node)!r}, '--erase', "
            f"{str(node)!r}), 'Restore onto it'); tasks.start(wish, [{str(RESCUE)!r}]); "
            "print('started', flush=True); time.sleep(600)"
        )
        shell = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ},
        )
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"started\n"
        assert tasks.find("").alive
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        task = tasks.find("")
        assert task.alive, "it died with the shell"
        done = run([RESCUE, "task", "start", "--", "restore", made, node], check=False)
        assert done.status == 2
        assert b"one task writes at a time" in done.stderr
        other = start("verify", made)
        new = pexpect.spawn(str(RESCUE), ["shell", "--plain"], encoding="utf-8", timeout=60)
        new.expect("RUNNING: Restore onto it")
        new.expect(r"(\d+)  Show what is running")
        new.send(f"{new.match.group(1)}\r")
        new.expect(r"(\d+)  Restore onto it")
        new.send(f"{new.match.group(1)}\r")
        new.expect("outcome: complete")
        new.expect("The disk is restored.")
        new.close(force=True)
        assert wait(task).exit == 0
        assert wait(other).exit == 0
    assert run(["cmp", disk, target], check=False).status == 0


def test_a_task_is_stopped_in_order(image: tuple[Path, Path], tmp_path: Path) -> None:
    """A capture at the slowest level; stopping it says so, and the next one may write."""
    disk, _ = image
    made = tmp_path / "stopped.rescue"
    task = start("capture", disk, made, "--all-sectors", "--level", "19")
    until = time.monotonic() + 30
    while not tasks.find("").state.get("done") and time.monotonic() < until:
        time.sleep(0.02)
    run([RESCUE, "task", "stop"])
    task = wait(task)
    assert task.exit == 130, task.log()
    assert any("outcome: incomplete" in text for text in task.state["warnings"])
    small = tmp_path / "small.raw"
    small.write_bytes(os.urandom(MIB))
    assert wait(start("capture", small, tmp_path / "next.rescue")).exit == 0


def test_a_passphrase_reaches_the_task_and_no_list_of_processes(tmp_path: Path) -> None:
    disk, made = tmp_path / "disk.raw", tmp_path / "secret.rescue"
    disk.write_bytes(os.urandom(8 * MIB))
    secret = b"a sentence to keep"
    wish = tasks.TaskWish(
        ("capture", str(disk), str(made), "--encrypt", "--all-sectors"), passphrase=secret
    )
    task = wait(tasks.start(wish, [str(RESCUE)]))
    assert task.exit == 0, task.log()
    assert wait(start("verify", "--deep", made)).exit == 23, "it is not encrypted"
    checked = tasks.TaskWish(("verify", "--deep", str(made)), passphrase=secret)
    assert wait(tasks.start(checked, [str(RESCUE)])).exit == 0
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            assert secret not in file.read_bytes(), file
    bundle = tmp_path / "support.tar.gz"
    run([RESCUE, "support", bundle])
    with tarfile.open(bundle) as tar:
        names = tar.getnames()
        assert any(name.endswith(f"{task.id}/log.txt") for name in names)
        for member in tar.getmembers():
            held_file = tar.extractfile(member)
            assert held_file is not None
            assert secret not in held_file.read()


def test_a_place_is_mounted_by_the_first_and_unmounted_by_the_last(tmp_path: Path) -> None:
    with loop(make_store(tmp_path / "store.raw", 64 * MIB)) as node:
        with held(node, writable=False) as first:
            with held(node, writable=False) as second:
                assert first.root == second.root == tmp_path / "run" / "places" / node.name
            assert first.root.is_mount()
            with pytest.raises(Exception, match="can only be read now"):
                with held(node, writable=True):
                    pass
            assert first.root.is_mount()
        assert not first.root.exists()
        with held(node, writable=True) as place:
            (place.root / "x").write_text("x")
            with held(node, writable=False) as reader:
                assert (reader.root / "x").read_text() == "x"
        assert not place.root.exists()


def test_what_a_killed_program_left_mounted_is_cleared(tmp_path: Path) -> None:
    with loop(make_store(tmp_path / "store.raw", 64 * MIB)) as node:
        code = (
            "import time; from pathlib import Path; "
            "from rescue.jobs.held import held\n"
            f"with held(Path({str(node)!r}), writable=False):\n"
            "    print('x', flush=True); time.sleep(99)"
        )
        victim = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"x\n"
        victim.kill()
        victim.wait()
        root = tmp_path / "run" / "places" / node.name
        assert root.is_mount()
        with held(node, writable=True) as place:
            (place.root / "y").write_text("y")
        assert not root.exists()


def test_nobody_mounts_for_a_look_while_a_task_writes(tmp_path: Path) -> None:
    with looking() as allowed:
        assert allowed
    fd = runtime.try_lock(quiet_lock())
    assert fd is not None
    with looking() as allowed:
        assert not allowed
    os.close(fd)


def test_the_stick_keeps_logs_bundles_and_the_keyboard(
    image: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = wait(start("verify", image[1]))
    with loop(make_store(tmp_path / "stick.raw", 64 * MIB)) as node:
        stick = fresh(node)
        monkeypatch.setattr(actions, "data_partition", lambda _sight: stick)
        monkeypatch.setattr(keyboard, "data_partition", lambda _sight: stick)
        monkeypatch.setattr(keyboard, "apply", lambda name: loaded.append(name))
        loaded: list[str] = []
        world = ThisMachine()
        actions.keep_logs(world)
        actions.keep_logs(world)
        assert "(the stick). No secrets" in actions.save_support(world)
        assert keyboard.choose("de-latin1", world) == "Deutsch is loaded and kept on the stick."
        assert keyboard.recall(world) == "de-latin1"
        assert loaded == ["de-latin1", "de-latin1"]
        with held(node, writable=False) as place:
            kept = place.root / "logs" / task.id
            assert "safe to rely on: yes" in (kept / "output.txt").read_text()
            assert len(list(place.root.glob("rescue-support-*.tar.gz"))) == 1


def test_images_are_found_on_disks_that_are_mounted_for_the_look(
    image: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only, every byte of the disk the same afterwards, nothing left mounted."""
    small, made = tmp_path / "small.raw", tmp_path / "pc.rescue"
    small.write_bytes(os.urandom(MIB))
    run([RESCUE, "capture", small, made])
    with loop(make_store(tmp_path / "store.raw", 64 * MIB)) as node:
        with held(node, writable=True) as place:
            shutil.copyfile(made, place.root / "pc.rescue")
            (place.root / "torn.rescue").write_bytes(made.read_bytes()[:5000])
        run(["sync"])
        before = hashlib.sha256((tmp_path / "store.raw").read_bytes()).hexdigest()
        monkeypatch.setattr("rescue.jobs.describe.is_live", lambda: True)
        world = ThisMachine()
        sight = world.sight()
        mine = tuple(disk for disk in sight.disks if disk.path == node)
        only = Sight(sight.machine, mine, tuple(f for f in sight.filesystems if f.node == node))
        assert any(f"STORE ({node.name}" in line for line in list(world.scan(only)))
        found = {one.path: one for one in world.images()}
        assert found["pc.rescue"].usable
        assert found["pc.rescue"].word == f"{node}:pc.rescue"
        assert not found["torn.rescue"].usable
        assert not (tmp_path / "run" / "places" / node.name).exists()
        fd = runtime.try_lock(quiet_lock())
        assert fd is not None
        assert "left alone" in list(world.scan(only))[-1], "a task writes"
        os.close(fd)
    assert hashlib.sha256((tmp_path / "store.raw").read_bytes()).hexdigest() == before


def test_files_of_a_dirty_ntfs_are_copied_and_the_disk_is_unchanged(tmp_path: Path) -> None:
    """1,000 files, by a task, onto a place that it mounts; equal by hash."""
    disk, volume, point = tmp_path / "pc.raw", tmp_path / "volume", tmp_path / "point"
    with volume.open("wb") as file:
        file.truncate(60 * MIB)
    run(["mkfs.ntfs", "-q", "-F", "-f", "-L", "Windows", volume])
    point.mkdir()
    run(["ntfs-3g", volume, point])
    try:
        letters = point / "Users" / "Anna"
        letters.mkdir(parents=True)
        for number in range(1000):
            (letters / f"letter {number}.txt").write_bytes(os.urandom(100 + number))
        wanted = hashes(letters)
    finally:
        run(["umount", point])
    run(["ntfsfix", volume])  # marks it dirty, so that Windows checks it
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    run(["sfdisk", "-q", disk], input=b"label: gpt\nstart=2048, size=122880\n")
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc", "status=none"])
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    with loop(make_store(tmp_path / "store.raw", 100 * MIB)) as node:
        task = wait(start("copy", disk, "1/Users", f"{node}:rescued/pc", writable=(node,)))
        assert task.exit == 0, (task.log(), task.output())
        with held(node, writable=False) as place:
            assert hashes(place.root / "rescued" / "pc" / "Users" / "Anna") == wanted
    assert len(wanted) == 1000
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before, "looking wrote to the disk"


def hashes(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


def test_the_command_line_of_tasks(image: tuple[Path, Path]) -> None:
    _, made = image
    done = run([RESCUE, "task", "start", "--json", "--", "verify", made])
    name = json.loads(done.text)["id"]
    followed = run([RESCUE, "task", "follow", name])
    assert "safe to rely on: yes" in followed.text
    listed = json.loads(run([RESCUE, "task", "list", "--json"]).text)
    assert [task["exit_code"] for task in listed["tasks"]] == [0]
    assert re.search(r"ended, exit 0", run([RESCUE, "task", "list"]).text)
    done = run([RESCUE, "task", "follow", "nothing"], check=False)
    assert (done.status, done.stdout) == (2, b"")
    done = run([RESCUE, "task", "start", "--", "verify", "/not/there"])
    assert run([RESCUE, "task", "follow"], check=False).status == 10


def test_the_screens_start_within_two_seconds() -> None:
    """Of the processor's time: others use the machine, too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shell = pexpect.spawn(
        str(RESCUE), ["shell"], dimensions=(25, 80), timeout=60,
        env={**os.environ, "TERM": "linux"},
    )  # fmt: skip
    shell.expect(rb"Disks of this machine")
    shell.send("q")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert took < 2.0, took
