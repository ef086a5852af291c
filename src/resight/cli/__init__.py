"""The ``resight`` command."""

from __future__ import annotations

import io
import sys
import warnings


def main() -> None:
    """Runs the command. An error that the user can mend is printed as one sentence, with exit status 2."""
    for stream in (sys.stdout, sys.stderr):  # a file's name may have signs that the terminal has not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # such images are named among the unreadable ones
    from resight.cli.app import app
    from resight.errors import ResightError

    try:
        app()
    except ResightError as error:
        print(f"resight: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A full disk, a folder without permission: the system's message names the file.
        print(f"resight: {error}. Check the path, its permissions and the space on the disk.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "\nresight: stopped. A training run goes on from its last whole epoch with --resume, "
            "a synthetic world with the same command.",
            file=sys.stderr,
        )
        sys.exit(130)
