"""The process that serves a view, and the files and folders that it serves.

The view is mounted first and served by a fork of this process, which has the image open already:
keys never leave it, and whoever opens a file before the child answers simply waits. A private view
ends with the process that wanted it, even when that is killed: a socket between the two closes.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rescue.core import memory, process
from rescue.core.errors import RescueError, from_os_error
from rescue.core.extent import Extent
from rescue.view.fat import Fat
from rescue.view.names import DISK, SCRATCH, Seen
from rescue.view.nodes import Folder, Node, Scratch, Window, folder
from rescue.view.session import Session
from rescue.view.sources import Opened
from rescue.view.store import ImageStore
from rescue.view.ways import way_to_see

_MESSAGE = 500
_LAST_WORDS = 10.0


def tree(opened: Opened) -> Folder:
    """The files and folders of a view, before any filesystem is mounted in it."""
    stamp, secret = opened.time, stat.S_IFREG | 0o400
    whole = Extent(0, opened.store.size)
    children: dict[str, Node] = {DISK: Window(secret, stamp, store=opened.store, extent=whole)}
    overlays: dict[str, Node] = {}
    for volume in opened.volumes:
        window = Window(secret, stamp, store=opened.store, extent=volume.extent)
        children.setdefault(volume.file, window)
        overlays[volume.file] = Scratch(stat.S_IFREG | 0o600, stamp, under=window)
        if way_to_see(volume.fs) is not None:
            children[volume.folder] = _place(opened, volume)
    children[SCRATCH] = folder(overlays, stamp)
    return folder(children, stamp)


def _place(opened: Opened, volume: Seen) -> Folder:
    """Where a filesystem will be mounted; a FAT volume is served by the view itself."""
    if volume.fs == "vfat":
        with suppress(ValueError, OSError):
            return Fat(opened.store, volume.extent).tree()
    return folder({}, opened.time)


@dataclass(slots=True)
class Server:
    """A running view.

    Attributes:
        folder: where it is mounted.
        process: the process that serves it.
    """

    folder: Path
    process: int
    _socket: socket.socket
    _heard: list[str] = field(default_factory=list)
    _ended: bool = False

    def messages(self) -> list[str]:
        """What could not be read and why, since the last call."""
        with suppress(OSError):
            while data := self._socket.recv(1 << 16, socket.MSG_DONTWAIT):
                self._heard += data.decode(errors="replace").splitlines()
        heard, self._heard = self._heard, []
        return list(dict.fromkeys(heard))

    def running(self) -> bool:
        """Whether it still serves."""
        if not self._ended:
            with suppress(ChildProcessError):
                self._ended = os.waitpid(self.process, os.WNOHANG)[0] != 0
        return not self._ended

    def release(self) -> None:
        """Leave it to itself: it ends when somebody unmounts it."""
        with suppress(OSError):
            self._socket.send(b"stay")
        self._socket.close()

    def stop(self) -> None:
        """Unmount it and wait for its process to end; it is killed when it does not."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        end = time.monotonic() + _LAST_WORDS
        while self.running() and time.monotonic() < end:
            time.sleep(0.01)
        if self.running():
            with suppress(OSError):
                os.kill(self.process, signal.SIGKILL)
                os.waitpid(self.process, 0)
            self._ended = True
        self._socket.close()


def start(opened: Opened, mount_point: Path, *, temporary: bool = False) -> Server:
    """Mount the view of ``opened`` on a directory and serve it from a process of its own.

    Args:
        temporary: that process removes the directory when it ends; nobody else may be left to.

    Raises:
        ProgramFailed: it cannot be mounted.
    """
    session = Session(tree(opened), opened.store.size)
    session.mount(mount_point, str(opened.name.absolute()))
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def work() -> None:
        ours.close()
        _serve(session, opened, mount_point, its)
        if temporary:
            with suppress(OSError):
                mount_point.rmdir()

    try:
        child = process.fork(work)
    except OSError as error:
        detach(mount_point)
        raise from_os_error(error, "start the process of a view") from error
    its.close()
    session.close()
    _read_far_ahead(mount_point)
    return Server(mount_point, child, ours)


def _serve(session: Session, opened: Opened, mount_point: Path, its: socket.socket) -> None:
    """The life of the child."""
    os.setsid()
    memory.keep_freed()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: stop.set())
    if isinstance(opened.store, ImageStore):
        opened.store.on_error = lambda text: _tell(its, text)

    def follow() -> None:
        """Ends when the process that wanted this view has ended, unless it said to stay."""
        with suppress(OSError):
            if its.recv(16):
                return
        stop.set()

    threading.Thread(target=follow, daemon=True).start()
    session.serve()
    while not session.finished.wait(0.2):
        if stop.is_set():
            stop.clear()
            detach(mount_point)
    session.close()


def _tell(its: socket.socket, text: str) -> None:
    with suppress(OSError):
        its.send(f"{text[:_MESSAGE]}\n".encode(errors="replace"), socket.MSG_DONTWAIT)


def detach(mount_point: Path) -> None:
    """Take a view and all that is mounted in it out of the tree of files; waits for nobody."""
    with suppress(RescueError):
        if os.geteuid() == 0:
            process.run(["umount", "--lazy", "--no-canonicalize", mount_point], check=False)
        else:
            process.run(["fusermount3", "-u", "-z", "--", mount_point], check=False)


def _read_far_ahead(mount_point: Path) -> None:
    """Have the kernel read 1 MiB ahead instead of 128 KiB: fewer requests. Root may do that."""
    if os.geteuid() != 0:
        return
    with suppress(OSError):
        device = mount_point.stat().st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        Path(f"/sys/class/bdi/{name}/read_ahead_kb").write_text("1024")
