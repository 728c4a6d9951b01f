"""One screen for every question of every flow: what to know, what to choose, why something is not.

Whatever asks the machine (the next question, whether an answer will do) runs in a thread; keys
are answered meanwhile, and Esc leads back at every step. Each such look has a number, and what
comes of one that a key has overtaken is dropped: an answer is always to what stood on the screen.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Input, OptionList, SelectionList, Static
from textual.widgets.option_list import Option
from textual.widgets.selection_list import Selection

from rescue.core.errors import RescueError
from rescue.shell.flows.base import Answer, Ask, Choice, Flow, Ready, take
from rescue.shell.screens.style import bars_text
from rescue.shell.words import failed, safe

if TYPE_CHECKING:
    from rescue.shell.screens.app import RescueApp

_KEYS = {
    "one": " Up/Down choose   Enter {go}   Esc back   F5 look again",
    "many": " Up/Down move   Space mark   Enter {go}   Esc back",
    "text": " Enter {go}   Esc back",
    "secret": " Enter {go}   Esc back",
    "read": " Enter {go}   Esc back",
}
_INDENT = "     "
CALM = 0.4
"""Seconds that a warning stands before Enter passes it: one pressed twice does not skip it."""
_BUTTON = 4  # segments that Textual draws before a choice: two sides, an X always, a space


class Questions(SelectionList[str]):
    """Choices to mark with the space bar; Enter answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "select", "mark", show=False),
        Binding("enter", "screen.submit", "go on", show=False),
    ]

    def render_line(self, y: int) -> Strip:
        """A line with ``[X]`` or ``[ ]`` before it: what is marked is not told by colour alone."""
        segments = list(super().render_line(y))
        number = self.scroll_offset.y + y
        if len(segments) < _BUTTON or number >= self.option_count:
            return Strip(segments)
        marked = self.get_option_at_index(number).value in self.selected
        style = segments[_BUTTON - 1].style
        return Strip([Segment("[X] " if marked else "[ ] ", style), *segments[_BUTTON:]])


