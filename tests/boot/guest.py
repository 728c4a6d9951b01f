"""A running virtual machine: tokens expected from inside, commands typed into its shell.

As in mkosi's tests, nothing but a token from inside the guest is success: a power-off, a closed
console or silence are failures, told with the last lines the guest printed. QEMU never outlives
the test: ``with Guest(...)`` ends it, and the kernel does if the test itself is killed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tests.boot.console import Console
from tests.boot.qemu import Accelerator, Machine, command
from tests.boot.qmp import Monitor

PANIC = r"Kernel panic - not syncing[^\n]*"


class GuestFailed(AssertionError):
    """The guest did not do what was expected; the message ends with what it printed last."""


class Panicked(GuestFailed):
    """The guest's kernel panicked."""


class Guest:
    """One start of a machine.

    Args:
        log: where the serial log is kept for a person to read; None keeps none.
    """

    def __init__(self, machine: Machine, accelerator: Accelerator, log: Path | None = None) -> None:
        self.machine = machine
        self.accelerator = accelerator
        self.started = time.monotonic()
        self._log = log
        # A short path of its own: a Unix socket's may have 107 characters, pytest's are longer.
        self._room = Path(tempfile.mkdtemp(prefix="guest-"))
        self._qemu: subprocess.Popen[bytes] | None = None
        self._console: Console | None = None
        self._monitor: Monitor | None = None

    def __enter__(self) -> Guest:
        try:
            self._start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _start(self) -> None:
        variables = self.machine.firmware.variables
        if variables is not None:
            shutil.copyfile(variables, self._room / "variables.fd")
        words = command(self.machine, self.accelerator, self._room)
        with (self._room / "qemu.err").open("wb") as errors:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        connection = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 30
        while True:
            try:
                connection.connect(str(self._room / "console"))
                break
            except OSError as error:
                if self._qemu.poll() is not None or time.monotonic() > end:
                    raise GuestFailed(f"qemu did not start: {self._qemu_words()}") from error
                time.sleep(0.05)
        self._console = Console(connection)

    def _qemu_words(self) -> str:
        lines = (self._room / "qemu.err").read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "info: QEMU waiting for connection" not in line)

    @property
    def console(self) -> Console:
        """The serial console."""
        assert self._console is not None, "the guest was not started"
        return self._console

    @property
    def monitor(self) -> Monitor:
        """QEMU's machine protocol, connected at first use."""
        if self._monitor is None:
            # It is made only after the console has found its reader.
            end = time.monotonic() + 30
            while not (self._room / "qmp").exists() and time.monotonic() < end:
                time.sleep(0.02)
            self._monitor = Monitor(self._room / "qmp")
        return self._monitor

    @property
    def work(self) -> float:
        """Seconds of the host's processors that QEMU has used; a busy host changes them little."""
        assert self._qemu is not None, "the guest was not started"
        stat = Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def age(self) -> float:
        """Seconds since QEMU was started."""
        return time.monotonic() - self.started

    def failure(self, what: str) -> GuestFailed:
        """The error to raise: what was expected, the guest's last lines, QEMU's own words."""
        machine = f"{self.machine.firmware}, {self.accelerator.name}, {self.age:.0f} s"
        parts = [f"{what} ({machine})", "the guest's last lines:", self.console.tail()]
        if words := self._qemu_words():
            parts += ["qemu said:", words]
        return GuestFailed("\n".join(parts))

    def expect(self, pattern: str, seconds: float, *, never: str = PANIC) -> re.Match[str]:
        """Wait for ``pattern`` on the console.

        Args:
            seconds: how long it may take with KVM; more is allowed without.
            never: seeing this first is a failure at once.

        Raises:
            Panicked: ``never`` came, and is a panic.
            GuestFailed: it did not come in time, or the guest went away, or ``never`` came.
        """
        allowed = seconds * self.accelerator.patience
        match = self.console.expect(f"(?:{pattern})|(?P<never>{never})", allowed)
        if match is None:
            state = "the guest ended" if self.console.closed else f"nothing in {allowed:.0f} s"
            raise self.failure(f"expected {pattern!r}: {state}")
        if match["never"] is not None:
            error = self.failure(f"expected {pattern!r}, got {match['never']!r}")
            raise Panicked(*error.args) if "Kernel panic" in match["never"] else error
        return match

    def send(self, text: str) -> None:
        """Type on the serial console; a newline is the caller's."""
        self.console.send(text)

    def shell(self, line: str, seconds: float = 20) -> tuple[int, str]:
        """Run one line in the root shell that the console stands in.

        The end marker is typed in two halves, so that the echo of the line does not match it, and
        begins on its own line whatever the kernel prints in the middle.

        Returns:
            Exit status and what was printed (kernel messages included).
        """
        mark = secrets.token_hex(4)
        self.send(f"printf 'BEG''IN-{mark}\\n'; {line}\nprintf '\\nEN''D-{mark}-%s.\\n' $?\n")
        match = self.expect(rf"BEGIN-{mark}\r*\n([\s\S]*?)^END-{mark}-(\d+)\.", seconds)
        return int(match[2]), match[1].replace("\r", "")

    def wait_off(self, seconds: float) -> None:
        """Wait until the guest powered itself off.

        Raises:
            GuestFailed: it still runs.
        """
        assert self._qemu is not None
        try:
            self._qemu.wait(seconds * self.accelerator.patience)
        except subprocess.TimeoutExpired as error:
            raise self.failure("the guest did not power off") from error

    def kill(self) -> None:
        """End QEMU if it still runs, keep the log, remove the rest."""
        if self._monitor is not None:
            self._monitor.close()
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        if self._console is not None:
            self._console.close()
        if self._log is not None and (self._room / "serial.log").exists():
            self._log.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._room / "serial.log", self._log)
        shutil.rmtree(self._room, ignore_errors=True)
