"""The exception that a user reads."""

from __future__ import annotations


class ResightError(Exception):
    """Something the user can mend: bad input, an impossible setting, a broken file.

    The message is a sentence that names what was wrong, in which file or value, and what to do.
    The command line prints it without a traceback and exits with status 2.
    """
