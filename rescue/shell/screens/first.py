"""The first screen: what this machine is, its disks to scale, the images found, four choices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rescue import __version__
from rescue.core.errors import Exit, RescueError
from rescue.core.units import plural
from rescue.jobs import describe
from rescue.jobs.tasks import Task
from rescue.shell import actions
from rescue.shell.bars import of_disk
from rescue.shell.facts import Found, Sight, is_medium, likeliest
from rescue.shell.screens.style import bar_text, heading, show
from rescue.shell.words import safe
from rescue.shell.world import World

if TYPE_CHECKING:
    from rescue.shell.screens.app import RescueApp

_CHOICES = (
    ("restore", "Restore this machine", "bring it back from an image"),
    ("capture", "Make an image", "keep a disk as it is now"),
    ("check", "Check an image", "is it whole, can it be relied on?"),
    ("files", "Get files out", "of an image, or of a system that does not start"),
    ("tools", "Tools", "disks, health, network, log, keyboard, power off"),
)
_SHOWN_IMAGES = 50
_SAID_FOR = 10.0
_KEYS = " Up/Down choose  Enter go  PgUp/PgDn scroll  F5 look again  F9 support bundle"


class FirstScreen(Screen[None]):
    """What a person sees first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "look", "look again"),
        Binding("pageup", "scroll(-1)", "scroll", priority=True),
        Binding("pagedown", "scroll(1)", "scroll", priority=True),
        Binding("q", "quit_shell", "quit"),
    ]

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._sight: Sight | None = None
        self._looked = ""
        self._turn = 0
        self._begun: set[str] = set()
        self._plugged = ""
        self._recalled = False
        self._unsaid: Timer | None = None
        self._tasks: Sequence[Task] = ()

    @property
    def shell(self) -> RescueApp:
        """The application."""
        return cast("RescueApp", self.app)

    def compose(self) -> ComposeResult:
        """Head, what runs, disks and images, the choices, the keys."""
        yield Static(f" RESCUE {__version__}", id="head")
        yield Static(id="busy", markup=False)
        with VerticalScroll(id="first", can_focus=False):
            yield Static("Looking at the disks ...", id="disks", markup=False)
            yield Static(id="images", markup=False)
        yield Static(actions.promise(), id="said", markup=False)
        yield OptionList(*_options(False), id="menu")
        yield Static(_KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        """Look, and go on looking for what is plugged in."""
        self.query_one("#menu", OptionList).focus()
        self.action_look()
        self.set_interval(1.0, self._tick)

    def on_screen_resume(self) -> None:
        """Back from a flow: images may have come, tasks may run."""
        self._tick()
        if self._sight is not None:
            self.action_look()

    def on_resize(self) -> None:
        """Bars fill the new width."""
        self._draw()

    def action_look(self) -> None:
        """Look at the disks, then for images on them; what an earlier look still finds is old."""
        self._turn += 1
        turn = self._turn
        self.run_worker(lambda: self._look(turn), thread=True, exclusive=True, exit_on_error=False)

    def action_scroll(self, pages: int) -> None:
        """Scroll the disks and images."""
        view = self.query_one("#first", VerticalScroll)
        view.scroll_relative(y=pages * max(1, view.size.height - 1), animate=False)

    def action_quit_shell(self) -> None:
        """Leave; on the rescue media the shell comes back by itself."""
        self.app.exit(return_code=0)

    def _look(self, turn: int) -> None:
        """In a thread of its own: lsblk and mounts take their time."""
        try:
            sight = self._world.sight()
        except RescueError as error:
            self.app.call_from_thread(self._cannot_look, turn, error.message)
            return
        self.app.call_from_thread(self._found, turn, "", sight)
        if not self._recalled:
            self._recalled = True
            if actions.ask_keyboard(self._world):
                self.app.call_from_thread(self._ask_keyboard)
            actions.keep_logs(self._world)
        looked = ""
        try:
            for looked in self._world.scan(sight):
                self.app.call_from_thread(self._found, turn, looked)
        except RescueError as error:
            looked = f"Looking for images failed: {error.message}."
        else:
            looked = "" if looked.endswith("...") else looked
        self.app.call_from_thread(self._found, turn, looked)

    def _found(self, turn: int, looked: str, sight: Sight | None = None) -> None:
        if turn == self._turn:
            self._looked = looked
            self._sight = sight or self._sight
            self._draw()

    def promise_again(self, seconds: float = _SAID_FOR) -> None:
        """Put the promise back once what was said in its place has been read."""
        if self._unsaid is not None:
            self._unsaid.stop()
        self._unsaid = self.set_timer(seconds, self._promise)

    def _promise(self) -> None:
        self.query_one("#said", Static).update(actions.promise())

    def _ask_keyboard(self) -> None:
        """At the first start; whoever is elsewhere by now was quick enough without."""
        from rescue.shell.screens.tools import KeyboardScreen

        if self.app.screen is self:
            self.app.push_screen(KeyboardScreen(first=True))

    def _cannot_look(self, turn: int, why: str) -> None:
        if turn == self._turn:
            show(self.query_one("#disks", Static), f"The disks cannot be listed: {why}.")

    def _tick(self) -> None:
        """Once a second: a disk plugged in or pulled out, a task that goes on."""
        plugged = _plugged()
        if self._plugged and plugged != self._plugged:
            self.action_look()
        self._plugged = plugged
        try:
            self._tasks = self._world.tasks()
        except RescueError:
            self._tasks = ()
        self._draw_tasks()

    def _draw_tasks(self) -> None:
        from rescue.shell.plain.following import progress_line

        running = [task for task in self._tasks if task.alive]
        self._begun.update(task.id for task in running)
        ended = [t for t in self._tasks if t.id in self._begun - self.shell.seen and not t.alive]
        busy = self.query_one("#busy", Static)
        lines = [f" RUNNING: {task.title or task.command}" for task in running[:1]]
        lines += [f" {progress_line(task)}" for task in running[:1]]
        if ended and not running:
            lines = [f" ENDED: {ended[0].title or ended[0].command}", f" {_ended_words(ended[0])}"]
        busy.set_class(bool(lines), "shown")
        show(busy, safe("\n".join(lines)))
        menu = self.query_one("#menu", OptionList)
        if (menu.option_count > len(_CHOICES)) != bool(self._tasks):
            chosen = menu.highlighted
            menu.set_options(_options(bool(self._tasks)))
            menu.highlighted = chosen if chosen is not None else 0

    def _draw(self) -> None:
        if self._sight is None or not self.is_mounted:
            return
        sight, width = self._sight, max(40, self.size.width - 4)
        about = sight.machine.about
        head = f" RESCUE {__version__}   {sight.machine.name}" + (f"   {about}" if about else "")
        show(self.query_one("#head", Static), Text(safe(head), no_wrap=True, overflow="ellipsis"))
        colour = self.shell.colour
        show(self.query_one("#disks", Static), disks_text(sight, width, colour=colour))
        found = self._world.images()
        show(self.query_one("#images", Static), images_text(found, sight, self._looked, width))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A choice was made."""
        from rescue.shell.flows.by_name import NAMES, flow

        name = str(event.option.id)
        if name in NAMES:
            self.shell.start_flow(flow(name, self._world))
        elif name == "task" and self._tasks:
            alive = [task for task in self._tasks if task.alive]
            self.shell.show_task((alive or list(self._tasks))[0])
        elif name == "tools":
            from rescue.shell.screens.tools import ToolsScreen

            self.app.push_screen(ToolsScreen())


def _ended_words(task: Task) -> str:
    """How a task ended that nobody watched."""
    if task.exit == Exit.COMPLETE:
        return 'It ended well. "Show the task" tells more.'
    if task.exit == Exit.UNREADABLE:
        return 'It ended; some sectors could not be read. "Show the task" tells more.'
    return 'It did NOT end well. "Show the task" tells why, and what to do.'


def _options(task: bool) -> list[Option]:
    options = [Option(f"{text:<22}{more}", id=name) for name, text, more in _CHOICES]
    if task:
        options.append(Option(f"{'Show the task':<22}what is running, or how it ended", id="task"))
    return options


def disks_text(sight: Sight, width: int, *, colour: bool) -> Text:
    """Every disk in two lines: what it is, and what is on it, to scale."""
    lines = [heading("Disks of this machine", width)]
    if not sight.disks:
        lines.append(Text("none was found: look at the cables"))
    for disk in sight.disks:
        medium = "   (this system was started from it)" if is_medium(disk) else ""
        words = Text(_line(describe.disk_words(disk) + medium), no_wrap=True, overflow="ellipsis")
        words.truncate(width, overflow="ellipsis")
        lines += [words, bar_text(of_disk(disk, sight.filesystems), width, colour=colour)]
    return Text("\n").join(lines)


def images_text(images: Sequence[Found], sight: Sight, looked: str, width: int) -> Text:
    """The images that were found, the likeliest first."""
    count = f": {len(images)}" if images else ""
    lines = [Text(), heading(f"Images found{count}", width)]
    best = likeliest(images, sight)
    for found in best[:_SHOWN_IMAGES]:
        line = Text(_line(f"{found.line()}   {found.where()}"))
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    if len(best) > _SHOWN_IMAGES:
        lines.append(Text(f"... and {plural(len(best) - _SHOWN_IMAGES, 'more', 'more')}"))
    if looked:
        lines.append(Text(safe(looked)))
    elif not images:
        lines.append(Text("none; plug in the disk or stick that holds one"))
    return Text("\n").join(lines)


def _line(text: str) -> str:
    """A text that stays on its line."""
    return safe(text).replace("\n", "?")


def _plugged(path: Path = Path("/proc/partitions")) -> str:
    """What the kernel sees plugged in; a change means looking again."""
    try:
        return path.read_text()
    except OSError:
        return ""
