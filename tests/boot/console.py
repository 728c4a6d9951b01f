"""A guest's serial console: read all the time by a thread, searched for tokens.

Escape sequences are taken out before the search, so that a token is found whatever colours and
cursor moves stand in it.
"""

from __future__ import annotations

import re
import socket
import threading
import time

_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+][0-9A-Za-z]|[=>78DEHMZc])"
)
_PARTIAL = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200}\x1b?|[()*+]?)?\Z")


def without_escapes(data: bytes) -> tuple[bytes, bytes]:
    """Text without terminal escape sequences, and a tail that may be the start of one."""
    partial = _PARTIAL.search(data)
    tail = b""
    if partial is not None:
        data, tail = data[: partial.start()], data[partial.start() :]
    return _ESCAPE.sub(b"", data).replace(b"\x00", b""), tail


class Console:
    """What a guest printed so far; ``expect`` waits for more.

    Reading goes on in a thread until the other side closes, so the guest never blocks on it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._text = ""
        self._position = 0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="console", daemon=True).start()

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                data = self._connection.recv(65536)
            except OSError:
                data = b""
            clean, pending = without_escapes(pending + data)
            with self._changed:
                self._text += clean.decode(errors="replace")
                self._closed = not data
                self._changed.notify_all()
            if not data:
                return

    @property
    def text(self) -> str:
        """Everything printed so far, without escape sequences."""
        with self._changed:
            return self._text

    def tail(self, lines: int = 40) -> str:
        """The last lines printed."""
        kept = [line.rstrip() for line in re.split(r"[\r\n]+", self.text) if line.strip()]
        return "\n".join(kept[-lines:])

    def send(self, text: str) -> None:
        """Type ``text`` (no newline is added)."""
        self._connection.sendall(text.encode())

    def expect(self, pattern: str, seconds: float) -> re.Match[str] | None:
        """Wait for ``pattern`` (MULTILINE) behind the last match.

        Returns:
            The match, or None when ``seconds`` passed or the console closed without it.
        """
        wanted = re.compile(pattern, re.MULTILINE)
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                if match := wanted.search(self._text, self._position):
                    self._position = match.end()
                    return match
                left = end - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)

    @property
    def closed(self) -> bool:
        """Whether the guest is gone."""
        with self._changed:
            return self._closed

    def close(self) -> None:
        """Stop reading."""
        self._connection.close()
