"""Writes the steps of a plan to a confirmed target, and reads back what it wrote.

Every barrier brings the disk's cache to the disk and drops the kernel's, so that the comparison
reads what the disk holds. The short flushes in between keep the progress honest: a stick takes a
minute for what the page cache takes in a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from builder.iso.seal import Read
from builder.usb.plan import Barrier, Copy, Put, Step
from rescue.core.errors import DiskTrouble, from_os_error
from rescue.core.progress import Reporter
from rescue.core.units import MIB
from rescue.devices.target import SafeTarget

_BLOCK = 4 * MIB
_FLUSH = 32 * MIB


def execute(
    steps: Sequence[Step], sources: Mapping[str, Read], target: SafeTarget, reporter: Reporter
) -> None:
    """Do the steps in their order.

    Args:
        sources: what a ``Copy`` reads, by its name.

    Raises:
        DiskTrouble: the disk refused a write, or holds something else than was written.
    """
    since: list[Put | Copy] = []
    for step in steps:
        if isinstance(step, Barrier):
            target.flush()
            if step.compare:
                for one in since:
                    _compare(one, sources, target, reporter)
            since.clear()
        else:
            _write(step, sources, target, reporter)
            since.append(step)


def compared(steps: Sequence[Step]) -> int:
    """Bytes that are read back."""
    found, since = 0, 0
    for step in steps:
        if not isinstance(step, Barrier):
            since += step.length
            continue
        found += since if step.compare else 0
        since = 0
    return found


def _blocks(step: Put | Copy, sources: Mapping[str, Read]) -> Iterator[tuple[int, bytes]]:
    """(place on the target, bytes) of a step, in blocks."""
    for done in range(0, step.length, _BLOCK):
        length = min(_BLOCK, step.length - done)
        if isinstance(step, Put):
            yield step.at + done, step.data[done : done + length]
            continue
        data = sources[step.source](length, step.start + done)
        if len(data) != length:
            raise DiskTrouble(f"the {step.source} to be written became shorter while it was read")
        yield step.at + done, data


def _write(
    step: Put | Copy, sources: Mapping[str, Read], target: SafeTarget, reporter: Reporter
) -> None:
    waiting = 0
    for at, data in _blocks(step, sources):
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(target.fd, data[done:], at + done)
            waiting += len(data)
            if waiting >= _FLUSH:
                os.fdatasync(target.fd)
                waiting = 0
        except OSError as error:
            raise from_os_error(error, f"write {target.path}") from error
        reporter.advance(len(data))


def _compare(
    step: Put | Copy, sources: Mapping[str, Read], target: SafeTarget, reporter: Reporter
) -> None:
    for at, data in _blocks(step, sources):
        try:
            found = os.pread(target.fd, len(data), at)
        except OSError as error:
            raise from_os_error(error, f"read back {target.path}") from error
        if found != data:
            raise DiskTrouble(
                f"{target.path} does not hold what was written to it, near byte {at}",
                hint="the stick is worn out or not as large as it says; use another one",
            )
        reporter.advance(len(data))
