"""The start of an image rehearsed: a machine is started from it, and must switch itself off.

What can be seen of any system from outside, without its help? That it answers its power button: a
firmware, a boot loader or a kernel without user space does not, Linux and Windows do, by going down
in order. So the button is pressed again and again, and the proof is QEMU's word that the guest
switched itself off. A machine that restarts again and again, or does nothing, has not proven it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.core.progress import Reporter
from rescue.view.machine import Accelerator, Machine, command, ovmf
from rescue.view.opened import OpenView
from rescue.view.qmp import Monitor
from rescue.view.starting import accelerators, helper_for

LIMIT = 300.0
"""Seconds that a start may take, when nobody says otherwise."""
# Seconds. Emulation is slower than a processor by this factor, measured with Debian's kernel.
_FIRST_PRESS, _NEXT_PRESS = 20.0, 10.0
_SLOWER = 4
_RESTARTS = 3
_LAST_LINES = 5
_UNREADABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it.

    Attributes:
        started: the system ran, and went down in order.
        words: because of what, or why not; a clause.
        serial: the last lines of its serial console, if it has one.
    """

    started: bool
    words: str
    seconds: float
    accelerator: str
    serial: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "started": self.started,
            "words": self.words,
            "seconds": round(self.seconds, 1),
            "accelerator": self.accelerator,
            "serial": list(self.serial),
        }


@dataclass(slots=True)
class Course:
    """What has happened so far, and what it means. Pure: time is handed in.

    Attributes:
        limit: seconds after which it is given up.
        slow: factor by which this machine is slower than a real one.
    """

    limit: float
    slow: float = 1.0
    pressed: int = 0
    restarts: int = 0
    _next: float = -1.0

    def should_press(self, now: float) -> bool:
        """Whether the power button is to be pressed now."""
        due = self._next if self._next >= 0 else _FIRST_PRESS * self.slow
        if now < due:
            return False
        self.pressed += 1
        self._next = now + _NEXT_PRESS * self.slow
        return True

    def verdict(self, event: dict[str, Any] | None, now: float) -> tuple[bool, str] | None:
        """Whether it started and why, or None while that is open."""
        name = str(event.get("event")) if event else ""
        data = event.get("data") if event else None
        reason = str(data.get("reason", "")) if isinstance(data, dict) else ""
        if name == "SHUTDOWN" and reason == "guest-shutdown":
            how = "when its power button was pressed" if self.pressed else "by itself"
            return True, f"its system ran and switched the machine off {how}"
        if name == "SUSPEND":
            return True, "its system ran and went to sleep when its power button was pressed"
        if name == "GUEST_PANICKED":
            return False, "its system stopped with a panic"
        if (name == "RESET" and reason == "guest-reset") or (
            name == "SHUTDOWN" and reason == "guest-reset"
        ):
            self.restarts += 1
            if self.restarts >= _RESTARTS:
                return False, f"it restarted {self.restarts} times and came no further"
        elif name == "SHUTDOWN":
            return False, f"the virtual machine ended ({reason or 'no reason given'})"
        if now >= self.limit:
            return False, f"it did not answer its power button within {self.limit:.0f} s"
        return None


def rehearse(
    view: OpenView, machine: Machine, wish: str, limit: float, reporter: Reporter
) -> Rehearsed:
    """Start the machine without a screen and see whether its system runs.

    Args:
        wish: "auto", "kvm" or "tcg".
        limit: seconds that it may take on a real processor; emulation gets more.

    Raises:
        ProgramFailed: QEMU is missing or does not start.
    """
    process.require("qemu-system-x86_64", package="qemu-system-x86")
    process.require("qemu-img", package="qemu-utils")
    tries = accelerators(wish)
    for accelerator in tries:
        with tempfile.TemporaryDirectory(prefix="rescue-boot-") as room:
            reporter.start(f"start the machine in the image ({accelerator})", None)
            found = _once(view, machine, accelerator, limit, Path(room))
            reporter.finish()
        if found is not None:
            return found
        reporter.warn("KVM does not run this machine here: starting it again by emulation, slowly")
    raise ProgramFailed("the virtual machine stopped with an internal error")


def _once(
    view: OpenView, machine: Machine, accelerator: Accelerator, limit: float, room: Path
) -> Rehearsed | None:
    """One start; None: the accelerator broke down."""
    overlay, variables = room / "overlay.qcow2", room / "variables.fd"
    socket, serial = room / "qmp", room / "serial"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", view.disk, overlay])
    helper = None
    if machine.firmware == "uefi":
        shutil.copyfile(ovmf()[1], variables)
        helper = helper_for(view, room / "helper")
    machine = replace(machine, window=False, network=False, serial_log=serial)
    words = command(machine, accelerator, overlay, variables, socket, helper)
    slow = _SLOWER if accelerator == "tcg" else 1
    begun = time.monotonic()
    with process.running([*words, "-no-shutdown"]) as child:
        try:
            monitor = Monitor.connect(socket, child.alive)
        except ProgramFailed as error:
            raise ProgramFailed(
                f"{error.message}: {child.last_words() or 'no reason given'}"
            ) from error
        try:
            started, why = _watch(monitor, Course(limit * slow, slow), begun)
        finally:
            monitor.close()
    if why == _BROKEN:
        return None
    return Rehearsed(started, why, time.monotonic() - begun, accelerator, _last_lines(serial))


_BROKEN = "internal error"


def _watch(monitor: Monitor, course: Course, begun: float) -> tuple[bool, str]:
    def now() -> float:
        return time.monotonic() - begun

    while True:
        try:
            verdict = course.verdict(monitor.event(1.0), now())
            if verdict is not None:
                return verdict
            if monitor.ask("query-status").get("status") in ("internal-error", "io-error"):
                return False, _BROKEN
            if course.should_press(now()):
                monitor.ask("system_powerdown")
        except OSError:
            return False, "the virtual machine ended without a word"


def _last_lines(serial: Path) -> tuple[str, ...]:
    """What a person would look at first when it did not start."""
    try:
        text = serial.read_bytes()[-(1 << 16) :].decode(errors="replace")
    except OSError:
        return ()
    lines = (_UNREADABLE.sub("", line).strip() for line in text.splitlines())
    return tuple(line[:200] for line in lines if line)[-_LAST_LINES:]
