"""Wall time and peak memory of a part of this process."""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil


@dataclass
class Measurement:
    """Set when the measured part ends.

    Attributes:
        seconds: Wall time.
        peak_mb: Largest resident set size above the one at the start, in 10⁶ bytes. Pages of memory maps count while
            they are resident.
    """

    seconds: float = 0.0
    peak_mb: float = 0.0


@contextmanager
def measured(interval: float = 0.005) -> Iterator[Measurement]:
    """Measure the body of the ``with`` statement.

    Args:
        interval: Seconds between two looks at the resident set size.

    Yields:
        What is filled in at the end.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc: memory freed earlier would hide what the body allocates
        ctypes.CDLL(None).malloc_trim(0)
    process = psutil.Process()
    begin = process.memory_info().rss
    highest_before = _highest()
    peak = begin
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(interval):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    result = Measurement()
    thread.start()
    start = time.perf_counter()
    try:
        yield result
    finally:
        result.seconds = time.perf_counter() - start
        done.set()
        thread.join()
        peak = max(peak, process.memory_info().rss)
        # The kernel's own high-water mark sees what falls between two samples, where it rose in this part.
        if _highest() > highest_before:
            peak = max(peak, _highest())
        result.peak_mb = (peak - begin) / 1e6


def spread(values: list[float]) -> str:
    """Median, with the smallest and largest of several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def show(name: str, runs: list[Measurement]) -> None:
    """One line of a table: seconds, and the largest peak of memory."""
    print(f"{name:9}{spread([run.seconds for run in runs]):>28} s{max(run.peak_mb for run in runs):12.0f} MB")


def _highest() -> int:
    """Largest resident set size of the process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
