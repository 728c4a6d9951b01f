"""Volumes made smaller before a restore writes anything: in throw-away overlays of the image.

The image is shown as files (the view), and a filesystem's own program shrinks it in an overlay
whose writes go to a temporary file. What that program cannot do is known while the target is still
as it was; the image is never changed. Where no program can shrink (XFS), a new filesystem with the
same UUID and label gets a copy of every file (``byfiles``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rescue.allocation import partclone
from rescue.core import process
from rescue.core.errors import ProgramFailed, TargetRefused
from rescue.core.extent import Extent, ExtentMap
from rescue.core.progress import Reporter
from rescue.core.units import format_size
from rescue.devices import loop
from rescue.restore import growing
from rescue.restore.plan import Resize
from rescue.restore.work import After, Piece
from rescue.view.names import SCRATCH

if TYPE_CHECKING:
    from rescue.image.keys import Secret
    from rescue.view.sources import Opener

# Boot code may lie in front of any filesystem's first structure; btrfs reserves the most.
_HEAD = 65536


@contextmanager
def fitted(
    image: Path,
    opener: Opener,
    resizes: Sequence[Resize],
    sectors: tuple[int, int],
    reporter: Reporter,
) -> Iterator[tuple[tuple[Piece, ...], tuple[After, ...]]]:
    """Shrink what is to be shrunk; the pieces can be read until the block ends.

    Args:
        sectors: of the image's disk and of the target, in bytes.

    Raises:
        TargetRefused: a filesystem does not become as small as planned; nothing was written.
        ProgramFailed: the image cannot be shown, or a program is missing.
    """
    wanted = [one for one in resizes if one.means in ("overlay", "files")]
    if not wanted:
        yield (), ()
        return
    # Most restores shrink nothing, and need not wait for the view to be loaded.
    from rescue.jobs import byfiles
    from rescue.view.opened import open_view
    from rescue.view.sources import image_source

    with ExitStack() as stack:
        opened = stack.enter_context(image_source(image, strict=False, opener=opener))
        view = stack.enter_context(open_view(opened, filesystems=False))
        seen = {volume.number: volume for volume in opened.volumes}
        pieces: list[Piece] = []
        after: list[After] = []
        for resize in wanted:
            volume = seen[resize.volume.partition]
            if resize.means == "files":
                after.append(byfiles.step(view, volume, resize, sectors[1]))
                continue
            reporter.start(f"shrink the {volume.fs} of partition {volume.number}", None)
            file = view.folder / SCRATCH / volume.file
            try:
                used = shrink(file, resize, sectors[0])
            except ProgramFailed as error:
                raise TargetRefused(
                    f"the {volume.fs} of partition {volume.number} cannot be shrunk to "
                    f"{format_size(resize.new.length)}: {error.message}",
                    hint="choose a larger disk, or let another partition give room; "
                    "nothing was written",
                ) from error
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            pieces.append(Piece(fd, used, resize.new.start))
            reporter.finish()
        yield tuple(pieces), tuple(after)


def shrink(file: Path, resize: Resize, sector: int) -> ExtentMap:
    """Shrink the filesystem in a throw-away overlay; which bytes of it hold data afterwards.

    Raises:
        ProgramFailed: its program refuses, in its own words.
    """
    length, fs = resize.new.length, resize.volume.fs
    with loop.scratch_device(file, sector) as node:
        if fs.startswith("ext"):
            growing.check_ext(node)
            process.run(["resize2fs", node, f"{length // 1024}K"])
        elif fs == "ntfs":
            growing.ntfs(node, length)
        elif fs == "btrfs":
            with growing.private_mount(node, "btrfs") as folder:
                process.run(["btrfs", "filesystem", "resize", str(length), folder])
        else:
            raise ProgramFailed(f"nothing is known that shrinks {fs}")
    with loop.read_only_part(file, Extent(0, length)) as node:
        try:
            used = partclone.used_extents(node, fs, length)
        except ProgramFailed:
            # ntfsresize leaves the volume marked for Windows to check, which partclone refuses.
            return ExtentMap.single(0, length)
    edges = ((0, min(_HEAD, length)), (max(0, length - _HEAD), length))
    return used.union(ExtentMap.of(edges))


def opener_of(secrets: Sequence[Secret], look_in: Sequence[Path]) -> Opener:
    """How the image is opened for the view, with the keys that were given."""
    from rescue.image.reader import Image

    return lambda path: Image.open(path, secrets=secrets, look_in=look_in)
