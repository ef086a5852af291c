"""Runs the cases of the corpus in a process that may hang or die."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from torture_case import HANG, TRACEBACK, Case, Verdict, judge

#: Memory that the worker may take beside what it has at the start.
_MEMORY = 6 << 30


def run_cases(cases: Sequence[Case]) -> Iterator[tuple[Case, Verdict]]:
    """Yields every case with what came of it.

    A worker takes the cases one by one. If it hangs or dies it is replaced, and the next one goes on.
    """
    context = multiprocessing.get_context("fork")
    place = 0
    while place < len(cases):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(cases, place, theirs), daemon=True)
        worker.start()
        theirs.close()
        try:
            while place < len(cases):
                case = cases[place]
                place += 1
                if not ours.poll(case.limit):
                    yield case, Verdict(HANG, f"no end within {case.limit:g} s")
                    break
                try:
                    yield case, ours.recv()
                except EOFError:
                    worker.join(5)
                    yield case, Verdict(TRACEBACK, f"the process died with status {worker.exitcode}")
                    break
        finally:
            worker.kill()
            worker.join()
            ours.close()


def _work(cases: Sequence[Case], first: int, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, now + _MEMORY))
    for case in cases[first:]:
        pipe.send(judge(case))
