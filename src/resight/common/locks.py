"""A lock that one process holds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resight.common.files import writing
from resight.errors import ResightError


@contextmanager
def locked(file: Path, taken: str) -> Iterator[None]:
    """Holds a lock on a file.

    The system drops the lock when the process ends, however it ends: a file that is left behind locks nothing.

    Args:
        file: The file, made if it is not there. It stays.
        taken: The sentence for the case that another process holds the lock.

    Raises:
        ResightError: another process holds the lock. This is said at once.
        CannotWrite: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file.absolute())  # flock on Unix, a locked byte on Windows
    with writing(file):
        try:
            lock.acquire(timeout=0)
        except Timeout:  # an OSError, too
            raise ResightError(taken) from None
    try:
        yield
    finally:
        lock.release()