class FlowScreen(Screen[None]):
    """A flow, a question at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", priority=True),
        Binding("f5", "again", "look again"),
        Binding("enter", "submit", "go on"),
        Binding("pageup", "scroll(-1)", "scroll"),
        Binding("pagedown", "scroll(1)", "scroll"),
    ]

    def __init__(self, flow: Flow, answers: dict[str, Answer] | None = None) -> None:
        super().__init__()
        self._flow = flow
        self._answers: dict[str, Answer] = dict(answers or {})
        self._order: list[str] = list(self._answers)
        self._given: dict[str, Answer] = {}
        self._step: Ask | None = None
        self._busy = False
        self._turn = 0
        self._shown = 0.0

    @property
    def shell(self) -> RescueApp:
        """The application."""
        return cast("RescueApp", self.app)

    @property
    def step(self) -> Ask | None:
        """The question that is shown."""
        return self._step

    def compose(self) -> ComposeResult:
        """Head, what to know, the answers, what is wrong, the keys."""
        yield Static(f" {self._flow.title}", id="head", markup=False)
        with VerticalScroll(id="body", can_focus=False):
            yield Static(id="warnings", classes="warning", markup=False)
            yield Static(id="intro", markup=False)
            yield Static(id="bars", markup=False)
        yield Static(id="said", markup=False)
        yield Vertical(id="answers")
        yield Static(" Esc back", id="keys", markup=False)

    def on_mount(self) -> None:
        """Ask the first question."""
        self._ask()

    def on_resize(self) -> None:
        """Bars and choices fill the new width."""
        step = self._step
        if step is None:
            return
        self._draw_head(step)
        self._draw_bars(step)
        if step.kind == "one":
            for listed in self.query(OptionList):
                for number, choice in enumerate(step.choices[: listed.option_count]):
                    text = _text(choice, self._width())
                    listed.replace_option_prompt_at_index(number, text)

    def _width(self) -> int:
        return max(30, self.size.width - 4)

    def _away(self, work: Callable[[int], None]) -> None:
        """Let a thread look at the machine; what an earlier one finds is dropped from now on."""
        self._turn += 1
        turn = self._turn
        self._say("Looking ...")
        self.run_worker(lambda: work(turn), thread=True, exclusive=True, exit_on_error=True)

    def _later(self, turn: int, call: Callable[..., Any], *words: Any) -> None:
        """Something on the thread that answers keys, called from another one."""
        in_turn: Callable[..., Any] = self._in_turn
        self.app.call_from_thread(in_turn, turn, call, *words)

    async def _in_turn(self, turn: int, call: Callable[..., Any], *words: Any) -> None:
        if turn != self._turn or not self.is_attached:
            return
        done = call(*words)
        if isinstance(done, Awaitable):
            await done

    def _ask(self) -> None:
        """Find the next question, away from the keys."""
        self._busy = True
        answers = dict(self._answers)

        def find(turn: int) -> None:
            try:
                step = self._flow.step(answers)
            except RescueError as error:
                self._later(turn, self._failed, error)
                return
            self._later(turn, self._show, step)

        self._away(find)

    def _failed(self, error: RescueError) -> None:
        """The machine could not be asked: take the last answer back and say why."""
        self._busy = False
        words = failed(error)
        if self._order:
            self._answers.pop(self._order.pop(), None)
        if self._step is None:
            self._say(words + " Press Esc.")
            return
        self._say(words)

    async def _show(self, step: Ask | Ready) -> None:
        if isinstance(step, Ready):
            # Busy until another screen is there: Enter pressed twice starts one task.
            try:
                self.shell.ready(step, self._flow, dict(self._answers))
            except RescueError as error:
                self._failed(error)
            return
        self._busy = False
        self._shown = time.monotonic()
        same = self._step is not None and self._step.name == step.name
        self._step = step
        self._say("")
        self._draw_head(step)
        self.query_one("#warnings", Static).update(safe("\n\n".join(step.warnings)))
        intro = [*step.intro, *([step.nothing] if step.nothing and not step.choices else [])]
        self.query_one("#intro", Static).update(safe("\n".join(intro)))
        for name, shown in (("#warnings", step.warnings), ("#intro", intro), ("#bars", step.bars)):
            self.query_one(name).display = bool(shown)
        self._draw_bars(step)
        keys = _KEYS[step.kind].format(go=step.go[:1].lower() + step.go[1:])
        self.query_one("#keys", Static).update(keys)
        await self._show_answers(step, again=same)

    def _draw_head(self, step: Ask) -> None:
        """Which question of which flow; where there is no room for both, the question."""
        long = f" {self._flow.title} - step {len(self._order) + 1}: {step.title}"
        title = safe(long if len(long) < self.size.width else f" {step.title}")
        self.query_one("#head", Static).update(Text(title, no_wrap=True, overflow="ellipsis"))

    def _draw_bars(self, step: Ask) -> None:
        drawn = bars_text(step.bars, self._width(), colour=self.shell.colour)
        self.query_one("#bars", Static).update(drawn)

    async def _show_answers(self, step: Ask, *, again: bool) -> None:
        """The ways to answer; what was chosen before, or pointed at, still is."""
        box = self.query_one("#answers", Vertical)
        before = self._given.get(step.name)
        if again and step.kind == "one":
            for listed in self.query(OptionList):
                pointed = listed.highlighted_option
                before = str(pointed.id) if pointed else before
        await box.remove_children()
        if step.kind == "one":
            options = OptionList(*(_option(choice, self._width()) for choice in step.choices))
            await box.mount(options)
            free = [number for number, c in enumerate(step.choices) if not c.refused]
            same = [number for number in free if step.choices[number].value == before]
            options.highlighted = next(iter(same or free), None)
            options.focus()
        elif step.kind == "many":
            marked = before if isinstance(before, tuple) else tuple(step.default.split(","))
            marks = [Selection(safe(c.text), c.value, c.value in marked) for c in step.choices]
            questions = Questions(*marks)
            await box.mount(questions)
            questions.focus()
        elif step.kind in ("text", "secret"):
            # An identity or a passphrase is typed each time; a name that was changed is kept.
            value = before if isinstance(before, str) and step.default else step.default
            line = Input(value=value, password=step.kind == "secret", compact=True)
            await box.mount(line)
            line.focus()

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(safe(text))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """One choice was made."""
        event.stop()
        # A list that was drawn anew between the key and here is not the one that was looked at.
        if self._step and self._step.kind == "one" and event.option_list.is_attached:
            self._answer(str(event.option.id))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A line was typed."""
        event.stop()
        self._answer(
            event.value.strip() if self._step and self._step.kind == "text" else event.value
        )

    def action_submit(self) -> None:
        """Enter, where no widget has taken it."""
        step = self._step
        if step is None or self._busy:
            return
        if step.kind == "many":
            marks = self.query_one(Questions)
            self._answer(tuple(sorted(marks.selected, key=lambda v: (len(v), v))))
        elif step.kind == "read":
            if time.monotonic() - self._shown >= CALM:
                self._answer("yes")
        elif step.kind == "one" and not step.choices:
            self.action_again()

    def _answer(self, answer: Answer) -> None:
        """Take an answer if it will do; whether it does is found out away from the keys."""
        step = self._step
        if step is None or self._busy:
            return
        self._busy = True

        def judge(turn: int) -> None:
            try:
                refused = step.refusal(answer)
            except RescueError as error:
                refused = error.message
            self._later(turn, self._judged, step, answer, refused)

        self._away(judge)

    def _judged(self, step: Ask, answer: Answer, refused: str) -> None:
        self._busy = False
        if refused:
            self._say(f"That will not do: {refused}.")
            return
        take(self._answers, self._order, step.name, answer)
        if step.kind != "secret":
            self._given[step.name] = answer
        self._ask()

    def action_back(self) -> None:
        """One step back; from the first to the screen before."""
        if not self._order:
            self._turn += 1
            self.workers.cancel_node(self)
            self.app.pop_screen()
            return
        self._answers.pop(self._order.pop(), None)
        self._ask()

    def action_again(self) -> None:
        """Look again: a disk may have been plugged in. What is typed or marked is left alone."""
        if self._busy or (self._step is not None and self._step.kind != "one"):
            return
        world = self.shell.world

        def look(turn: int) -> None:
            try:
                for line in world.scan(world.sight()):
                    self._later(turn, self._say, line)
            except RescueError as error:
                self._later(turn, self._say, f"That did not work: {error.message}.")
                return
            self._later(turn, self._ask)

        self._away(look)

    def action_scroll(self, pages: int) -> None:
        """Scroll what there is to know."""
        view = self.query_one("#body", VerticalScroll)
        view.scroll_relative(y=pages * max(1, view.size.height - 1), animate=False)


def _option(choice: Choice, width: int) -> Option:
    return Option(_text(choice, width), id=choice.value, disabled=bool(choice.refused))


def _text(choice: Choice, width: int) -> Text:
    """A choice with what is to know of it; long lines go on below their beginning."""
    text = Text(safe(choice.text))
    for line in choice.more:
        text.append(_below(line, width))
    if choice.refused:
        # Grey is hard to read on a console; the reason must not be.
        text.append(_below(f"NOT POSSIBLE: {choice.refused}", width), "yellow")
    return text


def _below(line: str, width: int) -> str:
    lines = textwrap.wrap(safe(line), width - len(_INDENT)) or [""]
    return "".join(f"\n{_INDENT}{one}" for one in lines)
