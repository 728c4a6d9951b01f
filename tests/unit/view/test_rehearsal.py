"""When a rehearsed machine counts as started: the course of events, and QEMU's protocol."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rescue.core.errors import ProgramFailed
from rescue.view.machine import Machine, command
from rescue.view.qmp import Monitor
from rescue.view.rehearsal import Course


def event(name: str, **data: Any) -> dict[str, Any]:
    return {"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 2}}


def test_going_down_in_order_is_the_proof() -> None:
    course = Course(300)
    assert course.verdict(None, 5) is None
    assert course.verdict(event("POWERDOWN"), 6) is None
    found = course.verdict(event("SHUTDOWN", guest=True, reason="guest-shutdown"), 7)
    assert found == (True, "its system ran and switched the machine off by itself")


def test_the_button_is_pressed_again_and_again() -> None:
    course = Course(300, slow=4)
    pressed = [now for now in range(200) if course.should_press(now)]
    assert pressed == [80, 120, 160]
    found = course.verdict(event("SHUTDOWN", guest=True, reason="guest-shutdown"), 170)
    assert found is not None
    assert found == (
        True,
        "its system ran and switched the machine off when its power button was pressed",
    )


@pytest.mark.parametrize(
    ("happened", "words"),
    [
        (event("GUEST_PANICKED", action="pause"), "panic"),
        (event("SHUTDOWN", guest=False, reason="host-signal"), "ended (host-signal)"),
        ({"event": "SHUTDOWN", "data": 7}, "no reason"),
    ],
)
def test_another_end_is_none(happened: dict[str, Any], words: str) -> None:
    found = Course(300).verdict(happened, 1)
    assert found is not None
    started, why = found
    assert not started
    assert words in why


def test_one_restart_is_forgiven_three_are_not() -> None:
    course = Course(300)
    again = event("RESET", guest=True, reason="guest-reset")
    assert course.verdict(again, 1) is None
    assert course.verdict(again, 2) is None
    assert course.verdict(again, 3) == (False, "it restarted 3 times and came no further")


def test_silence_is_no_proof() -> None:
    course = Course(300)
    assert course.verdict(None, 299) is None
    assert course.verdict(None, 300) == (False, "it did not answer its power button within 300 s")


def test_its_serial_line_goes_to_a_file(tmp_path: Path) -> None:
    log = tmp_path / "serial"
    machine = Machine("bios", "sata", 512, serial_log=log)
    words = command(machine, "tcg", tmp_path / "o", tmp_path / "v", tmp_path / "q")
    assert words[words.index("-serial") + 1] == f"file:{log}"
    assert "mon:stdio" not in words


@contextmanager
def qemu(path: Path, *answers: bytes) -> Iterator[list[str]]:
    """Something that speaks QEMU's protocol: a greeting, then these answers to what it is asked."""
    heard: list[str] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        made, _ = server.accept()
        with made, made.makefile("rwb") as lines:
            made.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\n')
            for answer in (b'{"return": {}}\n', *answers):
                heard.append(json.loads(lines.readline())["execute"])
                for cut in (answer[:7], answer[7:]):  # lines come in pieces
                    made.sendall(cut)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        thread.join(5)
        server.close()


def test_events_before_an_answer_are_kept(tmp_path: Path) -> None:
    first, second = json.dumps(event("A")).encode(), json.dumps(event("B")).encode()
    answer = first + b"\n" + b'{"return": {"status": "running"}}\n' + second + b"\n"
    with qemu(tmp_path / "qmp", answer, b'{"error": {"class": "x"}}\n') as heard:
        monitor = Monitor.connect(tmp_path / "qmp", lambda: True)
        assert monitor.ask("query-status") == {"status": "running"}
        assert monitor.ask("nonsense") == {}
        assert [(monitor.event(1) or {})["event"] for _ in range(2)] == ["A", "B"]
        with pytest.raises(OSError):
            monitor.event(1)  # the other end has gone
        monitor.close()
    assert heard == ["qmp_capabilities", "query-status", "nonsense"]


def test_qemu_that_never_came_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="ended before it began"):
        Monitor.connect(tmp_path / "none", lambda: False)
