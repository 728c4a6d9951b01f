"""The screens, driven by keys alone, in front of a recorded machine; what they show as text."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from rescue.shell.screens import flow
from rescue.shell.screens.app import RescueApp
from tests.unit.shell.recorded import World

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "RESCUE_UPDATE_SNAPSHOTS"
"""Set in the environment, it writes the snapshots anew; look at the difference before a commit."""

Drive = Callable[["Keys"], Awaitable[None]]


class Keys:
    """A person at the keyboard."""

    def __init__(self, app: RescueApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> str:
        """Press keys one after the other, each when the screen has come to rest; the screen."""
        for key in keys:
            await self.pilot.press(key)
            await self.rest()
        return self.text

    async def type(self, text: str) -> str:
        """Type a text and Enter."""
        for letter in text:
            name = {"/": "slash", " ": "space", "-": "minus", ".": "full_stop"}.get(letter, letter)
            await self.pilot.press(name)
        return await self.press("enter")

    async def rest(self) -> None:
        """Until threads that look at the machine are done, and what they found is drawn."""
        for _ in range(2):
            # A search that gave way to a newer one is done, too.
            with suppress(WorkerCancelled):
                await self.app.workers.wait_for_complete()
            await self.pilot.pause()

    @property
    def text(self) -> str:
        """What stands on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    async def seconds(self, key: str) -> float:
        """How long a key keeps the processor busy until the screen shows what it did.

        Not the time on the clock: tests share their machine with others.
        """
        started = time.process_time()
        await self.pilot.press(key)
        await self.pilot.pause()
        return time.process_time() - started


def drive(
    world: World,
    work: Drive,
    *,
    size: tuple[int, int] = (80, 25),
    contrast: bool = False,
    calm: float = 0.0,
) -> None:
    """Put a person in front of the shell; without ``calm`` a very fast one."""

    async def run() -> None:
        app = RescueApp(world, contrast=contrast)
        async with app.run_test(size=size) as pilot:
            keys = Keys(app, pilot)
            await keys.rest()
            await work(keys)
            assert app.failure is None

    with mock.patch.object(flow, "CALM", calm):
        asyncio.run(run())


def check_snapshot(name: str, text: str) -> None:
    """Compare a screen with the one that was looked at and found good."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get(UPDATE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text(), f"{name} changed; {UPDATE}=1 writes it anew"
