"""Where a running system keeps what it must remember until it is switched off.

On the rescue media that is ``/run/rescue``, in memory; for an ordinary user a private folder.
Locks are ``flock``: the kernel lets go of them when their holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rescue.core.errors import DiskTrouble, from_os_error

VARIABLE = "RESCUE_RUN_DIR"
_READ = 1 << 20
_SYSTEM = Path("/run/rescue")


def folder(*names: str) -> Path:
    """A folder of the running system, made if needed and private to this user.

    Raises:
        DiskTrouble: it cannot be made.
    """
    path = _root().joinpath(*names)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise DiskTrouble(f"{path} belongs to somebody else", hint="remove it")
    except OSError as error:
        raise from_os_error(error, f"make {path}") from error
    return path


def _root() -> Path:
    if wish := os.environ.get(VARIABLE):
        return Path(wish)
    if os.geteuid() == 0:
        return _SYSTEM
    home = os.environ.get("XDG_RUNTIME_DIR")
    return Path(home) / "rescue" if home else Path(tempfile.gettempdir()) / f"rescue-{os.getuid()}"


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """An open file that holds the lock, or None when somebody else has it.

    Raises:
        DiskTrouble: the lock file cannot be made.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, f"open {path}") from error
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def wait_lock(path: Path, *, seconds: float, shared: bool = False) -> int | None:
    """As ``try_lock``, but waits for whoever holds it."""
    until = time.monotonic() + seconds
    while (fd := try_lock(path, shared=shared)) is None and time.monotonic() < until:
        time.sleep(0.05)
    return fd


def unlock(fd: int) -> None:
    """Let go of a lock that was not handed to another program, and close its file.

    Closing alone is not enough where threads start programs: between fork and exec a child holds
    the same open file, and with it the lock, for a moment longer (flock(2)).
    """
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


@contextmanager
def locked(path: Path, *, seconds: float, what: str) -> Iterator[None]:
    """Hold a lock for the block.

    Raises:
        DiskTrouble: ``what`` (a clause) is still going on after ``seconds``.
    """
    fd = wait_lock(path, seconds=seconds)
    if fd is None:
        raise DiskTrouble(what, hint="wait a moment and try again")
    try:
        yield
    finally:
        unlock(fd)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file in one step: readers see the old or the new one."""
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(value))
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """A small file of ours; empty when it is not there (yet)."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def tail(path: Path) -> str:
    """The last part of a log: a task that warns a million times must not fill the screen."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _READ))
            return file.read(_READ).decode(errors="replace")
    except OSError:
        return ""
