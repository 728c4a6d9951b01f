"""Tools: disks, health, network, log, keyboard; a root shell; restart and power off."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from rescue.core.errors import RescueError
from rescue.shell import actions, keyboard
from rescue.shell.words import failed

if TYPE_CHECKING:
    from rescue.shell.screens.app import RescueApp

_KEYS = " Up/Down choose   Enter go   Esc back"
_TEXT_KEYS = " Up/Down PgUp/PgDn scroll   Esc back"
_MORE = {
    "keyboard": "Keyboard layout (kept on the stick)",
    "support": "Save a support bundle: for somebody who helps; no secrets in it",
    "root": 'A root shell ("exit" comes back here)',
    "reboot": "Restart the machine",
    "poweroff": "Switch the machine off",
}


class ToolsScreen(Screen[None]):
    """The list of tools."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.pop_screen", "back")]

    def __init__(self) -> None:
        super().__init__()
        self._sure = ""

    @property
    def shell(self) -> RescueApp:
        """The application."""
        return cast("RescueApp", self.app)

    def compose(self) -> ComposeResult:
        """The list, and what came of it."""
        yield Static(" Tools", id="head")
        names = {**actions.TOOLS, **_MORE}
        yield OptionList(*(Option(text, id=name) for name, text in names.items()))
        yield Static(id="said", markup=False)
        yield Static(_KEYS, id="keys")

    def on_mount(self) -> None:
        """Keys go to the list."""
        self.query_one(OptionList).focus()

    def on_option_list_option_highlighted(self, _event: object) -> None:
        """Moving away is a no."""
        self._sure = ""

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A tool was chosen."""
        name = str(event.option.id)
        if name in actions.TOOLS:
            self.app.push_screen(TextScreen(actions.TOOLS[name], name))
        elif name == "support":
            self.shell.action_support()
        elif name == "keyboard":
            self.app.push_screen(KeyboardScreen())
        elif name == "root":
            with self.app.suspend():
                actions.root_shell()
        elif self._sure != name:
            self._sure = name
            running = "A task is still running; what it writes will be incomplete. "
            text = (running if actions.busy() else "") + "Press Enter once more to do it."
            self.query_one("#said", Static).update(text)
        else:
            self.query_one("#said", Static).update("The system is being ended ...")
            self.run_worker(lambda: self._leave(name), thread=True, exit_on_error=False)

    def _leave(self, word: str) -> None:
        try:
            actions.leave(word)
        except RescueError as error:
            self.app.call_from_thread(self.shell.say, failed(error))


class KeyboardScreen(Screen[None]):
    """The layouts that the system has.

    Args:
        first: asked by the shell itself at the first start; one answer, and it is gone.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "back")]

    def __init__(self, *, first: bool = False) -> None:
        super().__init__()
        self._first = first

    @property
    def shell(self) -> RescueApp:
        """The application."""
        return cast("RescueApp", self.app)

    def compose(self) -> ComposeResult:
        """The list, and a line to try the keys."""
        known = keyboard.layouts()
        yield Static(f" {keyboard.TITLE if self._first else 'Keyboard layout'}", id="head")
        if self._first:
            yield Static(f" {keyboard.WHY}\n {keyboard.LATER}\n", markup=False)
        yield OptionList(*(Option(title, id=name) for name, title in known))
        nothing = "This system has no layouts to choose from: its own setting is left alone."
        yield Static("" if known else nothing, id="said", markup=False)
        if self._first:
            yield Static(" Up/Down choose   Enter load it   Esc leave it as it is", id="keys")
            return
        yield Input(placeholder="Tab leads here: try your keys", compact=True)
        yield Static(" Up/Down choose   Enter load it   Tab try the keys   Esc back", id="keys")

    def on_mount(self) -> None:
        """Keys go to the list."""
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Load it and keep it."""
        name = str(event.option.id)
        self.shell.away(lambda: keyboard.choose(name, self.shell.world), self._chosen)

    def _chosen(self, said: str) -> None:
        if self._first and self.app.screen is self:
            self.action_leave()
        self.shell.say(said)

    def action_leave(self) -> None:
        """Back, with or without an answer."""
        if self._first:
            keyboard.asked()
        self.app.pop_screen()


class TextScreen(Screen[None]):
    """What a tool shows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.pop_screen", "back")]

    def __init__(self, title: str, name: str) -> None:
        super().__init__()
        self._heading = title
        self._tool = name

    def compose(self) -> ComposeResult:
        """The text, scrolled by keys."""
        yield Static(f" {self._heading}", id="head", markup=False)
        with VerticalScroll(id="first"):
            yield Static("Looking ...", id="text", markup=False)
        yield Static(_TEXT_KEYS, id="keys")

    def on_mount(self) -> None:
        """Fetch it away from the keys."""
        self.query_one("#first").focus()
        self.run_worker(self._fetch, thread=True, exit_on_error=False)

    def _fetch(self) -> None:
        lines = actions.tool(self._tool)
        safe = ["".join(c if c.isprintable() else " " for c in line) for line in lines]
        self.app.call_from_thread(self.query_one("#text", Static).update, Text("\n".join(safe)))
