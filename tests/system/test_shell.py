"""The flows of the shell in front of this very machine: what they come to is done, and is right.

The screens are not needed: both faces only show what the flows ask.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.jobs import describe, runtime, tasks
from rescue.shell.browser import opened
from rescue.shell.flows.base import Answer, Ask, Flow, Ready
from rescue.shell.flows.files import CopyFlow, FilesFlow
from rescue.shell.flows.restore import RestoreFlow
from rescue.shell.world import ThisMachine
from tests.system import volumes

pytestmark = [pytest.mark.root]
RESCUE = Path(sys.executable).parent / "rescue"
SECTORS = 2048  # of a MiB
COUNT = 1000


@dataclass(frozen=True)
class Pc:
    """A disk with an NTFS that Windows left dirty and an ext4, both full of files; its image.

    Attributes:
        store: an ext4 in a file, which holds the image as ``pc.rescue``.
        files: what each file in the folder ``Many`` of the NTFS hashes to.
        data: the same of the ext4.
    """

    disk: Path
    store: Path
    files: dict[str, str]
    data: dict[str, str]


@contextmanager
def loop(file: Path) -> Iterator[Path]:
    """A file as a disk."""
    node = run(["losetup", "--find", "--show", file]).text.strip()
    try:
        yield Path(node)
    finally:
        run(["losetup", "--detach", node], check=False)


@contextmanager
def mounted(node: Path, folder: Path) -> Iterator[Path]:
    """A filesystem, mounted as on a machine that runs its own system."""
    folder.mkdir(exist_ok=True)
    run(["mount", node, folder])
    try:
        yield folder
    finally:
        run(["umount", folder])


def store(path: Path, size: int) -> Path:
    """An empty ext4 to keep things on."""
    with path.open("wb") as file:
        file.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-L", path.stem.upper(), path])
    return path


def hashes(folder: Path) -> dict[str, str]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "lost+found" not in path.parts
    }


def digest(path: Path) -> str:
    """A whole disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Pc:
    """The machine, made once."""
    folder = tmp_path_factory.mktemp("pc")
    ntfs, ext4 = folder / "ntfs", folder / "ext4"
    with ntfs.open("wb") as file:
        file.truncate(64 * MIB)
    kind = volumes.KINDS["ntfs"]
    run([*kind.make, ntfs])
    with volumes.mounted(kind, ntfs, folder / "mnt") as where:
        many = where / "Users" / "Anna" / "Many"
        many.mkdir(parents=True)
        for number in range(COUNT):
            (many / f"Ürlaub {number:04}.txt").write_bytes(os.urandom(number * 7 % 9000))
        files = hashes(many)
    run(["ntfsfix", ntfs], check=False)  # it asks Windows for a check: that is the dirty mark
    tree = folder / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"photo {number}").write_bytes(os.urandom(MIB // 2))
    with ext4.open("wb") as file:
        file.truncate(256 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-L", "data", "-d", tree, ext4])
    disk = folder / "pc.raw"
    with disk.open("wb") as file:
        file.truncate(330 * MIB)
    parts = f"start={SECTORS}, size={64 * SECTORS}, name=windows\n"
    parts += f"start={65 * SECTORS}, size={256 * SECTORS}, name=data\n"
    run(["sfdisk", "--quiet", disk], input=f"label: gpt\n{parts}".encode())
    for volume, at in ((ntfs, 1), (ext4, 65)):
        run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={at}", "conv=notrunc,sparse"])
    kept = store(folder / "store", 400 * MIB)
    with loop(kept) as node, mounted(node, folder / "mnt") as where:
        run([RESCUE, "capture", "--level", "1", disk, where / "pc.rescue"])
        shown = run([RESCUE, "show", where / "pc.rescue"]).text
    assert "dirty" in shown, "the NTFS is marked dirty"
    return Pc(disk, kept, files, hashes(tree))


@pytest.fixture(autouse=True)
def own_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks and mounts of this test only."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))


def walk(flow: Flow, **wanted: Answer) -> Ready:
    """Answer what is asked; each answer must be one that is offered and not refused."""
    answers: dict[str, Answer] = {}
    while True:
        step = flow.step(answers)
        if isinstance(step, Ready):
            assert set(wanted) == set(answers), "all of these were asked"
            return step
        assert isinstance(step, Ask)
        answer = wanted[step.name]
        assert step.refusal(answer) == ""
        answers[step.name] = answer


def finish(world: ThisMachine, ready: Ready, seconds: float = 90) -> tasks.Task:
    """Start what a flow came to and wait for its good end."""
    assert ready.wish is not None
    task = world.start(ready.wish)
    until = time.monotonic() + seconds
    while task.alive and time.monotonic() < until:
        time.sleep(0.1)
        task = tasks.find(task.id)
    said = (task.folder / "log.txt").read_text() if (task.folder / "log.txt").exists() else ""
    assert task.exit == 0, said
    return task


def looked(world: ThisMachine) -> ThisMachine:
    """After the first screen has looked for images."""
    list(world.scan(world.sight()))
    return world


def browsed(source: str, windows: str) -> list[str]:
    """What a person marks: every file of a folder that was walked into, one by one."""
    with opened(source) as browser:
        path = ""
        for name in (windows, "Users", "Anna", "Many"):
            rows, failed = browser.rows(path)
            assert not failed
            path = next(row.path for row in rows if row.folder and row.name == name)
        rows, failed = browser.rows(path)
        found, complete = browser.search("ürlaub 0007")
        assert [row.name.rsplit("/", 1)[-1] for row in found] == ["Ürlaub 0007.txt"]
        assert complete
    assert not failed
    assert len(rows) == COUNT
    return [row.path for row in rows]


def test_a_thousand_files_out_of_an_image_and_out_of_the_disk_itself(
    pc: Pc, tmp_path: Path
) -> None:
    """Show 5 of the issue: equal by hash, and neither disk nor store has changed by one bit."""
    before = digest(pc.disk)
    target = store(tmp_path / "target", 200 * MIB)
    world = ThisMachine()
    with loop(pc.store) as kept, loop(pc.disk) as disk, loop(target) as free:
        with mounted(kept, tmp_path / "mnt"):
            image = f"{kept}:pc.rescue"
            looked(world)
            for number, source in enumerate((image, str(disk))):
                ready = walk(FilesFlow(world), image=source)
                assert ready.wish is None
                assert ready.browse == source
                with opened(source) as browser:
                    rows, _ = browser.rows("")
                (windows,) = [row.name for row in rows if row.about.startswith("ntfs")]
                chosen = browsed(source, windows)
                copy = walk(
                    CopyFlow(world, source, chosen), place=str(free), folder=f"back/{number}"
                )
                finish(world, copy)
        with mounted(free, tmp_path / "mnt") as where:
            for number in range(2):
                assert hashes(where / "back" / str(number)) == pc.files
    assert digest(pc.disk) == before


def test_onto_a_smaller_disk_and_a_larger_one(pc: Pc, tmp_path: Path) -> None:
    """What the flow says fits does fit: partitions have the lengths that its bars were drawn of."""
    world = ThisMachine()
    with loop(pc.store) as kept, mounted(kept, tmp_path / "mnt"):
        looked(world)
        for size, fit in ((200, ""), (600, "2")):
            target = tmp_path / f"target-{size}"
            with target.open("wb") as file:
                file.truncate(size * MIB)
            with loop(target) as node:
                answers = {"image": f"{kept}:pc.rescue", "what": "whole", "target": str(node)}
                if fit:
                    answers["fit"] = fit
                flow = RestoreFlow(world)
                step = flow.step(answers)
                assert isinstance(step, Ask)
                assert step.name == "identity"
                planned = [piece.length for piece in step.bars[1].pieces if piece.kind == "new"]
                finish(world, walk(flow, **answers, identity=str(node)))
            assert _lengths(target) == planned
            _check_data(pc, target, tmp_path)


def test_once_more_goes_on_with_a_restore_that_was_stopped(pc: Pc, tmp_path: Path) -> None:
    """The disk is offered first and says why; the command is the same to the letter."""
    world, target, other = ThisMachine(), tmp_path / "target", tmp_path / "other"
    for path in (other, target):
        with path.open("wb") as file:
            file.truncate(pc.disk.stat().st_size)
    with ExitStack() as stack:
        kept = stack.enter_context(loop(pc.store))
        stack.enter_context(mounted(kept, tmp_path / "mnt"))
        nodes = [stack.enter_context(loop(path)) for path in (other, target)]
        looked(world)
        answers = {"image": f"{kept}:pc.rescue", "what": "whole", "target": str(nodes[1])}
        ready = walk(RestoreFlow(world), **answers, identity=str(nodes[1]))
        _stop_in_the_middle(world, ready, nodes[1])
        kept_answers = {name: answers[name] for name in ready.keep if name in answers}
        step = RestoreFlow(world).step(kept_answers)
        assert isinstance(step, Ask)
        assert (step.name, step.choices[0].value) == ("target", str(nodes[1]))
        assert "goes on where it stopped" in step.choices[0].more[0]
        again = walk(RestoreFlow(world), **answers, identity=str(nodes[1]))
        assert again.wish == ready.wish
        task = finish(world, again)
        assert any("an earlier run was interrupted" in one for one in task.state["notes"])
    _check_data(pc, target, tmp_path)


def _stop_in_the_middle(world: ThisMachine, ready: Ready, node: Path) -> None:
    """Start a restore and stop it once it has begun to write."""
    assert ready.wish is not None
    task = world.start(ready.wish)
    until = time.monotonic() + 90
    while describe.half_restored(node) is None and time.monotonic() < until:
        time.sleep(0.002)
    tasks.stop(task)
    while task.alive and time.monotonic() < until:
        time.sleep(0.05)
        task = tasks.find(task.id)
    assert task.exit != 0, "it was too quick to be stopped"
    assert describe.half_restored(node)


def _lengths(disk: Path) -> list[int]:
    dump = run(["sfdisk", "--dump", disk]).text
    words = [line.split("size=")[1] for line in dump.splitlines() if "size=" in line]
    return [int(word.split(",")[0]) * 512 for word in words]


def _check_data(pc: Pc, disk: Path, folder: Path) -> None:
    """The ext4 of a disk is whole and holds every file."""
    dump = run(["sfdisk", "--dump", disk]).text
    start = [line for line in dump.splitlines() if "start=" in line][1]
    at = int(start.split("start=")[1].split(",")[0]) * 512
    sizes = ["--offset", str(at), "--sizelimit", str(_lengths(disk)[1])]
    node = run(["losetup", "--find", "--show", "--read-only", *sizes, disk]).text.strip()
    try:
        assert run(["e2fsck", "-f", "-n", node], check=False).status == 0
        with mounted(Path(node), folder / "look") as where:
            assert hashes(where) == pc.data
    finally:
        run(["losetup", "--detach", node], check=False)
