"""QEMU's machine protocol (QMP): one line of JSON for each command, answer and event.

https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rescue.core.errors import ProgramFailed

_PAUSE = 0.1


class Monitor:
    """A connection with a running QEMU.

    Every answer may be preceded by events; they are kept until somebody takes them.
    """

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._pending = b""
        self._events: list[dict[str, Any]] = []
        self._hear(None)  # the greeting
        self.ask("qmp_capabilities")

    @classmethod
    def connect(cls, path: Path, alive: Callable[[], bool]) -> Monitor:
        """Connect as soon as QEMU has made its socket.

        Raises:
            ProgramFailed: it ended (``alive`` says so) before that.
        """
        while alive():
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(path))
                return cls(made)
            except OSError:
                made.close()
                time.sleep(_PAUSE)
        raise ProgramFailed("the virtual machine ended before it began")

    def ask(self, name: str) -> dict[str, Any]:
        """Give a command; what it returns, empty when QEMU refuses it.

        Raises:
            OSError: QEMU is gone.
        """
        self._socket.sendall(json.dumps({"execute": name}).encode() + b"\n")
        while True:
            heard = self._hear(None)
            if "event" in heard:
                self._events.append(heard)
            elif "return" in heard or "error" in heard:
                value = heard.get("return")
                return value if isinstance(value, dict) else {}

    def event(self, seconds: float) -> dict[str, Any] | None:
        """The next event, or None when none comes in time.

        Raises:
            OSError: QEMU is gone.
        """
        until = time.monotonic() + seconds
        while not self._events:
            left = until - time.monotonic()
            if left <= 0:
                return None
            try:
                heard = self._hear(left)
            except TimeoutError:
                return None
            if "event" in heard:
                self._events.append(heard)
        return self._events.pop(0)

    def close(self) -> None:
        """End the connection; QEMU goes on."""
        self._socket.close()

    def _hear(self, seconds: float | None) -> dict[str, Any]:
        """The next line; TimeoutError when it does not come in time."""
        until = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._pending:
            self._socket.settimeout(None if until is None else max(0.01, until - time.monotonic()))
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("qemu closed its monitor")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        value = json.loads(line)
        return value if isinstance(value, dict) else {}
