"""Writing files so that a reader finds the old content or the new, and never half of either."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_aside(file: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Writes a file under a temporary name beside it, flushes it to disk and renames it.

    Whatever happens in between, ``file`` keeps its old content, and the temporary file is removed.

    Args:
        file: The file to make or to replace.
        write: Called with the temporary path, which has the same ending as ``file``; writes the content there.
        sync: Whether the file is flushed to disk before it is renamed. That takes milliseconds per file. Without it,
            a power failure may leave an empty file; a program that is stopped leaves none.
    """
    aside = file.with_name(f".{file.stem}.part{file.suffix}")
    try:
        write(aside)
        if sync:
            with aside.open("rb+") as stream:
                os.fsync(stream.fileno())
        os.replace(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
