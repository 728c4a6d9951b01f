"""What a flow is made of. Screens and the plain mode are two faces of the same flows.

A flow is a function from the answers so far to the next question, or to a task that can be
started. It keeps nothing: going back is forgetting the last answer and asking again. Questions
that offer one way only are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rescue.jobs.tasks import TaskWish
from rescue.shell.bars import Bar

Kind = Literal["one", "many", "text", "secret", "read"]
Answer = str | tuple[str, ...]
Answers = Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to answer.

    Attributes:
        value: what the answer holds.
        text: a line.
        more: further lines, indented below it.
        refused: why it cannot be chosen; empty when it can.
    """

    value: str
    text: str
    more: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question.

    Attributes:
        name: under which the answer is kept.
        kind: one choice, any number of choices, a line of text, a line that is not shown, or
            something to read and go on from.
        intro: paragraphs before the question.
        warnings: paragraphs that must not be overlooked.
        bars: disks drawn above the question.
        default: the text, or the choices that are made already (joined by commas).
        check: says why a text or a set of choices will not do; empty when it will.
        go: what the key does that answers: "Go on", "Erase and restore".
        nothing: told instead of choices when there are none.
    """

    name: str
    title: str
    kind: Kind
    intro: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    choices: tuple[Choice, ...] = ()
    default: str = ""
    check: Callable[[Answer], str] | None = None
    go: str = "Go on"
    nothing: str = ""

    def refusal(self, answer: Answer) -> str:
        """Why an answer will not do; empty when it will."""
        if self.kind == "one":
            for choice in self.choices:
                if choice.value == answer:
                    return choice.refused
            return "that is none of the choices"
        return self.check(answer) if self.check else ""


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything is answered.

    Attributes:
        wish: the task to start; None for a flow that shows something instead.
        next: what may follow a good end: "start" the machine, "verify" the image.
        again: what "Once more" starts when it ended badly; None asks anew from ``keep`` on.
        keep: answers that hold when it is asked anew; a target may be another disk by then.
        browse: an image or disk whose files are to be shown (with ``wish`` None).
    """

    wish: TaskWish | None
    next: tuple[str, ...] = ()
    browse: str = ""
    again: TaskWish | None = None
    keep: tuple[str, ...] = ()
    passphrase: bytes = field(default=b"", repr=False)


class Flow(Protocol):
    """A flow: its title and its steps."""

    title: str

    def step(self, answers: Answers) -> Ask | Ready:
        """The next question, or what comes of the answers.

        Raises:
            RescueError: the machine cannot be asked (a disk is gone); the last answer is taken
                back.
        """


def take(answers: dict[str, Answer], order: list[str], name: str, answer: Answer) -> None:
    """Keep an answer, in the order in which they were given.

    What is asked once more (the disk that was chosen is gone) takes back all that came after it:
    partitions of the one disk must not be taken for those of another.
    """
    if name in order:
        for later in order[order.index(name) :]:
            answers.pop(later, None)
        del order[order.index(name) :]
    answers[name] = answer
    order.append(name)


def one(answers: Answers, name: str) -> str:
    """The answer to a question with one."""
    value = answers.get(name, "")
    return value if isinstance(value, str) else ",".join(value)


def many(answers: Answers, name: str) -> tuple[str, ...]:
    """The answers to a question with many."""
    value = answers.get(name, ())
    return value if isinstance(value, tuple) else (value,) if value else ()
