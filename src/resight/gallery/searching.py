"""Queries and what is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.errors import ResightError
from resight.gallery.schema import IDENTITY, SIGHTING
from resight.gallery.store import in_parts

#: Weight of the mean of "not this one" examples, subtracted from the mean of the query's images.
AWAY = 0.3
#: Sightings that are re-ranked: at least this many, or this many times k.
_POOL, _POOL_PER_K = 1000, 5


@dataclass(frozen=True)
class Hit:
    """A sighting that was found.

    Attributes:
        sighting: Its id.
        similarity: Cosine similarity to the query, -1 to 1.
        identity: Its identity, if it has one.
        name: The name of that identity, if it has one.
        camera: The camera, if known.
        time: The time, if known.
        track: The track, if known.
        box: Left, top, width and height in the frame, if known.
        source: The file that the crop was read from.
        quality: How well it can be recognised, 0 to 1, if known.
        thumbnail: The key of its thumbnail, if it has one.
        distance: The distance after re-ranking, if there was any; hits are then in its order.
    """

    sighting: int
    similarity: float
    identity: int | None
    name: str | None
    camera: str | None
    time: float | None
    track: str | None
    box: list[float] | None
    source: str
    quality: float | None
    thumbnail: str | None
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The hit as plain values."""
        return asdict(self)


def query_vector(like: np.ndarray, unlike: np.ndarray) -> np.ndarray:
    """One query from several images of one identity and from "not this one" examples.

    The mean of the images, minus :data:`AWAY` times the mean of the examples (Rocchio, "Relevance feedback in
    information retrieval", 1971).

    Args:
        like: ``(n, D)`` rows of length 1, at least one.
        unlike: ``(m, D)`` rows of length 1.

    Returns:
        ``(D,)`` float32 of length 1.

    Raises:
        ResightError: the images and the examples cancel each other.
    """
    vector = like.mean(axis=0, dtype=np.float64)
    if len(unlike):
        vector = vector - AWAY * unlike.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise ResightError("The images of the query and its 'not this one' examples cancel each other: leave some out.")
    return (vector / length).astype(np.float32)


def pool_size(k: int) -> int:
    """How many of the most similar sightings are re-ranked for k results."""
    return max(_POOL, _POOL_PER_K * k)


def rerank(query: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """``(n,)`` distances of candidates after k-reciprocal re-ranking among query and candidates.

    Args:
        query: ``(D,)`` float32.
        candidates: ``(n, D)`` float32.
    """
    from resight.evaluation import rerank_distances

    return rerank_distances(query[None], candidates)[0]


_COLUMNS = ("id", "identity", "camera", "time", "track", "box", "source", "quality", "thumbnail")


def describe(
    connection: Connection,
    sightings: Sequence[int],
    similarity: Sequence[float],
    distance: Sequence[float] | None = None,
) -> list[Hit]:
    """Hits with all that is known of the sightings; those deleted meanwhile are left out."""
    columns = [getattr(SIGHTING.c, name) for name in _COLUMNS]
    rows: dict[int, Any] = {}
    for part in in_parts(sightings):
        found = connection.execute(
            sa.select(*columns, IDENTITY.c.name)
            .select_from(SIGHTING.outerjoin(IDENTITY, SIGHTING.c.identity == IDENTITY.c.id))
            .where(SIGHTING.c.id.in_(part))
        )
        rows |= {row.id: row for row in found}
    return [
        Hit(
            sighting,
            float(similarity[place]),
            row.identity,
            row.name,
            row.camera,
            row.time,
            row.track,
            None if row.box is None else json.loads(row.box),
            row.source,
            row.quality,
            row.thumbnail,
            None if distance is None else float(distance[place]),
        )
        for place, sighting in enumerate(sightings)
        if (row := rows.get(sighting)) is not None
    ]
