"""How the screens look: the sixteen colours of a Linux console, or black and white.

Letters of code page 437 only: the kernel's own console font has no others. Nothing is told by
colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment as RichSegment
from rich.segment import Segments
from rich.style import Style
from rich.text import Text
from textual.scrollbar import ScrollBarRender
from textual.widgets import Static

from rescue.shell.bars import Bar, Piece, draw

_SHOWN = "rescue_shown"

CSS = """
Screen { background: ansi_black; color: ansi_white; layout: vertical; }
#head { height: 1; background: ansi_blue; color: ansi_bright_white; text-style: bold; }
#keys { height: 1; dock: bottom; background: ansi_blue; color: ansi_bright_white; }
#busy { height: auto; max-height: 3; background: ansi_yellow; color: ansi_black; display: none; }
#busy.shown { display: block; }
#body { height: auto; max-height: 60%; padding: 0 1; background: ansi_black;
        scrollbar-size-vertical: 1; }
#first { height: 1fr; padding: 0 1; background: ansi_black; scrollbar-size-vertical: 1; }
#said { height: auto; max-height: 5; padding: 0 1; color: ansi_bright_yellow; text-style: bold; }
.warning { color: ansi_bright_yellow; text-style: bold; }
Static { background: transparent; height: auto; }
OptionList, SelectionList, Input {
    background: ansi_black; color: ansi_white; border: none; padding: 0 1;
    scrollbar-size-vertical: 1; }
OptionList:focus, SelectionList:focus { border: none; background-tint: transparent; }
OptionList { height: 1fr; max-height: 100%; }
#menu { height: auto; max-height: 8; margin: 0; }
OptionList > .option-list--option-highlighted,
OptionList:focus > .option-list--option-highlighted {
    background: ansi_cyan; color: ansi_black; text-style: none; }
OptionList > .option-list--option-disabled { color: ansi_bright_black; text-style: none; }
SelectionList > .selection-list--button-selected,
SelectionList > .selection-list--button-selected-highlighted {
    background: ansi_green; color: ansi_black; text-style: none; }
SelectionList > .selection-list--button, SelectionList > .selection-list--button-highlighted {
    background: ansi_black; color: ansi_white; }
Input { height: 1; border: none; background: ansi_bright_black; color: ansi_bright_white;
        margin: 0 1; }
Input:focus { border: none; background-tint: transparent; }
Input > .input--cursor { background: ansi_bright_white; color: ansi_black; }
Input > .input--placeholder { color: ansi_white; }
ScrollBar { background: ansi_black; }
"""
CONTRAST = """
Screen, #body, #first, OptionList, SelectionList { background: ansi_black;
    color: ansi_bright_white; }
#head, #keys, #busy { background: ansi_bright_white; color: ansi_black; }
#said, .warning { color: ansi_bright_white; text-style: bold underline; }
OptionList > .option-list--option-highlighted,
OptionList:focus > .option-list--option-highlighted {
    background: ansi_bright_white; color: ansi_black; }
OptionList > .option-list--option-disabled { color: ansi_white; }
Input { background: ansi_bright_white; color: ansi_black; }
Input > .input--cursor { background: ansi_black; color: ansi_bright_white; }
"""

_KINDS = {
    "data": (Style.parse("white on blue"), Style.parse("black on cyan")),
    "new": (Style.parse("black on green"), Style.parse("white on blue")),
    "lost": (Style.parse("white on red"), Style.parse("black on yellow")),
    "system": (Style.parse("black on white"), Style.parse("black on white")),
    "free": (Style.parse("white on bright_black"), Style.parse("white on bright_black")),
}


def bar_text(pieces: Iterable[Piece], width: int, *, colour: bool) -> Text:
    """A disk as one line: coloured stretches, with a bar between any two."""
    text = Text("│", no_wrap=True, overflow="crop")
    for number, segment in enumerate(draw(list(pieces), width - 2)):
        if number:
            text.append("│")
        shown = segment.text
        if segment.kind == "free":
            shown = shown.replace(" ", "░") if not shown.strip() else shown
        style = _KINDS.get(segment.kind, _KINDS["data"])[number % 2] if colour else ""
        if not colour and segment.kind == "free":
            shown = shown.replace(" ", "░")
        text.append(shown, style)
    return text.append("│")


def heading(text: str, width: int) -> Text:
    """A line that opens a part of a screen."""
    return Text(f"── {text} ".ljust(width, "─")[:width], style="bold")


def bars_text(bars: Iterable[Bar], width: int, *, colour: bool) -> Text:
    """Bars below each other, each under its heading."""
    drawn = list(bars)
    room = max((len(bar.head) for bar in drawn), default=0) + 1
    lines = [
        Text(bar.head.ljust(room)).append_text(
            bar_text(bar.pieces, max(12, width - room), colour=colour)
        )
        for bar in drawn
    ]
    return Text("\n").join(lines)


class PlainScrollBar(ScrollBarRender):
    """A scroll bar of whole letters: the console's font has no eighths of a block."""

    @classmethod
    def render_bar(cls, *args: object, **named: object) -> Segments:
        """A column of dots with a block where the window is."""

        def number(name: str, index: int, otherwise: float) -> float:
            value = named.get(name, args[index] if len(args) > index else otherwise)
            return float(value) if isinstance(value, int | float) else otherwise

        size = int(number("size", 0, 25))
        virtual = max(1.0, number("virtual_size", 1, 50))
        window = number("window_size", 2, 20)
        position = number("position", 3, 0)
        length = max(1, min(size, round(size * window / virtual)))
        room = max(1.0, virtual - window)
        start = round((size - length) * min(1.0, position / room))
        rows = [
            RichSegment("█" if start <= row < start + length else "│", Style.parse("white"))
            for row in range(size)
        ]
        return Segments(rows, new_lines=True)


def show(widget: Static, content: Text | str) -> None:
    """Change what a widget says, if it says something else.

    Each change lays the whole screen out anew, which takes a slow machine a third of a second, and
    what is looked at every second rarely changes.
    """
    if vars(widget).get(_SHOWN) != content:
        vars(widget)[_SHOWN] = content
        widget.update(content)
