"""The ``resight`` command."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resight.common.signals import Stopped


def main() -> None:
    """Runs the command. An error that the user can mend is printed as a sentence, with exit status 2.

    Ctrl-C, SIGTERM and SIGHUP end it with a line that says what is saved, and exit status 130, 143 or 129.
    """
    from resight.common.signals import stopped_by_signals

    for stream in (sys.stdout, sys.stderr):  # a file's name may have signs that the terminal has not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # such images are named among the unreadable ones
    with stopped_by_signals() as stopped:
        try:
            from resight.cli.app import app

            app()
        except BaseException as error:
            # an error that a stop led to, such as a terminal that is gone, is not what happened
            stop = stopped()
            sentences, status = _explain_stop(stop) if stop else _explain(error)
            if not sentences:
                raise
            sentences = _of_process(sentences)
            with contextlib.suppress(OSError):
                print(*sentences, sep="\n", file=sys.stderr, flush=True)
            sys.exit(status)


def _of_process(sentences: list[str]) -> list[str]:
    """Sentences with the number of the process that says them, where a launcher started several."""
    from resight.common.processes import launched_rank

    rank = launched_rank()
    return [f"Process {rank}: {sentence}" for sentence in sentences] if rank else sentences


def _explain(error: BaseException) -> tuple[list[str], int]:
    """What to print of an error, and the exit status; nothing for an error that is not the user's to mend."""
    from resight.errors import ResightError

    if isinstance(error, ResightError):
        run = getattr(error, "run", None)
        again = _command_to_go_on(run) if run else ""
        return [f"resight: {error}", *([f"Then go on{_where()} with: {again}"] if again else [])], 2
    if isinstance(error, MemoryError | RuntimeError | OSError):
        from resight.common.memory import is_out_of_memory

        if is_out_of_memory(error):
            device = ", or choose --device cpu" if "CUDA" in str(error) else ""
            return [f"resight: There is not enough memory: close other programs, give fewer crops{device}."], 2
    if isinstance(error, OSError):
        # a file that may not be read: the system's message names it
        return [f"resight: {error}. Check the path, its permissions and the space on the disk."], 2
    return [], 1


def _explain_stop(stop: Stopped) -> tuple[list[str], int]:
    again = _command_to_go_on(stop.run)
    below = [""] if sys.stderr.isatty() else []  # a terminal has ^C on this line
    sentence = f"resight: Stopped by {stop.signal.name}. {stop.standing}".strip()
    return [*below, sentence, *([f"Go on{_where()} with: {again}"] if again else [])], 128 + stop.signal


def _where() -> str:
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    return ", in all processes as before," if several else ""


def _command_to_go_on(run: Path | None) -> str:
    """The command that goes on with what was stopped; empty if there is nothing to go on with."""
    words = sys.argv[1:]
    if run is not None and words[0] == "train":
        added = [] if any(word.partition("=")[0] == "--out" for word in words) else ["--out", str(run)]
        added += [] if "--resume" in words else ["--resume"]
        words = [word for word in words if word != "--overwrite"]
        end = words.index("--") if "--" in words else len(words)  # no options behind this
        words[end:end] = added
    elif words[:1] not in (["demo"], ["synth"]):
        return ""
    program = ["resight"] if Path(sys.argv[0]).stem == "resight" else ["python", "-m", "resight"]
    return (subprocess.list2cmdline if sys.platform == "win32" else shlex.join)([*program, *words])
