"""The application: which screen is shown, what all screens share."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.scrollbar import ScrollBar

from rescue.jobs.tasks import Task
from rescue.shell import actions
from rescue.shell.flows.base import Answer, Flow, Ready
from rescue.shell.screens import style
from rescue.shell.screens.first import FirstScreen
from rescue.shell.words import failed
from rescue.shell.world import World

_A_LOOK = 0.5
"""Seconds between two looks at whether the screens are still there."""


class RescueApp(App[None]):
    """The restore shell.

    Attributes:
        failure: what ended it, when that was no person.
        held: threads that keep images open, and the event that ends each.
        seen: tasks whose end was shown.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "Rescue"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9", "support", "support bundle", priority=True),
        Binding("ctrl+c", "nothing", "", show=False, priority=True),
        Binding("ctrl+q", "nothing", "", show=False, priority=True),
    ]

    CSS = style.CSS

    def __init__(self, world: World, *, contrast: bool = False) -> None:
        super().__init__(ansi_color=True)
        self.contrast = contrast
        self.world = world
        self.colour = not contrast and not self.no_color
        self.failure: Exception | None = None
        self.seen: set[str] = set()
        self.held: list[tuple[threading.Event, threading.Thread]] = []
        ScrollBar.renderer = style.PlainScrollBar

    def on_mount(self) -> None:
        """Show the first screen."""
        if self.contrast:
            self.stylesheet.add_source(style.CONTRAST, read_from=("contrast", ""))
            self.refresh_css()
        self.push_screen(FirstScreen(self.world))

    def action_nothing(self) -> None:
        """Ctrl-C ends nothing here: a task goes on, and Esc leads back."""
        self.say("Esc leads back. What is running goes on.")

    def say(self, text: str) -> None:
        """A line on the screen that is shown, where it has room for one."""
        for said in self.screen.query("#said"):
            said.update(text)  # type: ignore[attr-defined]
        if isinstance(self.screen, FirstScreen):
            self.screen.promise_again()

    def action_support(self) -> None:
        """Save a support bundle and say where."""
        self.say("Saving a support bundle ...")
        self.away(lambda: actions.save_support(self.world), self.say)

    def away(self, work: Callable[[], str], then: Callable[[str], None]) -> None:
        """Do something that takes long away from the keys; its failure is a sentence too."""
        from rescue.core.errors import RescueError

        def run() -> None:
            try:
                said = work()
            except RescueError as error:
                said = failed(error)
            self.call_from_thread(then, said)

        self.run_worker(run, thread=True, exit_on_error=False)

    def call_from_thread(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Have the screens do something, from another thread; wait while they are there.

        Textual's own waits for ever when the screens end before they come to it. Python waits for
        its threads when it ends, so a shell whose terminal was gone could stay without anybody.

        Raises:
            RuntimeError: the screens have ended.
        """
        loop = self._loop

        async def call() -> Any:
            with self._context():
                result = callback(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

        wanted = call()
        try:
            if loop is None:
                raise RuntimeError("the screens were not begun")
            future = asyncio.run_coroutine_threadsafe(wanted, loop)
        except RuntimeError:
            wanted.close()
            raise
        while True:
            try:
                return future.result(_A_LOOK)
            except TimeoutError:
                if future.done():
                    raise
                if not loop.is_running():
                    future.cancel()
                    raise RuntimeError("the screens have ended") from None

    def start_flow(self, flow: Flow) -> None:
        """Show a flow."""
        from rescue.shell.screens.flow import FlowScreen

        self.push_screen(FlowScreen(flow))

    def once_more(self, flow: Flow, answers: dict[str, Answer]) -> None:
        """Ask a flow again from where its answers still hold."""
        from rescue.shell.screens.flow import FlowScreen

        self.switch_screen(FlowScreen(flow, answers))

    def ready(
        self, ready: Ready, flow: Flow | None = None, answers: dict[str, Answer] | None = None
    ) -> None:
        """A flow is answered: start its task, or show what it came to."""
        if ready.wish is None:
            from rescue.shell.screens.browse import BrowseScreen

            self.switch_screen(BrowseScreen(ready.browse, ready.passphrase))
            return
        task = self.world.start(ready.wish)
        kept = {name: answers[name] for name in ready.keep if name in answers} if answers else {}
        self.show_task(task, ready, flow=flow, answers=kept, switch=True)

    def show_task(
        self,
        task: Task,
        ready: Ready | None = None,
        *,
        flow: Flow | None = None,
        answers: dict[str, Answer] | None = None,
        switch: bool = False,
    ) -> None:
        """Show a task that runs or has run."""
        from rescue.shell.screens.task import TaskScreen

        screen = TaskScreen(task, ready, flow, answers)
        if switch:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def _handle_exception(self, error: Exception) -> None:
        """A mistake of ours: end the screens in order; ``start`` goes on in lines."""
        self.failure = error
        self.exit(return_code=1)

    def let_go(self) -> None:
        """Close what screens hold open (mounts of images); also when a signal ends the shell."""
        for done, _ in self.held:
            done.set()
        for _, thread in self.held:
            thread.join(timeout=20)

    def home(self) -> None:
        """Back to the first screen."""
        while len(self.screen_stack) > 2:
            self.pop_screen()
