"""Digests of crop files, kept so that a file is read again only when it has changed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from resight.common.threads import map_ordered
from resight.crops.images import UnreadableImage, file_digest, is_unicode
from resight.crops.kept import read_sealed, write_sealed
from resight.crops.table import CropTable

#: The digest of a file that cannot be read.
NO_DIGEST = b"\0" * 16
#: A file that changed this recently may change again without a later time: its digest is not kept.
_SETTLED_NS = 2_000_000_000
_CHUNK = 256


class FileDigests:
    """Digests of the files of one root folder, in one file of the cache folder.

    A digest is used again while path, size, time of the content and time of the entry are the same.

    Args:
        root: The folder of the crops.
        folder: The folder of the caches. Neither needs to exist.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        name = blake2b(os.fsencode(os.path.realpath(root)), digest_size=8).hexdigest()
        self._file = folder / f"digests-{name}.json"
        self._new: dict[str, list[int | str]] = {}

    def of(self, table: CropTable, progress: Callable[[int, int], None] | None = None) -> list[bytes]:
        """The digest of each crop's file, :data:`NO_DIGEST` for one that cannot be read.

        Args:
            table: The crops; its root is that of these digests.
            progress: Called with (files read, files to read).
        """
        known = self._read()
        now = time.time_ns()
        chunks = [range(start, min(start + _CHUNK, len(table))) for start in range(0, len(table), _CHUNK)]
        states = [s for chunk in map_ordered(lambda rows: [_state(table, row) for row in rows], chunks) for s in chunk]
        digests = [
            bytes.fromhex(entry[3])
            if state is not None and (entry := known.get(path)) is not None and entry[:3] == state
            else None
            for path, state in zip(table.paths, states, strict=True)
        ]
        missing = [row for row, digest in enumerate(digests) if digest is None]
        for done, digest in enumerate(map_ordered(lambda row: _digest(table, row), missing), start=1):
            row = missing[done - 1]
            digests[row], state = digest, states[row]
            if state is not None and digest != NO_DIGEST and now - max(state[1:]) > _SETTLED_NS:
                self._new[table.paths[row]] = [*state, digest.hex()]
            if progress is not None:
                progress(done, len(missing))
        return [digest or NO_DIGEST for digest in digests]

    def keep(self) -> None:
        """Writes the digests that are new. That they cannot be written is no error: files are then read again."""
        if self._new:
            with contextlib.suppress(OSError):
                # read again, since another process may have added some
                write_sealed(self._file, {"files": self._read() | self._new})

    def _read(self) -> dict[str, list]:
        try:
            content = read_sealed(self._file)
        except OSError:
            return {}
        return content["files"] if content else {}


def _state(table: CropTable, row: int) -> list[int] | None:
    """Size, time of the content and time of the entry in nanoseconds; ``None`` for a file that is not there."""
    try:
        found = os.stat(os.path.join(table.root, table.paths[row]))
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _digest(table: CropTable, row: int) -> bytes:
    if not is_unicode(table.paths[row]):
        return NO_DIGEST
    try:
        return bytes.fromhex(file_digest(table.file(row)))
    except UnreadableImage:
        return NO_DIGEST
