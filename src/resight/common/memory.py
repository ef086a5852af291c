"""How much memory a process may still take."""

from __future__ import annotations

from pathlib import Path

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
