"""Mounts that nobody else sees, and that end with this process however it ends.

A filesystem of a target is mounted for a moment, to be grown or to have files changed. Mounted for
all to see, it would stay behind a process that is killed in that moment: the target would be "in
use" until somebody unmounts it. In a mount namespace of its own (unshare(2)) the kernel takes it
away with the last process that is in it. Threads have one each, so nothing else of this process is
concerned, and this thread returns to the common one at the end of the block.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rescue.core.errors import ProgramFailed

# linux/sched.h and linux/mount.h
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_HERE = Path("/proc/thread-self/ns/mnt")


@contextmanager
def own_mounts() -> Iterator[bool]:
    """A mount namespace for this thread and the programs it starts, until the block ends.

    What is mounted already is seen in it; what is mounted in it is seen nowhere else. Yields False
    where that cannot be had (a container that does not allow it), and mounts are common ones then.

    Raises:
        ProgramFailed: there is no way back, so that nothing else can be done either.
    """
    before = _Place.of_thread()
    try:
        if not _separate(before):
            yield False
            return
        try:
            yield True
        finally:
            before.go_back()
    finally:
        before.close()


class _Place:
    """What a thread goes back to: namespace, root and working directory."""

    def __init__(self, namespace: int, root: int, folder: int) -> None:
        self.namespace, self.root, self.folder = namespace, root, folder

    @classmethod
    def of_thread(cls) -> _Place:
        """Where this thread is now; -1 for what cannot be told."""
        return cls(*(_opened(path) for path in (_HERE, Path("/"), Path())))

    def go_back(self) -> None:
        """Leave the namespace; the kernel drops what is still mounted in it."""
        # A thread that was started meanwhile shares root and folder, which setns(2) refuses.
        _call("unshare", _CLONE_FS)
        if not _call("setns", self.namespace, _CLONE_NEWNS):
            raise ProgramFailed(
                "cannot leave a private mount namespace", hint="start the program once more"
            )
        # It leads to the root of the namespace, which is another one under chroot.
        if self.root >= 0 and not os.path.samestat(os.fstat(self.root), Path("/").stat()):
            os.chdir(self.root)
            os.chroot(".")
        with suppress(OSError):
            os.chdir(self.folder if self.folder >= 0 else "/")

    def close(self) -> None:
        """Close what was opened."""
        for fd in (self.namespace, self.root, self.folder):
            if fd >= 0:
                os.close(fd)


def _separate(before: _Place) -> bool:
    """Enter a namespace in which nothing spreads to others; False, and all as it was, if not."""
    if before.namespace < 0 or not _call("unshare", _CLONE_NEWNS):
        return False
    if _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        return True
    before.go_back()
    return False


def _opened(path: Path) -> int:
    flags = os.O_RDONLY if path == _HERE else os.O_PATH | os.O_DIRECTORY
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return -1


def _call(name: str, *words: bytes | int | None) -> bool:
    """A system call that Python has no name for (3.12 has two of the three)."""
    library = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in words]
    result: int = getattr(library, name)(*given)
    return result == 0
