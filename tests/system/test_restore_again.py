"""Restoring again: only what differs is written, and what was interrupted goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.restore import marker
from rescue.restore.marker import Marker
from tests.system import test_fit
from tests.system.test_fit import Machine, build, empty
from tests.system.test_round_trip import RESCUE, rescue

pytestmark = [pytest.mark.root]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return build(tmp_path_factory.mktemp("again"), "gpt", ("fat32", "ext4", "ntfs", "swap"))


@pytest.fixture(scope="module")
def whole(machine: Machine) -> Path:
    """What an uninterrupted restore makes of an empty disk."""
    path = empty(machine.disk.parent / "whole.raw", machine.disk.stat().st_size)
    rescue("restore", machine.image, path, "--erase", path)
    return path


def copy(whole: Path, path: Path) -> Path:
    run(["cp", "--sparse=always", whole, path])
    return path


def test_only_what_differs_is_written(machine: Machine, whole: Path, tmp_path: Path) -> None:
    back = copy(whole, tmp_path / "back.raw")
    first = json.loads(rescue("restore", "--json", machine.image, tmp_path / "new.raw").stdout)
    assert first["stored"] > first["written"] // 3 and first["read_back"] > 0
    rng = random.Random(3)
    places = test_fit.parts(back)
    with back.open("r+b") as file:
        # A hundredth of the ext4's used bytes, in one piece; and one byte of the NTFS.
        file.seek(places[2][0] + 4 * MIB)
        file.write(rng.randbytes(first["written"] // 100))
        file.seek(places[3][0] + 5000)
        byte = file.read(1)
        file.seek(places[3][0] + 5000)
        file.write(bytes([byte[0] ^ 1]))
    # The same layout: comparing is what happens unasked.
    again = json.loads(rescue("restore", "--json", machine.image, back, "--erase", back).stdout)
    assert again["outcome"] == "complete" and again["written"] == first["written"]
    assert 0 < again["stored"] < first["written"] * 2 // 100
    assert run(["cmp", whole, back], check=False).status == 0
    most = json.loads(
        rescue("restore", "--json", "--write-all", machine.image, back, "--erase", back).stdout
    )
    assert most["stored"] > first["written"] // 2


def test_comparing_with_something_else_entirely(machine: Machine, tmp_path: Path) -> None:
    """Nothing is taken on trust: asked to compare with noise, it writes everything."""
    back = tmp_path / "back.raw"
    with back.open("wb") as file:
        for _ in range(machine.disk.stat().st_size // MIB + 1):
            file.write(b"\x5a" * MIB)
        file.truncate(machine.disk.stat().st_size)
    rescue("restore", "--changed-only", machine.image, back, "--erase", back)
    test_fit.verify_table(back, "gpt")
    test_fit.check(machine, back, tmp_path)


def killed(words: list[object], disk: Path, when: Callable[[Marker], bool], more: float) -> None:
    """Start a restore, and kill it as hard as can be ``more`` seconds after its mark is so."""
    child = subprocess.Popen(
        [str(RESCUE), *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with disk.open("rb", buffering=0) as file:
            while child.poll() is None:
                found = marker.parse(os.pread(file.fileno(), marker.SIZE, 0))
                if found is not None and when(found):
                    time.sleep(more)
                    break
                time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def judge(disk: Path) -> str:
    """ "untouched", "half" or "whole": what the first sectors of a disk say."""
    with disk.open("rb") as file:
        head = file.read(4096)
    if marker.is_marked(head):
        assert run(["sfdisk", "--dump", disk], check=False).status != 0, "a table, and a mark"
        return "half"
    return "whole" if head[512:520] == b"EFI PART" else "untouched"


def test_killed_at_any_moment_it_goes_on(machine: Machine, whole: Path, tmp_path: Path) -> None:
    back = empty(tmp_path / "back.raw", whole.stat().st_size)
    words: list[object] = ["restore", machine.image, back, "--erase", back]
    rng, states = random.Random(11), []
    for more in (0, 0.01, 0.1, rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.6)):
        empty(back, whole.stat().st_size)
        killed(words, back, lambda _mark: True, more)
        states.append(judge(back))
        assert states[-1] != "whole" or run(["cmp", whole, back], check=False).status == 0
        done = rescue(*words)
        assert "outcome: complete" in done.stdout
        assert run(["cmp", whole, back], check=False).status == 0
    assert "half" in states, states


def test_killed_while_filesystems_grow(machine: Machine, tmp_path: Path) -> None:
    """The mark says that filesystems were being changed: all is compared, then grown again."""
    back = empty(tmp_path / "back.raw", machine.disk.stat().st_size + 300 * MIB)
    words: list[object] = ["restore", "--fit", "1,2,3", machine.image, back, "--erase", back]
    for more in (0.02, 0.5):
        empty(back, machine.disk.stat().st_size + 300 * MIB)
        killed(words, back, lambda mark: mark.resized, more)
        done = rescue(*words)
        assert "compared" in done.stdout + done.stderr
        test_fit.verify_table(back, "gpt")
        test_fit.check(machine, back, tmp_path)
