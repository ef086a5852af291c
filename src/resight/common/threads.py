"""Work on a pool of threads, with results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int | None = None, *, ahead: int = 4
) -> Iterator[Result]:
    """Yields ``work(item)`` for every item, in order, computed on a pool of threads.

    Args:
        work: Called once for each item. What it raises is raised here, at the item's turn.
        items: What is worked on.
        threads: Threads in the pool; by default as many as there are cores. With one, no pool is made.
        ahead: Items in the pool at once, for each thread. Few, so that a caller that stops early stops quickly and
            results that are waiting take little memory.
    """
    threads = min((os.cpu_count() or 1) if threads is None else threads, len(items))
    if threads <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="resight") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= ahead * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
