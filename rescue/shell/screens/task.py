"""A task on the screen: bar, speed, time left, what happens now, a plot; then how it ended.

The screen only looks: the task is a process of its own and goes on without it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rescue.core.errors import Exit, RescueError
from rescue.core.units import format_duration, format_size
from rescue.jobs import tasks
from rescue.jobs.tasks import Task
from rescue.shell import actions, bars
from rescue.shell.flows.base import Answer, Flow, Ready
from rescue.shell.screens.style import show
from rescue.shell.words import began_writing, ending, safe

if TYPE_CHECKING:
    from rescue.shell.screens.app import RescueApp

_KEYS = " Esc leave it running and go back   S stop it   F9 support bundle"
_END_KEYS = " Up/Down choose   Enter go   PgUp/PgDn scroll   F9 support bundle"
_TAKE_OUT = "Take out the rescue medium now. Then press Enter once more: the machine starts again."
_ROWS = 5
_STALLED = 30.0
_NAMES = {
    "verify (stored bytes)": "checking the image before anything is lost",
    "restore": "writing to the disk",
    "capture": "reading the disk",
    "verify (every chunk)": "checking every piece of the image",
    "copy": "copying",
}


class TaskScreen(Screen[None]):
    """Shows one task until it ends, and then its end.

    Args:
        ready: the flow's end, which knows what may follow; None for a task found running.
        flow: the flow itself, and the answers that hold when it is asked again.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back", priority=True),
        Binding("s", "stop", "stop"),
        Binding("y", "stop_now", "yes, stop", show=False),
        Binding("pageup", "scroll(-1)", "scroll", priority=True),
        Binding("pagedown", "scroll(1)", "scroll", priority=True),
    ]

    def __init__(
        self,
        task: Task,
        ready: Ready | None = None,
        flow: Flow | None = None,
        answers: dict[str, Answer] | None = None,
    ) -> None:
        super().__init__()
        self._flow = flow
        self._answers = answers or {}
        self._work = task
        self._ready = ready
        self._asked = False
        self._ended = False
        self._leaving = False

    @property
    def shell(self) -> RescueApp:
        """The application."""
        return cast("RescueApp", self.app)

    def compose(self) -> ComposeResult:
        """Head, progress, what was said, what may follow, the keys."""
        yield Static(f" {self._work.title or self._work.command}", id="head", markup=False)
        with VerticalScroll(id="first", can_focus=False):
            yield Static(id="progress", markup=False)
        yield Static(id="said", markup=False)
        yield OptionList(id="menu")
        yield Static(_KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        """Look twice a second."""
        self.query_one("#menu").display = False
        self._look()
        self.set_interval(0.5, self._look)

    def _look(self) -> None:
        if self._ended:
            return
        found = tasks.read(self._work.folder)
        if found is not None:
            self._work = found
        if not self._work.alive:
            self._end()
            return
        width = max(30, self.size.width - 4)
        lines = progress_lines(self._work, width, rows=max(2, min(6, self.size.height - 17)))
        show(self.query_one("#progress", Static), safe("\n".join(lines)))

    def _end(self) -> None:
        """How it ended, and what may follow."""
        self._ended = True
        self.shell.seen.add(self._work.id)
        said = "\n".join(ending(self._work))
        text = Text(safe(said) + "\n\n", style="bold")
        output = "\n".join([f"$ {self._work.command}", *self._work.output()])
        text.append(safe(output), style="not bold")
        for warning in self._work.state.get("warnings", ())[-5:]:
            text.append(safe(f"\nwarning: {warning}"), style="not bold")
        show(self.query_one("#progress", Static), text)
        self.query_one("#said", Static).update("")
        self.query_one("#keys", Static).update(_END_KEYS)
        menu = self.query_one("#menu", OptionList)
        menu.set_options(self._choices())
        menu.display = True
        menu.highlighted = 0
        menu.focus()
        world = self.shell.world
        self.run_worker(lambda: actions.keep_logs(world), thread=True, exit_on_error=False)

    def _choices(self) -> Sequence[Option]:
        """What may follow the end that it came to."""
        good = self._work.exit in (Exit.COMPLETE, Exit.UNREADABLE)
        after = self._ready.next if self._ready else ()
        choices = []
        if good and "start" in after and actions.may_leave():
            choices.append(Option("Start the machine now", id="start"))
        if good and "verify" in after:
            words = "Check the image now: it is not done until it is proven"
            choices.append(Option(words, id="verify"))
        if not good and self._ready is not None and (self._ready.again or self._flow):
            choices.append(Option(again_words(self._work, self._ready), id="again"))
        if not good:
            choices.append(Option("Save a support bundle for somebody who helps", id="support"))
        return [*choices, Option("Back to the first screen", id="home")]

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """What follows."""
        name, ready = str(event.option.id), self._ready
        wish = ready.wish if ready else None
        if name == "support":
            self.shell.action_support()
        elif name == "start" and not self._leaving:
            # Enter may have been meant for the screen as it was a moment ago.
            self._leaving = True
            self.query_one("#said", Static).update(_TAKE_OUT)
        elif name == "start":
            self.query_one("#said", Static).update("The system is being ended ...")
            self.shell.away(_restart, self.shell.say)
        elif name in ("verify", "again") and wish is not None and ready is not None:
            if name == "again" and ready.again is None and self._flow is not None:
                self.shell.once_more(self._flow, dict(self._answers))
                return
            check = actions.verify_wish(wish)
            following = Ready(check, again=check)
            if name == "again":
                following = replace(ready, wish=ready.again)
            try:
                self.shell.ready(following)
            except RescueError as error:
                self.query_one("#said", Static).update(f"That did not work: {error.message}.")
        else:
            self.shell.home()

    def action_leave(self) -> None:
        """Back to the first screen; the task goes on."""
        if self._asked:
            self._asked = False
            self.query_one("#said", Static).update("It goes on.")
            return
        self.shell.home()

    def action_stop(self) -> None:
        """Ask before stopping."""
        if self._ended:
            return
        words = "Stop it? Y stops it, Esc lets it go on."
        if self._work.verb == "restore":
            words = (
                "Stop it? The disk will hold a part of the image only, and cannot be used as it "
                "is. Y stops it, Esc lets it go on."
            )
        self._asked = True
        self.query_one("#said", Static).update(words)

    def action_stop_now(self) -> None:
        """Stop, once it was asked for."""
        if not self._asked or self._ended:
            return
        self._asked = False
        try:
            tasks.stop(self._work)
            self.query_one("#said", Static).update("Stopping ...")
        except RescueError as error:
            self.query_one("#said", Static).update(f"It could not be stopped: {error.message}.")

    def action_scroll(self, pages: int) -> None:
        """Scroll what was said."""
        view = self.query_one("#first", VerticalScroll)
        view.scroll_relative(y=pages * max(1, view.size.height - 1), animate=False)


def again_words(task: Task, ready: Ready) -> str:
    """What "Once more" means after this end."""
    if task.verb == "capture" and ready.again is not None:
        return "Once more: it goes on where it stopped"
    if task.verb == "restore" and began_writing(task) and "--partition" not in task.words:
        return "Once more: onto the same disk it goes on where it stopped"
    return "Once more"


def _restart() -> str:
    actions.leave("reboot")
    return "The system has not ended. Tools has a root shell; or switch the machine off."


def progress_lines(task: Task, width: int, *, rows: int = _ROWS, now: float = 0.0) -> list[str]:
    """How far a task is, as lines of at most ``width`` letters."""
    state: dict[str, Any] = task.state
    step = str(state.get("step") or "")
    done, total = int(state.get("done") or 0), int(state.get("total") or 0)
    lines = [f"Now: {_NAMES.get(step, step) or 'getting ready'}", ""]
    if total:
        share = min(1.0, done / total)
        lines.append(f"{bars.share_bar(share, width - 6)} {share:>4.0%}")
        lines.append(f"{format_size(done)} of {format_size(total)}")
    elif done:
        lines.append(format_size(done))
    facts = []
    if speed := int(state.get("speed") or 0):
        facts.append(f"{format_size(speed)}/s")
    if (left := state.get("left")) is not None:
        facts.append(f"about {format_duration(float(left))} left")
    lines.append(", ".join(facts))
    still = (now or time.time()) - float(state.get("time") or now or time.time())
    if still > _STALLED:
        lines.append(
            f"Nothing has moved for {format_duration(still)}. A failing disk may take minutes for "
            "a sector; look at the cables, then wait, or press S."
        )
    speeds = [int(one) for one in state.get("speeds", ())]
    if len(speeds) > 1:
        lines += ["", f"Speed (the highest: {format_size(max(speeds))}/s)"]
        lines += bars.plot(speeds, min(width, 60), rows)
    news = [f"note: {text}" for text in state.get("notes", ())[-3:]]
    news += [f"WARNING: {text}" for text in state.get("warnings", ())[-3:]]
    lines += ["", *news, f"$ {task.command}"]
    lines.append("It goes on by itself, also when this screen is closed.")
    return lines
