"""Getting files out in lines: a numbered folder at a time, marks, search, and copying."""

from __future__ import annotations

from rescue.core.errors import RescueError
from rescue.core.units import format_size, plural
from rescue.shell.browser import Browser, Row, opened
from rescue.shell.flows.files import CopyFlow
from rescue.shell.plain.asking import run_flow, tell
from rescue.shell.terminal import Back, Terminal
from rescue.shell.world import ThisMachine

_PAGE = 14
_HELP = "number: open   m NUMBERS: mark   c: copy what is marked   / WORD: search   n: more   0: up"


def browse(terminal: Terminal, world: ThisMachine, source: str, passphrase: bytes = b"") -> None:
    """Show the files of an image or a disk until the person goes back."""
    from rescue.shell.plain.menu import finish

    marked: list[str] = []
    terminal.say("Opening it; nothing on it changes ...")
    with opened(source, passphrase) as browser:
        wanted = _walk(terminal, browser, marked)
    if wanted:
        ready, _ = run_flow(terminal, CopyFlow(world, source, wanted, passphrase))
        finish(terminal, world, ready)


def _walk(terminal: Terminal, browser: Browser, marked: list[str]) -> list[str]:
    """Walk through folders; the paths to copy, or none when the person leaves."""
    path, first = "", 0
    rows, failed = browser.rows(path)
    while True:
        _show(terminal, f"{browser.source}: /{path}", rows, failed, marked, first)
        answer = terminal.ask("Type")
        word, _, rest = answer.partition(" ")
        try:
            if word in ("0", "b"):
                if not path:
                    raise Back
                path, first = path.rpartition("/")[0], 0
                rows, failed = browser.rows(path)
            elif word == "n" and first + _PAGE < len(rows):
                first += _PAGE
            elif word == "m":
                _mark(marked, rows, rest)
            elif word == "c":
                if marked:
                    return marked
                terminal.say("Nothing is marked. Type m and the numbers of files or folders.")
            elif answer.startswith("/"):
                terminal.say("Searching ...")
                rows, all_of_them = browser.search(answer[1:].strip())
                failed = [] if all_of_them else ["there are more; search for a longer word"]
                first = 0
            elif word.isdecimal() and 1 <= int(word) <= len(rows):
                row = rows[int(word) - 1]
                if row.why:
                    terminal.say(f"Its files cannot be seen: {row.why}.")
                elif row.folder:
                    path, first = row.path, 0
                    rows, failed = browser.rows(path)
                else:
                    for line in browser.preview(row.path)[:20]:
                        terminal.lines([f"    {line}"])
                    terminal.wait()
        except RescueError as error:
            tell(terminal, error)


def _show(
    terminal: Terminal,
    title: str,
    rows: list[Row],
    failed: list[str],
    marked: list[str],
    first: int,
) -> None:
    terminal.title(title)
    for number, row in enumerate(rows[first : first + _PAGE], first + 1):
        mark = "*" if row.path in marked else " "
        size = "folder" if row.folder else format_size(row.size)
        terminal.lines([f" {mark}{number:>3}  {size:>10}  {row.name} {row.about}{_why(row)}"])
    if not rows:
        terminal.say("  (nothing)")
    if len(rows) > first + _PAGE:
        terminal.say(f"   n  more ({len(rows) - first - _PAGE})")
    for line in failed:
        terminal.say(f"NOTE: {line}")
    terminal.say(f"{plural(len(marked), 'entry', 'entries')} marked.")
    terminal.say(_HELP)


def _why(row: Row) -> str:
    return f" ({row.why})" if row.why else ""


def _mark(marked: list[str], rows: list[Row], text: str) -> None:
    """Mark entries by their numbers, or take the mark away."""
    for word in text.replace(",", " ").split():
        if word.isdecimal() and 1 <= int(word) <= len(rows) and not rows[int(word) - 1].why:
            path = rows[int(word) - 1].path
            if path in marked:
                marked.remove(path)
            else:
                marked.append(path)
