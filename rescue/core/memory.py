"""Memory that was freed stays with the process, for work that allocates a chunk again and again.

A chunk is 1 MiB. By its own settings malloc gives such a piece back to the kernel when it is freed
and asks for new pages, which the kernel fills with zeros, for the next one: measured, a third of
the system time of a capture and of a view. What is kept is bounded by what was in use at once.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 256 << 20
_LARGEST = 32 << 20  # the largest that mallopt(3) lets


@cache
def keep_freed() -> None:
    """Have malloc keep what is freed; where it is another malloc than the GNU one, nothing."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
