"""How much memory a process may still take, arrays that go to disk where it is too little, and what to say then."""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from resight.errors import ResightError

#: Parts of the messages of torch's RuntimeErrors, for the CPU and for CUDA.
_SAID = re.compile(r"out of memory|not enough memory|can't allocate memory|bad_alloc|_ALLOC_FAILED", re.IGNORECASE)


class OutOfMemory(ResightError):  # noqa: N818 (a state of the machine)
    """There was not enough memory. The message says what to lower.

    Attributes:
        run: The run folder to go on with, if there is one.
    """

    run: Path | None = None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy or torch means that there was not enough memory."""
    if isinstance(error, RuntimeError):
        return _SAID.search(str(error)) is not None
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


@contextmanager
def explained_memory(what: str, advice: str) -> Iterator[None]:
    """Turns a lack of memory into a sentence.

    Args:
        what: What the memory was for, such as ``a training step``.
        advice: What to do, as a sentence.

    Raises:
        OutOfMemory: there was not enough memory. Other errors pass unchanged.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, ResightError) or not is_out_of_memory(error):
            raise
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        size = f" ({asked[1]} more were needed)" if asked else ""
        place = "on the GPU" if "CUDA" in str(error) else "in memory"
        raise OutOfMemory(f"There is not enough room {place} for {what}{size}. {advice}") from error


def available_memory() -> int:
    """Bytes of memory that the system has left, within the limit of a container (cgroup v2); at least 256 MiB."""
    left = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit.isdigit():
            left = min(left, int(limit) - int((group / "memory.current").read_text(encoding="ascii")))
    except OSError:  # no such limits on this system
        pass
    return max(left, 1 << 28)


def peak_memory() -> int:
    """The most bytes of memory that this process has held, and on a GPU the most that PyTorch held there."""
    import sys

    if sys.platform == "win32":
        held = int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    else:
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        held = max(held, int(torch.cuda.max_memory_allocated()))
    return int(held)


def room_for(shape: tuple[int, ...], kind: type, *, memory: int | None = None) -> np.ndarray:
    """An uninitialised array: in memory, or a memory map of an unnamed temporary file where it does not fit.

    Args:
        shape: Shape of the array.
        kind: Number type of the array, such as ``np.float32``.
        memory: Bytes that the array may take in memory; by default a third of :func:`available_memory`.

    Returns:
        A ``numpy.ndarray`` or a ``numpy.memmap``. The file disappears with the array; the variable ``TMPDIR`` chooses
        its folder.
    """
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if size <= (available_memory() // 3 if memory is None else memory):
        return np.empty(shape, kind)
    with tempfile.TemporaryFile(prefix="resight-") as file:  # the map keeps the file alive
        return np.memmap(file, kind, mode="w+", shape=shape)
