"""The four flows by the names that both faces have for them; each is loaded when it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescue.shell.flows.base import Flow

if TYPE_CHECKING:
    from rescue.shell.world import World

NAMES = ("restore", "capture", "check", "files")


def flow(name: str, world: World) -> Flow:
    """The flow of one of ``NAMES``.

    The screen is there before they are: they know how images are fitted to disks, and that is a
    lot to load on a slow machine.
    """
    if name == "restore":
        from rescue.shell.flows.restore import RestoreFlow

        return RestoreFlow(world)
    if name == "capture":
        from rescue.shell.flows.capture import CaptureFlow

        return CaptureFlow(world)
    if name == "check":
        from rescue.shell.flows.check import CheckFlow

        return CheckFlow(world)
    from rescue.shell.flows.files import FilesFlow

    return FilesFlow(world)
