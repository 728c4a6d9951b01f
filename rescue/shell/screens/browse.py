"""Two panes over an image or a disk: the folders at the left, what is marked or looked at right."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from rescue.core.errors import RescueError
from rescue.core.units import format_size, plural
from rescue.shell.browser import Browser, Row, opened
from rescue.shell.flows.files import CopyFlow
from rescue.shell.words import failed, safe

if TYPE_CHECKING:
    from rescue.shell.screens.app import RescueApp

_KEYS = " Enter open  Space mark  C copy  / search  V look  Backspace up  Esc leave"


class BrowseScreen(Screen[None]):
    """The files of one image or disk.

    It is opened, asked and closed by one thread of its own: the mounts belong to that thread's
    block, and keys are answered whatever a bad disk does.
    """

    CSS = """
    #panes { height: 1fr; }
    #left { width: 3fr; }
    #right { width: 2fr; border-left: solid ansi_white; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", priority=True),
        Binding("backspace", "up", "up"),
        Binding("left", "up", "up"),
        Binding("space", "mark", "mark"),
        Binding("c", "copy", "copy"),
        Binding("v", "look", "look"),
        Binding("slash", "search", "search"),
    ]

    def __init__(self, source: str, passphrase: bytes = b"") -> None:
        super().__init__()
        self._source = source
        self._passphrase = passphrase
        self._browser: Browser | None = None
        self._path = ""
        self._rows: list[Row] = []
        self._marked: list[str] = []
        self._turn = 0
        self._done = threading.Event()

    @property
    def shell(self) -> RescueApp:
        """The application."""
        return cast("RescueApp", self.app)

    def compose(self) -> ComposeResult:
        """Head, two panes, search line, keys."""
        yield Static(f" Get files out of {self._source}", id="head", markup=False)
        with Horizontal(id="panes"):
            yield OptionList(id="left")
            with VerticalScroll(id="right", can_focus=False):
                yield Static(id="aside", markup=False)
        yield Static("Opening it; nothing on it changes ...", id="said", markup=False)
        yield Input(placeholder="/ searches: a part of a name", id="search", compact=True)
        yield Static(_KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        """Open it in a thread that stays until the screen is left."""
        self.query_one("#left").focus()
        thread = threading.Thread(target=self._hold, name="browse", daemon=True)
        thread.start()
        self.shell.held.append((self._done, thread))
        self._draw_marked()

    def on_unmount(self) -> None:
        """Close it."""
        self._done.set()

    def _hold(self) -> None:
        try:
            with opened(self._source, self._passphrase) as browser:
                self._browser = browser
                self._later(self._enter, "")
                self._done.wait()
        except RescueError as error:
            self._later(self._say, f"{failed(error)} Press Esc.")
        finally:
            self._browser = None

    def _later(self, call: object, *words: object) -> None:
        """Something on the screen's own thread; a screen that is gone needs nothing."""
        if not self._done.is_set() and callable(call):
            self.app.call_from_thread(call, *words)

    def _enter(self, path: str) -> None:
        """Show a folder."""
        browser = self._browser
        if browser is None:
            return
        turn = self._begin("Looking ...")

        def read() -> None:
            try:
                rows, failed = browser.rows(path)
            except RescueError as error:
                self._later(self._fail, turn, error)
                return
            self._later(self._show, turn, path, rows, failed)

        self.run_worker(read, thread=True, exclusive=True, exit_on_error=False)

    def _begin(self, said: str) -> int:
        """A look that takes its time; one that it overtakes shows nothing any more."""
        self._turn += 1
        self._say(said)
        return self._turn

    def _fail(self, turn: int, error: RescueError) -> None:
        if turn == self._turn:
            self._say(failed(error))

    def _show(self, turn: int, path: str, rows: list[Row], failed: list[str]) -> None:
        if turn != self._turn:
            return
        before, self._path, self._rows = self._path, path, rows
        head = Text(safe(f" {self._source}   /{path}"), no_wrap=True, overflow="ellipsis")
        self.query_one("#head", Static).update(head)
        left = self.query_one("#left", OptionList)
        left.set_options([self._option(row, number) for number, row in enumerate(rows)])
        came_from = [n for n, row in enumerate(rows) if row.path == before]
        left.highlighted = came_from[0] if came_from else 0 if rows else None
        self._say("; ".join(failed[:3]) if failed else "" if rows else "This folder is empty.")

    def _option(self, row: Row, number: int) -> Option:
        """One line; the end of a long path is what tells one from another."""
        room = max(20, self.size.width * 3 // 5 - 4)
        mark = "*" if row.path in self._marked else " "
        size = "folder" if row.folder else format_size(row.size)
        line = f"{mark}{size:>10}  "
        if self.size.width >= 100:
            when = time.strftime("%Y-%m-%d", time.gmtime(row.time / 1e9)) if row.time else ""
            line += f"{when:>10}  "
        about = row.why or row.about
        name = safe(row.name + (f"  {about}" if about else "")).replace("\n", "?")
        if len(line) + len(name) > room:
            cut = max(4, room - len(line) - 3)
            name = name[:cut] + "..." if about else "..." + name[-cut:]
        return Option(Text(line + name), id=f"{self._turn}-{number}")

    def _here(self) -> Row | None:
        """The entry under the cursor."""
        number = self.query_one("#left", OptionList).highlighted
        return self._rows[number] if number is not None and number < len(self._rows) else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter: into a folder, or look at a file; of the list that was looked at, and no other."""
        row = self._here()
        drawn = self.query_one("#left", OptionList).highlighted_option
        if row is None or drawn is None or event.option.id != drawn.id:
            return
        if row.why:
            self._say(f"Its files cannot be seen: {row.why}.")
        elif row.folder:
            self._enter(row.path)
        else:
            self.action_look()

    def action_up(self) -> None:
        """To the folder above."""
        if self._path:
            self._enter(self._path.rpartition("/")[0] if "/" in self._path else "")

    def action_mark(self) -> None:
        """Mark the entry under the cursor, or take the mark away, and go on to the next."""
        row, left = self._here(), self.query_one("#left", OptionList)
        if row is None or row.why:
            return
        if row.path in self._marked:
            self._marked.remove(row.path)
        else:
            self._marked.append(row.path)
        number = left.highlighted or 0
        left.replace_option_prompt_at_index(number, self._option(row, number).prompt)
        left.highlighted = min(number + 1, len(self._rows) - 1)
        self._draw_marked()

    def _draw_marked(self) -> None:
        lines = [f"{plural(len(self._marked), 'entry', 'entries')} marked"]
        lines += [f" * {path}" for path in self._marked[-30:]]
        if not self._marked:
            lines.append("Mark files and folders with the space bar, then press C to copy them.")
        self.query_one("#aside", Static).update(safe("\n".join(lines)))

    def action_look(self) -> None:
        """The beginning of a text file, at the right."""
        row, browser = self._here(), self._browser
        if row is None or row.folder or browser is None:
            return

        def read() -> None:
            try:
                lines = [row.name, "", *browser.preview(row.path)]
            except RescueError as error:
                lines = [f"It cannot be read: {error.message}."]
            self._later(self.query_one("#aside", Static).update, Text(safe("\n".join(lines))))

        self.run_worker(read, thread=True, exclusive=True, exit_on_error=False)

    def action_search(self) -> None:
        """Ask for a part of a name."""
        line = self.query_one("#search", Input)
        line.value = ""
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search in all volumes."""
        event.stop()
        self._close_search()
        browser, word = self._browser, event.value.strip()
        if browser is None or not word:
            return
        turn = self._begin(f'Searching for "{word}" ...')

        def find() -> None:
            try:
                rows, all_of_them = browser.search(word)
            except RescueError as error:
                self._later(self._fail, turn, error)
                return
            failed = [] if all_of_them else ["there are more; search for a longer word"]
            self._later(self._show, turn, self._path, rows, failed or [f'found for "{word}"'])

        self.run_worker(find, thread=True, exclusive=True, exit_on_error=False)

    def _close_search(self) -> None:
        self.query_one("#search", Input).value = ""
        self.query_one("#left").focus()

    def action_copy(self) -> None:
        """Where to copy what is marked, or the entry under the cursor."""
        row = self._here()
        paths = self._marked or ([row.path] if row is not None and not row.why else [])
        if paths:
            flow = CopyFlow(self.shell.world, self._source, paths, self._passphrase)
            self.shell.start_flow(flow)

    def action_leave(self) -> None:
        """Close the search line, or leave."""
        if self.query_one("#search", Input).has_focus:
            self._close_search()
            return
        self.app.pop_screen()

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(safe(text))
