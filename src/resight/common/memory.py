"""How much memory a process may still take, and arrays that go to disk where it is too little."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import psutil


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
