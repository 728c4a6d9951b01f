"""Runs one command and says what it took, as JSON on stdout.

A process of its own and a small one: the kernel's peak memory of a child begins with that of the
process which started it.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """``clock.py COMMAND``: the command is for bash; its stderr goes to ours."""
    null = os.open(os.devnull, os.O_RDWR)
    started = time.monotonic()
    child = os.posix_spawnp(
        "bash",
        ["bash", "-o", "pipefail", "-c", sys.argv[1]],
        {**os.environ, "LC_ALL": "C.UTF-8"},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)],
    )
    _, status, usage = os.wait4(child, 0)
    print(
        json.dumps(
            {
                "wall": time.monotonic() - started,
                "processor": usage.ru_utime + usage.ru_stime,
                "memory": usage.ru_maxrss * 1024,
                "status": os.waitstatus_to_exitcode(status),
            }
        )
    )


if __name__ == "__main__":
    main()
