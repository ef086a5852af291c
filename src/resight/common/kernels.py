"""Compiled inner loops (numba) and how they are spread over threads; import this module only inside functions.

Every kernel works on a range of rows and releases the interpreter lock, so :func:`map_rows` can run ranges on a pool of
ordinary threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numba

from resight.common.threads import map_ordered

T = TypeVar("T")


def jit(**options: Any) -> Callable[[Any], Any]:
    """``numba.njit`` that releases the lock, and caches on disk where a cache folder can be written."""

    def wrap(function: Any) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
            return numba.njit(nogil=True, **options)(function)

    return wrap


def map_rows(work: Callable[[int, int], T], num_rows: int, *, chunk: int) -> Iterator[T]:
    """Yields ``work(start, stop)`` for consecutive ranges of ``chunk`` rows, in order, computed in parallel.

    Uses ``numba.get_num_threads()`` threads: ``numba.set_num_threads`` and the variable ``NUMBA_NUM_THREADS`` decide.
    """
    ranges = [(start, min(start + chunk, num_rows)) for start in range(0, num_rows, chunk)]
    return map_ordered(lambda bounds: work(*bounds), ranges, numba.get_num_threads())


def run_rows(work: Callable[[int, int], Any], num_rows: int, *, chunk: int) -> None:
    """:func:`map_rows` for work that writes its results itself."""
    for _ in map_rows(work, num_rows, chunk=chunk):
        pass
