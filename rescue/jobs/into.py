"""Planning a restore into a disk that is divided already, and its table looked at once more."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rescue.core.errors import TargetRefused

if TYPE_CHECKING:
    from rescue.devices.model import Disk, Layout
    from rescue.devices.target import SafeTarget
    from rescue.image.reader import Image
    from rescue.jobs.restoring import RestoreWish
    from rescue.restore.newentry import Addition
    from rescue.restore.plan import RestorePlan


def plan_into_target(
    wish: RestoreWish, image: Image, disk: Disk | None, there: Layout | None, sector: int | None
) -> RestorePlan:
    """A plan for ``--into``: a partition of the target, or room between them."""
    from rescue.devices.blockio import Source
    from rescue.restore.gaps import parse_into
    from rescue.restore.identity import new_seed
    from rescue.restore.into import plan_free, plan_into

    into = parse_into(wish.into)
    size = disk.size if disk else None
    # No mark stands on the target, so there is no seed to go on with.
    seed = new_seed() if wish.new_identity else ""
    if isinstance(into, int):
        return plan_into(
            image,
            size,
            wish.partitions,
            into,
            target_layout=there,
            target_sector_size=sector,
            seed=seed,
        )
    assert into is not None
    with Source(wish.target) if disk else nullcontext() as source:

        def read(offset: int, length: int) -> bytes:
            assert source is not None
            return source.pread(length, offset)

        return plan_free(
            image,
            size,
            wish.partitions,
            into.start,
            target_layout=there,
            target_sector_size=sector,
            read=read,
            seed=seed,
        )


def same_table(safe: SafeTarget, addition: Addition | None) -> None:
    """Make sure that the target's table is what it was when the plan was made.

    Raises:
        TargetRefused: it is not; nothing was written.
    """
    for offset, data in addition.expected if addition else ():
        if os.pread(safe.fd, len(data), offset) != data:
            raise TargetRefused(
                f"the partition table of {safe.path} has changed since the plan was made",
                hint="give the command once more; nothing was written",
            )
