"""The ``resight`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command; an error a user can mend is one sentence and exit status 2, never a traceback."""
    from resight.cli.app import app
    from resight.errors import ResightError

    try:
        app()
    except ResightError as error:
        print(f"resight: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A full disk, a folder without permission: the system's own words name the file.
        print(f"resight: {error}. Check the path, its permissions and the space on the disk.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "\nresight: stopped. A training run goes on from its last whole epoch with --resume, "
            "a synthetic world when it is asked for again.",
            file=sys.stderr,
        )
        sys.exit(130)
