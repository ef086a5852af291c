"""Listing image files, in the same order on every file system."""

from __future__ import annotations

import os
from pathlib import Path

from resight.errors import ResightError

#: Endings of image files, in lower case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
#: Folders that archives and network drives leave behind.
_CLUTTER = {"__MACOSX", "@eaDir"}


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image: a known suffix, and not hidden."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def list_images(folder: Path) -> list[str]:
    """Images in and below a folder: paths relative to it, with forward slashes, in text order.

    Hidden files, hidden folders and files that are not images are left out.
    """
    found: list[str] = []
    pending = [(folder, "")]
    while pending:
        place, prefix = pending.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir():
                    if not _is_clutter(entry.name):
                        pending.append((place / entry.name, f"{prefix}{entry.name}/"))
                elif is_image_name(entry.name):
                    found.append(prefix + entry.name)
    return sorted(found)


def list_folders(folder: Path) -> list[str]:
    """Names of the folders directly in a folder, in text order, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _is_clutter(entry.name))


def stem(path: str) -> str:
    """The file name of a listed path, without its suffix."""
    return path.rpartition("/")[2].rpartition(".")[0]


def require_folder(path: Path) -> None:
    """Raises a sentence if a path is missing or not a folder."""
    if not path.exists():
        raise ResightError(f"There is no folder {path}: check the path to the crops.")
    if not path.is_dir():
        raise ResightError(f"{path} is a file, but this format is read from a folder: give the folder of the crops.")


def require_images(paths: list[str], folder: Path) -> None:
    """Raises a sentence if a folder has no image."""
    if not paths:
        raise ResightError(
            f"{folder} holds no image: crops are files ending in {' '.join(s[1:] for s in IMAGE_SUFFIXES)}."
        )


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name in _CLUTTER
