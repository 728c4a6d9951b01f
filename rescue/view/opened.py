"""A view for the length of one piece of work: mounted in a private folder, gone at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import RescueError, UsageError
from rescue.view.mounting import Mounted, mount_volumes, unmount
from rescue.view.names import DISK, Seen, choose
from rescue.view.server import Server, detach, start
from rescue.view.sources import Opened


@dataclass(frozen=True, slots=True)
class OpenView:
    """A view that is mounted.

    Attributes:
        folder: where.
        mounted: its volumes, each with the folder of its files or why there is none.
    """

    folder: Path
    opened: Opened
    server: Server
    mounted: tuple[Mounted, ...]

    @property
    def disk(self) -> Path:
        """The raw disk as a file."""
        return self.folder / DISK

    @property
    def readable(self) -> list[Mounted]:
        """The volumes whose files can be seen."""
        return [one for one in self.mounted if one.root is not None]

    def volume(self, name: str) -> Mounted:
        """The volume that a person names.

        Raises:
            UsageError: there is none, or its files cannot be seen.
        """
        volumes = [one.volume for one in self.mounted]
        chosen: Seen | None = choose(volumes, name)
        if chosen is None:
            there = ", ".join(volume.folder for volume in volumes) or "none"
            raise UsageError(f"there is no volume {name}", hint=f"volumes: {there}")
        found = self.mounted[volumes.index(chosen)]
        if found.root is None:
            raise UsageError(f"the files of {chosen.folder} cannot be seen: {found.why}")
        return found


@contextmanager
def open_view(opened: Opened, *, filesystems: bool = True) -> Iterator[OpenView]:
    """Mount a view of ``opened`` in a private folder; everything is undone at the end.

    Args:
        filesystems: mount those too, not only the raw files.

    Raises:
        ProgramFailed: it cannot be mounted.
    """
    folder = Path(tempfile.mkdtemp(prefix="rescue-view-"))
    try:
        server = start(opened, folder, temporary=True)
        try:
            volumes = opened.volumes if filesystems else ()
            mounted = mount_volumes(folder, volumes, opened.sector_size)
            yield OpenView(folder, opened, server, tuple(mounted))
        finally:
            _take_down(folder)
            server.stop()
    finally:
        with suppress(OSError):
            folder.rmdir()


def _take_down(folder: Path) -> None:
    try:
        unmount(folder)
    except RescueError:
        detach(folder)
