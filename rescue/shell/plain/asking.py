"""A flow in lines: each question with its numbered answers, 0 to go back, nothing drawn over."""

from __future__ import annotations

from rescue.core.errors import RescueError
from rescue.shell import bars
from rescue.shell.flows.base import Answer, Ask, Flow, Ready, take
from rescue.shell.terminal import WIDTH, Back, Option, Terminal


def run_flow(
    terminal: Terminal, flow: Flow, kept: dict[str, Answer] | None = None
) -> tuple[Ready, dict[str, Answer]]:
    """Ask until the flow is ready; what it wants to do, and the answers.

    Raises:
        Back: the person went back from the first question.
    """
    answers: dict[str, Answer] = dict(kept or {})
    order: list[str] = list(answers)
    while True:
        try:
            step = flow.step(answers)
        except RescueError as error:
            tell(terminal, error)
            if not order:
                terminal.wait("Press Enter for the menu.")
                raise Back from error
            answers.pop(order.pop(), None)
            terminal.wait("Press Enter to go back a step.")
            continue
        if isinstance(step, Ready):
            return step, answers
        number = len(order) + 1
        try:
            answer = ask(terminal, step, f"{flow.title} - step {number}: {step.title}")
            take(answers, order, step.name, answer)
        except Back:
            if not order:
                raise
            answers.pop(order.pop(), None)


def tell(terminal: Terminal, error: RescueError) -> None:
    """What went wrong, and what to do."""
    terminal.say()
    terminal.say(f"That did not work: {error.message}.")
    if error.hint:
        terminal.say(f"What to do: {error.hint}.")


def ask(terminal: Terminal, step: Ask, title: str) -> Answer:
    """One question, asked again until the answer will do.

    Raises:
        Back: the person wants to go back.
    """
    terminal.title(title)
    for text in step.warnings:
        terminal.stress(f"NOTE: {text}")
        terminal.say()
    for text in step.intro:
        terminal.say(text)
    for bar in step.bars:
        terminal.say()
        terminal.say(f"{bar.head}:")
        terminal.lines([bars.plain(bar.pieces, WIDTH)])
    terminal.say()
    if step.nothing and not step.choices:
        terminal.say(step.nothing)
        terminal.wait("Press Enter to go back.")
        raise Back
    while True:
        answer = _answer(terminal, step)
        refused = step.refusal(answer)
        if not refused:
            return answer
        terminal.say(f"That will not do: {refused}.")
        terminal.say()


def _answer(terminal: Terminal, step: Ask) -> Answer:
    if step.kind == "one":
        options = [Option(c.text, c.value, c.more, c.refused) for c in step.choices]
        return terminal.choose("Type a number", options)
    if step.kind == "many":
        return _many(terminal, step)
    if step.kind == "read":
        if terminal.yes(f"{step.go}?", default=False):
            return "yes"
        raise Back
    if step.kind == "secret":
        text = terminal.ask_secret(f"{step.title} (0 = back)")
    else:
        text = terminal.ask("Type it, or 0 to go back", step.default)
    if text == "0":
        raise Back
    return text


def _many(terminal: Terminal, step: Ask) -> Answer:
    for choice in step.choices:
        terminal.lines([f"  {choice.text}"])
    text = terminal.ask("Numbers, with spaces between them, or 0 to go back", step.default)
    if text == "0":
        raise Back
    values = {choice.value for choice in step.choices}
    named = [word for word in text.replace(",", " ").split() if word in values]
    return tuple(dict.fromkeys(named))
