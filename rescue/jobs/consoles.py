"""Every console of the machine at once: a job is watched on a screen or on a serial line.

Writing to a console must never stop a job: a serial line without anybody on it, or a screen that
has gone away, is skipped.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_ACTIVE = Path("/sys/class/tty/console/active")
_ALWAYS = ("tty1", "ttyS0")


def console_nodes(active: Path = _ACTIVE, devices: Path = Path("/dev")) -> tuple[Path, ...]:
    """The consoles that exist: tty1, ttyS0 and those the kernel writes to.

    tty0 only stands for the screen that is shown: tty1 is written to in its place.
    """
    try:
        named = active.read_text().split()
    except OSError:
        named = []
    names = dict.fromkeys([*_ALWAYS, *("tty1" if name == "tty0" else name for name in named)])
    return tuple(devices / name for name in names if (devices / name).exists())


class Consoles:
    """Open consoles; lines go to all, and the first answer from any counts."""

    def __init__(self, nodes: Sequence[Path]) -> None:
        self._fds: list[int] = []
        for node in nodes:
            # A console must not become our controlling terminal, nor block us when nobody reads.
            flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            with suppress(OSError):
                self._fds.append(os.open(node, flags))

    @property
    def count(self) -> int:
        """How many could be opened."""
        return len(self._fds)

    def write(self, line: str) -> None:
        """One line to every console; those that fail or take no more are left out."""
        data = _printable(line).encode("ascii", "replace") + b"\r\n"
        for fd in list(self._fds):
            self._write(fd, data)

    def _write(self, fd: int, data: bytes) -> None:
        until = time.monotonic() + 2
        while data and time.monotonic() < until:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                select.select([], [fd], [], 0.2)
            except OSError:
                self._drop(fd)
                return

    def wait_for_enter(self, timeout: float | None = None) -> bool:
        """Wait until Enter is pressed on one of them.

        Returns:
            False when the time is over, or no console can be read.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self._fds:
            left = None if until is None else max(0.0, until - time.monotonic())
            ready, _, _ = select.select(self._fds, [], [], left)
            if not ready:
                return False
            for fd in ready:
                try:
                    got = os.read(fd, 256)
                except BlockingIOError:
                    continue
                except OSError:
                    got = b""
                if b"\n" in got or b"\r" in got:
                    return True
                if not got:
                    self._drop(fd)
        return False

    def _drop(self, fd: int) -> None:
        self._fds.remove(fd)
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in list(self._fds):
            self._drop(fd)


def _printable(line: str) -> str:
    """Control characters would move the cursor of a console; they become ``?``."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
