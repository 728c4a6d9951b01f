"""The guest's first virtual console: read from its memory, driven by the keys of a keyboard."""

from __future__ import annotations

import re
import time

from tests.boot.guest import Guest, GuestFailed

_KEYS = {"/": "slash", "-": "minus", ".": "dot", " ": "spc"}
_SIZE = "stty -F /dev/tty1 size"
# Each look is one program: what is looked at waits for the same processor.
_READ = "fold -w {} /dev/vcs1"
_PAUSE = 0.5


class Screen:
    """What a person at the machine sees and presses; the serial console stands in a root shell."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._lines = 0
        self._columns = 0

    def text(self) -> str:
        """What stands on the screen, a line for each of its lines."""
        text = self._read() if self._columns else ""
        if not text or text.count("\n") != self._lines:
            # The graphics driver makes the console larger when it comes: also between the two.
            self._columns, before = self._width(), 0
            while before != self._columns:
                text, before = self._read(), self._columns
                self._columns = self._width()
            self._lines = text.count("\n")
        return "\n".join(line.rstrip() for line in text.split("\n"))

    def _width(self) -> int:
        # The kernel may have a word between.
        size = re.search(r"^\d+ (\d+)\s*$", self._ask(_SIZE), re.MULTILINE)
        assert size is not None
        return int(size[1])

    def _read(self) -> str:
        return self._ask(_READ.format(self._columns))

    def _ask(self, line: str) -> str:
        status, text = self.guest.shell(line, 60)
        assert status == 0, text
        return text

    def wait(self, words: str, seconds: float, *, never: str = "") -> str:
        """Wait until ``words`` stand on the screen, and the rest of it is drawn; the screen.

        Raises:
            GuestFailed: they did not come in time, or ``never`` came.
        """
        until = time.monotonic() + seconds * self.guest.accelerator.patience
        while True:
            text = self.text()
            if words in text:
                return self._settled(text)
            if time.monotonic() > until or (never and never in text):
                raise GuestFailed(f"expected {words!r} on the screen, which shows\n{text}")
            time.sleep(_PAUSE)

    def _settled(self, text: str) -> str:
        """The screen when nothing more comes; one that shows progress never stands still."""
        for _ in range(8):
            time.sleep(_PAUSE)
            before, text = text, self.text()
            if text == before:
                break
        return text

    def press(self, *keys: str) -> None:
        """Press keys, as QEMU names them, one after the other."""
        for key in keys:
            self.guest.monitor.press(key)
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """Type letters, digits and a few signs, then Enter; the layout is the American one."""
        for letter in text:
            key = _KEYS.get(letter, letter.lower())
            self.press(f"shift-{key}" if letter.isupper() else key)
        self.press("ret")
