"""A filesystem of a target mounted for a moment: unseen, and SIGKILL leaves nothing of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent
from rescue.core.namespace import own_mounts
from rescue.core.process import run
from rescue.core.units import MIB
from rescue.devices import loop
from rescue.devices.target import confirm
from rescue.restore.growing import private_mount
from tests.system.volumes import KINDS

pytestmark = [pytest.mark.root]

SIZE = 400 * MIB
# Mount a part of a target as a restore does it, write to it, say so, and wait to be killed.
_CHILD = """
import sys, time
from pathlib import Path
from rescue.core.extent import Extent
from rescue.devices import loop
from rescue.devices.target import confirm
from rescue.restore.growing import private_mount
disk, kind = Path(sys.argv[1]), sys.argv[2]
with confirm(disk, erase=str(disk), needed=0) as target:
    with loop.writable_part(target, Extent(0, target.size), 512) as node:
        with private_mount(node, kind) as folder:
            (folder / "half").write_bytes(b"half of it" * 1000)
            print(node, folder, flush=True)
            time.sleep(600)
"""


def made(folder: Path, kind: str) -> Path:
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    run([*KINDS[kind].make, disk])
    return disk


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def namespace_now() -> Path:
    return Path("/proc/thread-self/ns/mnt").readlink()


def is_free(node: Path) -> bool:
    return not (Path("/sys/block") / node.name / "loop").exists()


@pytest.mark.parametrize(
    ("kind", "type_"), [("ext4", "ext4"), ("xfs", "xfs"), ("btrfs", "btrfs"), ("ntfs", "ntfs-3g")]
)
def test_killed_while_it_is_mounted(tmp_path: Path, kind: str, type_: str) -> None:
    disk = made(tmp_path, kind)
    command = [sys.executable, "-c", _CHILD, str(disk), type_]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        node, folder = child.stdout.readline().split()
        assert folder not in mounts(), "others see it"
        assert not is_free(Path(node))
        os.kill(child.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while not is_free(Path(node)) and time.monotonic() < until:
        time.sleep(0.05)
    assert is_free(Path(node)), "the loop device is still there, so something holds the mount"
    assert folder not in mounts()
    # The next restore takes the target at once, and can mount it.
    with confirm(disk, erase=str(disk), needed=0) as target:
        with loop.writable_part(target, Extent(0, target.size), 512) as again:
            with private_mount(again, type_) as root:
                (root / "whole").write_bytes(b"all of it")
            with private_mount(again, type_, "ro") as root:
                assert (root / "whole").read_bytes() == b"all of it"
    Path(folder).rmdir()


def test_this_thread_comes_back_and_others_never_left(tmp_path: Path) -> None:
    """Folder and namespace are as before, after an error too, with a thread started meanwhile."""
    here, namespace = Path.cwd(), namespace_now()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    room = tmp_path / "room"
    room.mkdir()
    seen: list[str] = []
    outside = threading.Thread(target=lambda: seen.append(mounts()))
    try:
        with pytest.raises(ValueError, match="on purpose"), own_mounts() as private:
            assert private
            assert namespace_now() != namespace
            run(["mount", "-t", "tmpfs", "none", room])
            (room / "file").touch()
            thread.start()
            raise ValueError("on purpose")
        outside.start()
        outside.join()
    finally:
        stop.set()
        thread.join()
    assert (Path.cwd(), namespace_now()) == (here, namespace)
    assert not list(room.iterdir())
    assert str(room) not in mounts() + seen[0]


def test_what_cannot_be_mounted_is_told_in_its_own_words(tmp_path: Path) -> None:
    disk = made(tmp_path, "ext4")
    namespace = namespace_now()
    with confirm(disk, erase=str(disk), needed=0) as target:
        with loop.writable_part(target, Extent(0, target.size), 512) as node:
            for kind, said in (("xfs", "mount failed"), ("ntfs-3g", "ntfs-3g failed")):
                with pytest.raises(ProgramFailed, match=said), private_mount(node, kind):
                    raise AssertionError("it is no such filesystem")
    assert namespace_now() == namespace
