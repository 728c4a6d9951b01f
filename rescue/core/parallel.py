"""Work on all processors with bounded memory, results in order.

Threads and not processes: the work is in C libraries that release the GIL.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from rescue.core.memory import keep_freed

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers(threads: int = 0) -> int:
    """How many threads: as many as asked for, or one for each processor this process may use."""
    return threads or len(os.sched_getaffinity(0))


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 0
) -> Iterator[Result]:
    """``map`` over a pool of threads: results in the order of ``items``.

    At most two items a thread, and two more, are in flight, whatever the number of items. When the
    caller stops early (an error, Ctrl-C) what has not begun is dropped and what has begun is waited
    for.
    """
    keep_freed()
    count = workers(threads)
    source = iter(items)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="worker")
    try:
        for item in islice(source, 2 * count + 2):
            pending.append(pool.submit(function, item))
        while pending:
            result = pending.popleft().result()
            for item in islice(source, 1):
                pending.append(pool.submit(function, item))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
