"""What is to be known of external programs without starting one: where, how ended, in whose words.

``core/process.py`` starts them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rescue.core.errors import Interrupted, ProgramFailed

_KEPT = (
    "HOME", "USER", "TMPDIR", "TERM", "SOURCE_DATE_EPOCH", "NO_COLOR", "XDG_RUNTIME_DIR",
    "RESCUE_RUN_DIR",
)  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program left behind: its status and what it printed (bytes, undecoded)."""

    command: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment every program gets: C locale, a known PATH, proxies and few others kept."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT}
    proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    return {**kept, **proxies, "LC_ALL": "C.UTF-8", "PATH": _PATH, **(extra or {})}


def find(program: str) -> str | None:
    """Path of ``program``, or None; sbin is searched for ordinary users too."""
    return shutil.which(program, path=_PATH)


def require(program: str, *, package: str = "") -> str:
    """Path of ``program``.

    Raises:
        ProgramFailed: it is not installed.
    """
    path = find(program)
    if path is None:
        raise ProgramFailed(
            f"the program {program} is not installed",
            hint=f"install the package {package or program}",
        )
    return path


def failure(result: Finished) -> ProgramFailed | Interrupted:
    """The error of a finished program, in its own last words."""
    if result.status == -signal.SIGINT:
        return Interrupted(f"{result.command[0]} was interrupted")
    words = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
    last = words[-1].strip() if words else "it printed nothing"
    name = Path(result.command[0]).name
    status = f"signal {-result.status}" if result.status < 0 else f"status {result.status}"
    return ProgramFailed(f"{name} failed with {status}: {last}", hint=shlex.join(result.command))
