"""Asking and showing on a plain terminal: a VGA console, a serial line of 80 columns, a window.

Only ASCII letters and, where they are wanted, the few escape sequences every terminal since the
VT100 knows. Ctrl-C never ends the shell: it leads back to the menu.
"""

from __future__ import annotations

import getpass
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Generic, TypeVar

WIDTH = 78
_PAGE = 14
_MAX_ENDS = 20

Value = TypeVar("Value")


class Back(Exception):
    """The person wants to go back one step."""


class Menu(Exception):
    """The person pressed Ctrl-C: back to the menu, whatever was being asked."""


class Gone(Exception):
    """The terminal is gone, or the input has ended: nobody can be asked any more."""


class Option(Generic[Value]):
    """One numbered answer: what it says, and what it stands for; ``more`` are lines below it.

    One that is refused is shown with the reason, and has no number.
    """

    def __init__(
        self, text: str, value: Value, more: Sequence[str] = (), refused: str = ""
    ) -> None:
        self.text, self.value, self.more, self.refused = text, value, tuple(more), refused


class Terminal:
    """The person's end of the shell.

    Args:
        plain: no colour, and the screen is never cleared.
        read: gives one line without its end, and None at the end of input; stdin by default.
        write: takes text as it is; stdout by default.
        secret: asks for a line that is not shown; getpass by default.
    """

    def __init__(
        self,
        *,
        plain: bool,
        read: Callable[[], str | None] | None = None,
        write: Callable[[str], None] | None = None,
        secret: Callable[[str], str] | None = None,
    ) -> None:
        self.plain = plain
        self._secret = secret or getpass.getpass
        self._read = read or _read_line
        self._write = write or _write

    def clear(self) -> None:
        """A new screen."""
        self._write("\n" if self.plain else "\x1b[2J\x1b[H")

    def bold(self, text: str) -> str:
        """Emphasis where the terminal may show it."""
        return text if self.plain else f"\x1b[1m{text}\x1b[0m"

    def title(self, text: str) -> None:
        """Start a screen under a heading."""
        self.clear()
        self._write(self.bold(fit(text)) + "\n" + "-" * WIDTH + "\n")

    def stress(self, text: str) -> None:
        """A line that stands out."""
        for line in fold(text):
            self._write(self.bold(line) + "\n")

    def say(self, text: str = "") -> None:
        """Lines of text, folded to the width; leading spaces are kept on every line."""
        for line in fold(text):
            self._write(line + "\n")

    def lines(self, texts: Sequence[str]) -> None:
        """Lines that are cut at the width, not folded: rows of a table."""
        for text in texts:
            self._write(fit(text) + "\n")

    def ask(self, question: str, default: str = "") -> str:
        """A line of text; Enter alone means ``default``.

        Raises:
            Menu: Ctrl-C.
            Gone: the input has ended.
        """
        shown = f"{question} [{default}]: " if default else f"{question}: "
        self._write(shown)
        try:
            answer = self._read()
        except Menu:
            self._write("\n")
            raise
        if answer is None:
            raise Gone
        return answer.strip() or default

    def ask_secret(self, question: str) -> str:
        """A line that is not shown while it is typed; Enter alone is an empty one.

        Raises:
            Gone: the input has ended.
        """
        try:
            return self._secret(f"{question}: ")
        except EOFError as error:
            raise Gone from error

    def choose(
        self, question: str, options: Sequence[Option[Value]], *, back: str = "Back"
    ) -> Value:
        """One of the options by its number; long lists come in pages.

        Raises:
            Back: 0, b or an empty answer on a list that fits.
        """
        first = 0
        while True:
            page = options[first : first + _PAGE]
            for number, option in enumerate(page, first + 1):
                label = " -" if option.refused else f"{number:>2}"
                first_line, *rest_of_it = fold(f"      {option.text}")
                self.lines([f"  {label}  {first_line[6:]}", *rest_of_it])
                for more in option.more:
                    self.say(f"      {more}")
                if option.refused:
                    self.say(f"      NOT POSSIBLE: {option.refused}")
            rest = len(options) - first - len(page)
            if rest:
                self.lines([f"   m  more ({rest})"])
            self.lines([f"   0  {back}"])
            self.say()
            answer = self.ask(question).lower()
            if answer in ("0", "b", "back", "q"):
                raise Back
            if answer == "m" and rest:
                first += _PAGE
                continue
            if answer.isdecimal() and 1 <= int(answer) <= len(options):
                chosen = options[int(answer) - 1]
                if not chosen.refused:
                    return chosen.value
                self.say(f"That one is not possible: {chosen.refused}.")
            elif answer:
                self.say(f'"{answer[:20]}" is none of these numbers.')
            self.say()

    def yes(self, question: str, *, default: bool) -> bool:
        """Yes or no; asks again until it is one of them."""
        while True:
            answer = self.ask(f"{question} (yes/no)", "yes" if default else "no").lower()
            if answer in ("y", "yes"):
                return True
            if answer in ("n", "no"):
                return False
            self.say('Please type "yes" or "no".')

    def wait(self, text: str = "Press Enter to go on.") -> None:
        """Until the person has read it."""
        self._write(text + " ")
        if self._read() is None:
            raise Gone


def fit(text: str) -> str:
    """``text`` cut to the width, in printable ASCII: names come from disks and may be anything."""
    safe = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return safe if len(safe) <= WIDTH else safe[: WIDTH - 3] + "..."


def fold(text: str) -> list[str]:
    """``text`` as lines of at most the width; a word that is too long is left whole."""
    indent = text[: len(text) - len(text.lstrip(" "))]
    lines, line = [], indent
    for word in text.split():
        safe = "".join(letter if " " <= letter <= "~" else "?" for letter in word)
        joined = f"{line} {safe}" if line.strip() else indent + safe
        if len(joined) > WIDTH and line.strip():
            lines.append(line)
            joined = indent + safe
        line = joined
    return [*lines, line]


def take_signals() -> None:
    """Ctrl-C leads to the menu; Ctrl-Z and Ctrl-\\ do nothing.

    Handlers and not SIG_IGN: an ignored signal would stay ignored in the programs started here.
    """

    def to_menu(_number: int, _frame: FrameType | None) -> None:
        raise Menu

    signal.signal(signal.SIGINT, to_menu)
    for number in (signal.SIGTSTP, signal.SIGQUIT):
        signal.signal(number, lambda _number, _frame: None)


def _read_line() -> str | None:
    """One line of stdin. Ctrl-D is an empty answer: it must not end the shell by itself.

    A terminal that is gone says "end of input" again and again; nobody presses Ctrl-D that often.
    """
    for _ in range(_MAX_ENDS if sys.stdin.isatty() else 1):
        try:
            line = sys.stdin.buffer.readline()
        except OSError as error:  # the other end of a serial line or a window has gone
            raise Gone from error
        if line:
            return line.decode(errors="replace").rstrip("\r\n")
    return None


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise Gone from error


def is_capable() -> bool:
    """Whether this terminal knows colours and clearing."""
    return (
        sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") not in ("", "dumb")
        and not os.environ.get("NO_COLOR")
    )
