"""The gallery: a store of sightings that is searched, grouped into identities, reviewed and forgotten."""

from __future__ import annotations

from resight.errors import ResightError

try:
    import sqlalchemy  # noqa: F401
except ModuleNotFoundError as error:
    raise ResightError(
        "Galleries need the package SQLAlchemy: pip install --constraint constraints.txt '.[gallery]'."
    ) from error

from resight.gallery.core import Gallery

__all__ = ["Gallery"]
