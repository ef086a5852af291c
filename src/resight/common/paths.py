"""Paths as they are given: checked without loading numpy, so that a command can begin at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from resight.errors import ResightError

_LONGEST_NAME = 255  # bytes, in the file systems of Linux, macOS and Windows


def shown(value: object, length: int = 80) -> str:
    """A value as it is written in Python, on one line, cut to a length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= length else f"{text[:length]}…"


def as_path(name: str, value: Any) -> Path:
    """A path that a file can have.

    Args:
        name: What it is called in the sentence.
        value: Text or a path.

    Raises:
        ResightError: it is neither, it is empty, or no file can have this name.
    """
    if not isinstance(value, str | Path):
        raise ResightError(f"{name} must be a path, got {shown(value)}.")
    if str(value) == "":
        raise ResightError(f"{name} is empty: give a path, or '.' for the folder that you are in.")
    if "\0" in str(value) or any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(value).parts):
        raise ResightError(f"{name} is {shown(str(value))}, which no file can be called: give another path.")
    return Path(value)
