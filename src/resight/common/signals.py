"""Ending a command at a signal: cleanly, and with a word to the user."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_AGAIN = 0.05  # seconds until an exception that Python ignored is raised again
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
def stopped_by_signals() -> Iterator[list[Stopped]]:
    """For a while, Ctrl-C, SIGTERM and SIGHUP raise :class:`Stopped` in the main thread.

    The same signal again, a second later or more, ends the process at once. Signals that are ignored, as under
    ``nohup``, stay ignored. Python ignores what is raised in a finalizer or a callback from C, such as those of the
    compiler of numba; then the signal is sent again.

    Yields:
        A list that is empty until there was a signal, and then holds what was raised. An error that arises while the
        command ends may hide that.
    """
    raised: list[Stopped] = []
    since = 0.0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not raised:
            since = time.monotonic()
            raised.append(Stopped(number))
            raise raised[0]
        if time.monotonic() - since > _PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def ignored(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, Stopped):
            hook(what)
            return
        raised.clear()
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), what.exc_value.signal))
        again.daemon = True
        again.start()

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in numbers}
    replaced = [number for number in numbers if before[number] in usual]
    for number in replaced:
        signal.signal(number, stop)
    hook, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        yield raised
    finally:
        sys.unraisablehook = hook
        for number in replaced:
            signal.signal(number, before[number])
