"""Files that are kept between runs: written aside, sealed against damage, and cleaned up after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows has no flock: there the system itself refuses to remove an open file
    fcntl = None  # type: ignore[assignment]

#: Part files, those of earlier versions included.
_PART = re.compile(r"(?:[0-9a-f]{32}-\d+x\d+|digests-[0-9a-f]{16})\..*(?:part|index)")
#: Seconds after which a part file that no process holds is left over.
_LEFT_OVER = 60.0
_SEAL = "seal"


@contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Opens a part file that takes the name of ``file`` at the end, when it is whole and flushed to disk.

    Any number of processes may do so at once: each writes its own part file, and the last one's content stays. If the
    block raises, the part file is removed. The process holds a lock on it, so that :func:`sweep_parts` can tell a part
    file that is being written from one that a killed process left.

    Args:
        file: The file to make or to replace.

    Yields:
        The part file, open for writing bytes.

    Raises:
        OSError: the disk is full, or the folder may not be written to.
    """
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as stream:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, file)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def sweep_parts(folder: Path) -> None:
    """Removes the part files of processes that are no longer there. What cannot be removed stays."""
    with contextlib.suppress(OSError):
        for file in list(folder.iterdir()):
            if _PART.fullmatch(file.name):
                with contextlib.suppress(OSError):
                    _sweep(file)


def _sweep(part: Path) -> None:
    if time.time() - part.stat().st_mtime < _LEFT_OVER:  # just made, perhaps not locked yet
        return
    with part.open("rb") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    part.unlink()


def write_sealed(file: Path, content: dict[str, Any]) -> None:
    """Writes a JSON object with a digest of itself (see :func:`replacing`)."""
    with replacing(file) as stream:
        stream.write(json.dumps({_SEAL: _seal(content), **content}).encode("ascii"))


def read_sealed(file: Path) -> dict[str, Any] | None:
    """What :func:`write_sealed` wrote; ``None`` if anything in the file differs.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        content = json.loads(file.read_bytes())
        seal = content.pop(_SEAL)
        return content if seal == _seal(content) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _seal(content: dict[str, Any]) -> str:
    return blake2b(json.dumps(content).encode("ascii"), digest_size=16).hexdigest()
