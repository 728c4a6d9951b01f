"""What a capture of a disk would read, as far as its maps tell before anything is begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescue.core.errors import RescueError
from rescue.devices import crypt
from rescue.devices.model import Disk, Layout
from rescue.shell.health import is_failing

if TYPE_CHECKING:
    from rescue.image.manifest import Volume


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a capture of a disk would read, by the allocation maps.

    Attributes:
        used: bytes in use outside of all volumes (tables, boot code).
        volumes: each with the bytes of it that would be captured, and its state.
        why: why nothing is known; empty otherwise.
        failing: why the disk is taken to be failing; empty when it is not.
    """

    used: int
    volumes: tuple[Volume, ...]
    layout: Layout | None = None
    why: str = ""
    failing: str = ""

    def bytes(self, chosen: Sequence[int] = ()) -> int:
        """Bytes that a capture of these partitions (all when none are named) reads."""
        kept = [v.captured for v in self.volumes if not chosen or v.partition in chosen]
        return self.used + sum(kept)

    def closed(self, chosen: Sequence[int] = ()) -> tuple[Volume, ...]:
        """The encrypted volumes of which every sector would be read, because nobody opened them."""
        return tuple(
            volume
            for volume in self.volumes
            if volume.fs in crypt.TYPES
            and volume.method == "whole"
            and (not chosen or volume.partition in chosen)
        )


def estimate(disk: Disk, passphrase: bytes = b"") -> Estimate:
    """Look at a disk.

    Args:
        passphrase: tried on each encrypted partition that is closed; what it does not open stays
            closed. Empty: none is opened.
    """
    from rescue.capture.plan import plan_capture

    def answer(_name: str, _fs: str, wrong: int) -> bytes:
        return b"" if wrong else passphrase

    try:
        plan = plan_capture(disk.path, unlock=answer if passphrase else None)
    except RescueError as error:
        return Estimate(disk.size, (), None, error.message, is_failing(disk.path))
    inside = sum(volume.captured for volume in plan.volumes)
    outside = max(0, plan.allocated - inside)
    return Estimate(outside, plan.volumes, plan.layout, "", is_failing(disk.path))
