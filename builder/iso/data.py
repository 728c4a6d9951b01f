"""A disc that holds files and starts nothing: the further ones of a set.

It has the list of sums and the seal that a starting medium has, so that ``verify`` checks it too.
"""

from __future__ import annotations

import os
from pathlib import Path

from builder.iso import master, seal
from builder.iso.tree import Tree
from builder.iso.write import SUMS
from rescue.core.errors import from_os_error
from rescue.core.progress import Reporter


def write(
    content: dict[str, Path | bytes], volume: str, epoch: int, output: Path, reporter: Reporter
) -> int:
    """Write the ISO to ``output`` by way of ``output``.partial; its size.

    Raises:
        DiskTrouble: a file cannot be read or written.
        UsageError: something does not fit an ISO.
    """
    boot = master.Boot("", "", volume, epoch)
    tree = Tree.of(content)
    partial = output.with_name(f"{output.name}.partial")
    try:
        reporter.start(f"sums of what goes on {output.name}", tree.total)
        sums = "".join(f"{file.sha256(reporter)}  {file.path}\n" for file in tree.files)
        reporter.finish()
        tree = Tree.of({**content, SUMS: sums.encode()})
        with partial.open("w+b") as file:
            reporter.start(f"write {output.name}", tree.total)
            master.write(tree, boot, file, reporter)
            reporter.finish()
            size = file.seek(0, os.SEEK_END)
            fd = file.fileno()
            reporter.start(f"seal of {output.name}", size)
            made = seal.make(lambda count, at: os.pread(fd, count, at), size, size, reporter)
            os.pwrite(fd, made.encode(), seal.PLACE)
            os.fsync(fd)
            reporter.finish()
        partial.rename(output)
    except OSError as error:
        raise from_os_error(error, f"write {output}") from error
    finally:
        partial.unlink(missing_ok=True)
    return size
