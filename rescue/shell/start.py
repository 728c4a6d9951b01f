"""Which face the shell shows: screens where the terminal can, lines everywhere else.

The screens are imported here and nowhere above, so that the plain mode starts without them. When
they fail, for whatever reason, the plain mode takes over: never a dead screen.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rescue.shell.terminal import is_capable


def run(*, plain: bool, contrast: bool, announce: bool) -> int:
    """Show the shell until it is left; the exit code."""
    if not plain and not announce and can_draw():
        # Before Textual is imported: a serial line and an old console show no half steps.
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
        with _loading(), _without_tls():
            from rescue.shell.screens.app import RescueApp
            from rescue.shell.world import ThisMachine

        try:
            return _screens(RescueApp(ThisMachine(), contrast=contrast))
        except Exception as error:
            sys.stdout.write(f"\r\nThe screens failed ({type(error).__name__}: {error}).\r\n")
            sys.stdout.write("What was running goes on. Here is the same in lines.\r\n\r\n")
            sys.stdout.flush()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    with _loading():
        from rescue.shell.plain.menu import run as lines

    return lines(plain=plain or not is_capable(), announce=announce)


@contextmanager
def _loading() -> Iterator[None]:
    """Import without a look for garbage: what is imported stays, and a slow machine waits."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _without_tls() -> Iterator[None]:
    """Keep asyncio from loading OpenSSL, megabytes that the screens have no use for.

    asyncio does without where there is no ssl; and there is none while its name stands for nothing.
    """
    name = "ssl"
    hidden = name not in sys.modules and "asyncio" not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


def can_draw() -> bool:
    """Whether the whole terminal can be drawn on; NO_COLOR takes the colours only.

    Lines and bars are drawn with letters that only UTF-8 has; the plain mode is ASCII.
    """
    dumb = os.environ.get("TERM", "dumb") in ("", "dumb")
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return not dumb and utf8 and sys.stdin.isatty() and sys.stdout.isatty()


def _screens(app: object) -> int:
    from rescue.shell.screens.app import RescueApp

    assert isinstance(app, RescueApp)
    try:
        app.run(mouse=False)
    finally:
        app.let_go()
    if app.failure is not None:
        raise app.failure
    return app.return_code or 0
