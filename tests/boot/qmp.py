"""QEMU's machine protocol: take a picture of the screen, press keys, pull a drive."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any


class MonitorFailed(AssertionError):
    """QEMU refused a command; the message holds its own words."""


class Monitor:
    """A connection to a running QEMU."""

    def __init__(self, path: Path, seconds: float = 30) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        json.loads(self._lines.readline())
        self.execute("qmp_capabilities")

    def execute(self, name: str, **arguments: Any) -> Any:
        """Run one command and give its answer; events in between are passed over."""
        message = {"execute": name, "arguments": arguments}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise MonitorFailed(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise MonitorFailed(f"{name}: qemu closed the connection")

    def screenshot(self, path: Path) -> None:
        """Write the screen to ``path`` as PNG."""
        self.execute("screendump", filename=str(path), format="png")

    def press(self, *keys: str) -> None:
        """Press keys one after the other; ``"ctrl-x"`` holds one while pressing the next."""
        for key in keys:
            codes = [{"type": "qcode", "data": code} for code in key.split("-")]
            self.execute("send-key", keys=codes)

    def unplug(self, device: str) -> None:
        """Pull a device out, as a person pulls a stick."""
        self.execute("device_del", id=device)

    def change_disc(self, device: str, file: Path) -> None:
        """Take the disc out of a drive and put another one in."""
        self.execute("blockdev-change-medium", id=device, filename=str(file), format="raw")

    def save(self, path: Path, seconds: float = 120) -> None:
        """Stop the machine and write its state, without its drives, to ``path``."""
        self.execute("stop")
        self.execute("migrate", uri=f"exec:cat > {path}")
        end = time.monotonic() + seconds
        while (status := self.execute("query-migrate").get("status")) != "completed":
            if status == "failed" or time.monotonic() > end:
                raise MonitorFailed(f"the state was not saved: {status}")
            time.sleep(0.2)

    def go_on(self, seconds: float = 60) -> None:
        """Let a machine run that was begun with a state, when all of that is there."""
        end = time.monotonic() + seconds
        while (status := self.execute("query-status")["status"]) == "inmigrate":
            if time.monotonic() > end:
                raise MonitorFailed("the state was not taken")
            time.sleep(0.1)
        if status != "running":
            self.execute("cont")

    def quit(self) -> None:
        """End QEMU at once."""
        self.execute("quit")

    def close(self) -> None:
        """Close the connection; QEMU goes on."""
        self._lines.close()
        self._socket.close()
