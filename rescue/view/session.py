"""A FUSE session: mounts a tree of nodes and answers the kernel until somebody unmounts it.

Several threads read requests from the same file; the kernel gives each request to one of them. The
work that takes time (decoding a chunk, copying an answer to the kernel) leaves the interpreter
lock.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.view import wire
from rescue.view.nodes import ROOT, FileNode, Folder, Node, Scratch
from rescue.view.store import View
from rescue.view.trail import Trail
from rescue.view.wire import Op

KIND = "rescue"
"""The mount's type in /proc/self/mountinfo is ``fuse.rescue``."""

# Threads wait for a chunk another one decodes; with few of them a slow reader would stop the rest.
_THREADS = 6
_GONE = (errno.ENODEV, errno.EBADF)


class Session:
    """Serves one tree on one directory.

    Attributes:
        finished: set when the kernel ended it (somebody unmounted it).
    """

    def __init__(self, root: Folder, size: int) -> None:
        self._root = root
        self._size = size
        self._nodes: dict[int, Node] = {ROOT: root}
        self._fd = -1
        self._threads: list[threading.Thread] = []
        self._ended = 0
        self._lock = threading.Lock()
        self._trail = Trail()
        self._gone: SimpleQueue[bytes | None] = SimpleQueue()
        self.finished = threading.Event()
        self.owner, self.group = os.getuid(), os.getgid()

    def mount(self, folder: Path, name: str) -> None:
        """Mount on ``folder``; ``name`` is what ``mount`` shows as the device. Answers come later.

        Raises:
            ProgramFailed: fusermount3 is missing or refuses, in its own words.
        """
        program = process.require("fusermount3", package="fuse3")
        shown = "".join(letter for letter in name if letter.isprintable() and letter not in ",\\")
        # Not "ro": a loop device must open the throw-away overlays for writing. All other files
        # refuse that by themselves.
        options = f"rw,nosuid,nodev,noexec,default_permissions,subtype={KIND},fsname={shown}"
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, its:
            process.run(
                [program, "-o", options, "--", folder],
                env={"_FUSE_COMMFD": str(its.fileno())},
                pass_fds=(its.fileno(),),
            )
            its.close()
            ours.settimeout(10)
            _data, ancillary, _flags, _from = ours.recvmsg(1, socket.CMSG_SPACE(4))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                (self._fd,) = struct.unpack("i", data[:4])
        if self._fd < 0:
            raise ProgramFailed("fusermount3 did not hand over the mount")
        os.set_inheritable(self._fd, False)

    def serve(self) -> None:
        """Start answering; returns at once."""
        threading.Thread(target=self._let_go, name="fuse-trail", daemon=True).start()
        for number in range(_THREADS):
            thread = threading.Thread(target=self._run, name=f"fuse-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        buffer = memoryview(bytearray(wire.READ_BUFFER))
        try:
            while True:
                try:
                    count = os.readv(self._fd, [buffer])
                except OSError as error:
                    if error.errno in _GONE:
                        return
                    # ENOENT: the request was interrupted before it was taken.
                    if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                        continue
                    return
                if not count:
                    return
                self._handle(wire.parse_request(buffer[:count]))
        finally:
            self.finished.set()
            self._gone.put(None)

    def _let_go(self) -> None:
        """Pass on what the kernel need not keep.

        In a thread of its own: the kernel may have to wait for pages that are being read, and
        somebody must be left to answer that.
        """
        while message := self._gone.get():
            with suppress(OSError):
                os.write(self._fd, message)

    def _handle(self, request: wire.Request) -> None:
        if request.op in wire.UNANSWERED:
            return
        try:
            self._reply(request.unique, 0, self._answer(request))
        except OSError as error:
            self._reply(request.unique, error.errno or errno.EIO, ())
        except (struct.error, ValueError):
            self._reply(request.unique, errno.EINVAL, ())
        except Exception:
            # A damaged chunk, or a mistake of ours: the kernel must get an answer to every request,
            # or whoever asked hangs where no signal reaches it. EIO never passes for data.
            self._reply(request.unique, errno.EIO, ())

    def _reply(self, unique: int, error: int, pieces: Sequence[View]) -> None:
        total = wire.OUT_HEADER.size + sum(map(len, pieces))
        head = wire.OUT_HEADER.pack(total, -error, unique)
        # ENOENT: whoever asked was interrupted and is gone; ENODEV: the mount is.
        with suppress(OSError):
            os.writev(self._fd, [head, *pieces])

    def _answer(self, request: wire.Request) -> Sequence[View]:
        op, body = request.op, request.body
        if op == Op.READ:
            _, offset, length, *_ = wire.READ_IN.unpack_from(body)
            return self._read(request.node, offset, min(length, wire.MAX_READ))
        if op == Op.LOOKUP:
            child = self._folder(request.node).entries().get(bytes(body).rstrip(b"\0"))
            if child is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            with self._lock:
                self._nodes[child.number] = child
            return (wire.entry(self._attributes(child, child.number)),)
        if op == Op.GETATTR:
            return (wire.attributes_out(self._attributes(self._node(request.node), request.node)),)
        if op == Op.READDIR:
            _, offset, room, *_ = wire.READ_IN.unpack_from(body)
            return (wire.directory(self._listing(request.node), offset, room),)
        if op == Op.OPEN:
            (flags, _) = wire.OPEN_IN.unpack_from(body)
            node = self._node(request.node)
            if flags & os.O_ACCMODE != os.O_RDONLY and not isinstance(node, Scratch):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return (wire.opened(),)
        if op == Op.WRITE:
            _, offset, length, *_ = wire.WRITE_IN.unpack_from(body)
            data = body[wire.WRITE_IN.size : wire.WRITE_IN.size + length]
            self._file(request.node).write(offset, data)
            return (wire.written(len(data)),)
        if op == Op.LSEEK:
            _, offset, whence, _ = wire.LSEEK_IN.unpack_from(body)
            return (wire.found(self._file(request.node).seek(offset, whence)),)
        if op == Op.SETATTR:
            # A loop device sets times when it writes; sizes never change.
            node = self._node(request.node)
            if not isinstance(node, Scratch):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return (wire.attributes_out(self._attributes(node, request.node)),)
        if op == Op.STATFS:
            return (wire.statfs(self._size, len(self._nodes)),)
        if op == Op.OPENDIR:
            self._folder(request.node)
            return (wire.opened(),)
        if op == Op.INIT:
            return (wire.init(body),)
        if op in (Op.RELEASE, Op.RELEASEDIR, Op.FSYNC, Op.FSYNCDIR, Op.FLUSH, Op.DESTROY):
            return ()
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def _read(self, number: int, offset: int, length: int) -> Sequence[View]:
        file = self._file(number)
        if not isinstance(file, Scratch):  # only there may a page hold more than we have
            with self._lock:
                gone = self._trail.read(number, offset, length)
            if gone is not None:
                self._gone.put(wire.let_go(number, gone.start, gone.length))
        return file.read(offset, length)

    def _node(self, number: int) -> Node:
        with self._lock:
            node = self._nodes.get(number)
        if node is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return node

    def _folder(self, number: int) -> Folder:
        node = self._node(number)
        if not isinstance(node, Folder):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node

    def _file(self, number: int) -> FileNode:
        node = self._node(number)
        if not isinstance(node, FileNode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return node

    def _attributes(self, node: Node, number: int) -> wire.Attributes:
        links = 2 if isinstance(node, Folder) else 1
        return wire.Attributes(
            number, node.size, node.mode, node.time, links, self.owner, self.group
        )

    def _listing(self, number: int) -> list[tuple[bytes, int, int]]:
        folder = self._folder(number)
        dots = [(b".", number, folder.mode), (b"..", number, folder.mode)]
        return dots + [(name, node.number, node.mode) for name, node in folder.entries().items()]

    def close(self) -> None:
        """Let go of the kernel's file; what is still mounted answers with errors from now on."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
