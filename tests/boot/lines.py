"""The restore shell in lines, answered as a person on a serial line answers it."""

from __future__ import annotations

import re

from tests.boot.guest import PANIC, Guest

MENU = "Type a number and press Enter"


def choose(guest: Guest, title: str, words: str) -> None:
    """Answer the question ``title`` with the number of the choice that says ``words``."""
    guest.expect(rf": {re.escape(title)}", 60)
    choice = guest.expect(rf"\n +(\d+)  [^\n]*(?:\n {{6}}[^\n]*)*?{words}", 60)
    guest.expect("Type a number: ", 60)
    guest.send(f"{choice[1]}\r")


def type_it(guest: Guest, title: str, text: str) -> None:
    """Answer a question with a text."""
    guest.expect(rf": {re.escape(title)}", 60)
    guest.expect("Type it, or 0 to go back[^:]*: ", 60)
    guest.send(f"{text}\r")


def run_to(guest: Guest, words: str, seconds: float) -> None:
    """Watch a task until it says ``words``; what a bad end says is a failure at once."""
    guest.expect(words, seconds, never=f"What to do:|{PANIC}")


def to_menu(guest: Guest) -> None:
    """From the end of something back to the menu."""
    guest.expect("Press Enter for the menu", 60)
    guest.send("\r")
    guest.expect(MENU, 60)
