"""Tasks: what a folder tells of one, how far it is, and that no secret is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rescue.core import process
from rescue.core.errors import UsageError
from rescue.jobs import runtime, support, tasks
from rescue.jobs.tasks import TaskWish
from rescue.jobs.taskstate import StateReporter


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Programs that would have been started; each is dead at once."""
    words: list[list[str]] = []

    def detach(command: list[object], **_more: object) -> int:
        words.append([str(word) for word in command])
        return 99999999

    monkeypatch.setattr(process, "detach", detach)
    return words


def test_a_task_that_was_killed_is_not_running(started: list[list[str]]) -> None:
    task = tasks.start(TaskWish(("verify", "x.rescue"), "Check x"), ["rescue"])
    assert started == [["rescue", "task", "run", str(task.folder)]]
    (found,) = tasks.listing()
    assert (found.title, found.alive, found.killed, found.exit) == ("Check x", False, True, None)
    assert tasks.find("").id == tasks.find(task.id).id == task.id
    with pytest.raises(UsageError, match="no task other"):
        tasks.find("other")


def test_a_task_lives_as_long_as_its_lock(started: list[list[str]]) -> None:
    task = tasks.start(TaskWish(("verify", "x")), ["rescue"])
    lock = runtime.try_lock(task.folder / tasks.LOCK)
    assert lock is not None
    assert tasks.find("").alive
    runtime.write_json(task.folder / "end.json", {"exit": 3, "ended": 5.0})
    assert tasks.find("").exit is None, "it says its end before it is gone"
    os.close(lock)
    assert tasks.find("").exit == 3


def test_one_task_writes_at_a_time(started: list[list[str]]) -> None:
    writer = runtime.try_lock(runtime.folder("locks") / "writer")
    assert writer is not None
    with pytest.raises(UsageError, match="one task writes at a time"):
        tasks.start(TaskWish(("restore", "x", "/dev/sda")), ["rescue"])
    assert started == []
    tasks.start(TaskWish(("verify", "x")), ["rescue"])
    os.close(writer)
    tasks.start(TaskWish(("restore", "x", "/dev/sda")), ["rescue"])
    assert len(started) == 2


def test_a_passphrase_is_in_no_file_and_no_argument(started: list[list[str]]) -> None:
    wish = TaskWish(("verify", "--deep", "x"), passphrase=b"correct horse")
    task = tasks.start(wish, ["rescue"])
    assert "correct horse" not in repr(wish) + repr(started) + task.command
    for path in task.folder.iterdir():
        assert b"correct horse" not in path.read_bytes()
    run = json.loads((task.folder / "task.json").read_text())["run"]
    assert run[:2] == ["verify", "--passphrase-fd"]


def test_old_tasks_make_room(started: list[list[str]]) -> None:
    for _ in range(25):
        tasks.start(TaskWish(("verify", "x")), ["rescue"])
    assert len(tasks.listing()) == 20


def test_the_last_error_and_its_hint() -> None:
    folder = runtime.folder("tasks", "20261124-120000-restore")
    runtime.write_json(folder / "task.json", {"words": ["restore"]})
    log = "error: first\nhint: one\nrestore: 5%\nerror: cannot write /dev/sda\nhint: look\n"
    (folder / "log.txt").write_text(log)
    assert tasks.find("").failure() == ("cannot write /dev/sda", "look")


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    from rescue.core.errors import DiskTrouble

    with pytest.raises(DiskTrouble, match="belongs to somebody else"):
        runtime.folder("tasks")


def test_state_is_there_for_others(tmp_path: Path) -> None:
    reporter = StateReporter(tmp_path)
    reporter.start("restore", 1000)
    reporter.advance(400)
    reporter.warn("look out")
    state = runtime.read_json(tmp_path / "state.json")
    assert (state["step"], state["done"], state["total"]) == ("restore", 400, 1000)
    assert state["warnings"] == ["look out"]
    reporter.finish()
    reporter.close()
    state = runtime.read_json(tmp_path / "state.json")
    assert state["steps"] == ["restore"]
    assert state["step"] == ""


def test_a_torn_state_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"step": "rest')
    assert runtime.read_json(tmp_path / "state.json") == {}
    (tmp_path / "state.json").write_text("[1]")
    assert runtime.read_json(tmp_path / "state.json") == {}


@pytest.mark.parametrize(
    "line",
    [
        "rescue.wifi_psk=hunter22",
        "password: hunter22",
        'APIKEY="hunter22"',
        "x rescue-secret-key-hunter22 y",
        "luks.passphrase=hunter22",
    ],
)
def test_what_looks_like_a_secret_is_blacked_out(line: str) -> None:
    assert "hunter22" not in support.without_secrets(line)
    assert "(removed)" in support.without_secrets(line)


def test_what_helps_stays() -> None:
    text = "BOOT_IMAGE=/live/vmlinuz boot=live quiet keyboard serial S4EVNX01"
    assert support.without_secrets(text) == text
