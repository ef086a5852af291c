"""Ending a command at a signal: cleanly, and with a word to the user."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_AGAIN = 0.05  # seconds until an exception that was dropped is raised again
_PATIENCE = 1.0  # seconds in which a signal that is sent twice counts once: programs that start others pass it on, too


class Stopped(BaseException):
    """A signal stopped the command. Not an ``Exception``, so that nothing takes it for an error and goes on.

    Attributes:
        signal: The signal.
        standing: A sentence about what is saved; empty if nothing is.
        run: The run folder to go on with, if there is one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)
        self.standing = ""
        self.run: Path | None = None


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], Stopped | None]]:
    """For a while, Ctrl-C, SIGTERM and SIGHUP raise :class:`Stopped` in the main thread.

    The same signal again, a second later or more, ends the process at once. Signals that are ignored, as under
    ``nohup``, stay ignored. Code between the signal and the caller may drop the exception: Python does so in
    finalizers, and the compiler of numba where it asks for the type of a value. Then the signal is sent again.

    Yields:
        A function that returns what was raised, or None if there was no signal. An error that arises while the
        command ends may hide that.
    """
    since = 0.0
    ended = False
    # only what handles the exception keeps it alive, so it is gone exactly if it was dropped
    current: weakref.ref[Stopped] | None = None

    def arrived() -> Stopped | None:
        return current() if current is not None else None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal since, current
        if arrived() is None:
            since = time.monotonic()
            stopped = Stopped(number)
            current = weakref.ref(stopped, lambda _: send_again(number))
            try:
                raise stopped
            finally:
                del stopped  # the traceback holds this frame, so the exception would hold itself
        if time.monotonic() - since > _PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def send_again(number: int) -> None:
        if not ended:
            again = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()

    def ignored(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, Stopped):
            hook(what)

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in numbers}
    replaced = [number for number in numbers if before[number] in usual]
    for number in replaced:
        signal.signal(number, stop)
    hook, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        yield arrived
    finally:
        ended = True
        sys.unraisablehook = hook
        for number in replaced:
            signal.signal(number, before[number])
