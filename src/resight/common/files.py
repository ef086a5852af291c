"""Writing files so that a reader finds the old content or the new, and never half of either."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resight.errors import ResightError


class CannotWrite(ResightError, OSError):  # noqa: N818 (a state of the disk)
    """A file could not be written. The message names the file, the system's reason and what to do.

    Attributes:
        run: The run folder to go on with, if there is one.
    """

    run: Path | None = None


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turns what goes wrong while a file is written into a sentence.

    Args:
        file: The file or folder, for the sentence.

    Raises:
        CannotWrite: the system refused to write. An error of another kind passes unchanged.
    """
    try:
        yield
    except CannotWrite:
        raise
    except (OSError, RuntimeError) as error:
        cause = _system_error(error)
        if cause is None:
            raise
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        raise CannotWrite(f"{file} could not be written: {reason}. {_advice(cause, file)}") from error


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind an error: ``torch.save`` raises a RuntimeError while it handles one."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _advice(cause: OSError, file: Path) -> str:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space on that disk."
    if cause.errno == errno.EFBIG:
        return "Raise the limit on the size of files (ulimit -f)."
    return f"Check that {file.parent} is a folder that you may write to, or choose another place."


def write_aside(file: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Writes a file under a temporary name beside it, flushes it to disk and renames it.

    Whatever happens in between, ``file`` keeps its old content, and the temporary file is removed.

    Args:
        file: The file to make or to replace.
        write: Called with the temporary path, which has the same ending as ``file``; writes the content there.
        sync: Whether the file is flushed to disk before it is renamed. That takes milliseconds per file. Without it,
            a power failure may leave an empty file; a program that is stopped leaves none.

    Raises:
        CannotWrite: the disk is full, or the folder may not be written to.
    """
    aside = file.with_name(f".{file.stem}.part{file.suffix}")
    with writing(file):
        try:
            write(aside)
            if sync:
                with aside.open("rb+") as stream:
                    os.fsync(stream.fileno())
            os.replace(aside, file)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def append_line(file: Path, line: str) -> None:
    """Adds a line to a file and flushes it to disk. If that fails, the file is cut back to what it was.

    Raises:
        CannotWrite: the disk is full, or the file may not be written to.
    """
    before = file.stat().st_size if file.exists() else None
    with writing(file):
        try:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            if before is None:
                file.unlink(missing_ok=True)
            else:
                os.truncate(file, before)
            raise


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; one that is there stays as it is.

    Raises:
        CannotWrite: the folder cannot be made, or a file has its name.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
