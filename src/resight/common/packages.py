"""The packages of the extra ``ingest`` (videos), imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from resight.errors import ResightError

INSTALL = "pip install --constraint constraints.txt '.[ingest]'"


def package(name: str) -> Any:
    """Imports a package of the extra.

    Args:
        name: The module, such as ``av`` or ``cv2``.

    Raises:
        ResightError: it is not installed, or a library of the system that it needs is missing.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ResightError(f"Videos need the package {error.name}: {INSTALL}.") from error
    except ImportError as error:  # libGL.so.1 of opencv-python on a server without a screen
        raise ResightError(
            f"The package {name} cannot be loaded: {error}. On a server without a screen install the system's package "
            "libgl1, or exchange opencv-python for the same version of opencv-python-headless."
        ) from error
