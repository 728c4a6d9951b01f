"""An image as a disk file of another program, by qemu-img on the view; holes stay holes."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from rescue.core import process
from rescue.core.errors import UsageError
from rescue.core.progress import Reporter
from rescue.view.opened import OpenView

FORMATS = ("raw", "qcow2", "vhdx", "vmdk", "vdi")
_PERCENT = re.compile(r"\((\d+(?:\.\d+)?)/100%\)")


def check(target: Path, form: str) -> None:
    """Refuse what cannot be exported to.

    Raises:
        UsageError: an unknown format, or a target that exists (the image itself does).
    """
    if form not in FORMATS:
        raise UsageError(f"there is no format {form}", hint=f"formats: {', '.join(FORMATS)}")
    if target.exists():
        raise UsageError(f"{target} exists already", hint="name a file that does not exist")


def export(view: OpenView, target: Path, form: str, reporter: Reporter) -> int:
    """Write the whole disk to a new file; its length on the disk in bytes.

    Raises:
        ProgramFailed: qemu-img is missing or failed; nothing is left behind.
    """
    process.require("qemu-img", package="qemu-utils")
    total = view.opened.store.size
    done = 0

    def on_line(line: str) -> None:
        nonlocal done
        match = _PERCENT.search(line)
        if match:
            now = int(float(match[1]) / 100 * total)
            reporter.advance(max(0, now - done))
            done = max(done, now)

    reporter.start(f"export to {form}", total)
    try:
        process.stream(
            # Read past the cache: all is read once and in large pieces, so the kernel's pages would
            # only cost (docs/decisions/0060-speed.md).
            [
                "qemu-img",
                "convert",
                "-p",
                "-T",
                "none",
                "-f",
                "raw",
                "-O",
                form,
                view.disk,
                target.absolute(),
            ],
            on_line,
        )
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
    reporter.advance(total - done)
    reporter.finish()
    return target.stat().st_blocks * 512
