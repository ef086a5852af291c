"""Search by embedding: in this process, or in Milvus. An index can always be made anew from the truth."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from resight.gallery.mirror import Filters, Mirror


class SearchIndex(Protocol):
    """What ranks sightings."""

    def search(
        self, queries: np.ndarray, k: int, filters: Filters, without: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k most similar sightings of each query.

        Args:
            queries: ``(Q, D)`` float32.
            k: Sightings per query; fewer are returned if fewer pass the filters.
            filters: Which sightings to rank.
            without: Ids of sightings that are not ranked.

        Returns:
            For each query ids, int64, and cosine similarities, float64, the most similar first.
        """
        ...

    def describe(self) -> dict[str, object]:
        """Plain facts about the index, for ``gallery info``."""
        ...


class EmbeddedIndex:
    """Exact search in this process.

    Args:
        mirror: The sightings in memory.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def search(
        self, queries: np.ndarray, k: int, filters: Filters, without: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        mirror = self._mirror
        mirror.refresh()
        keep = mirror.mask(filters)
        if len(without):
            keep = np.ones(len(mirror), bool) if keep is None else keep
            places = mirror.places(without)
            keep[places[places >= 0]] = False
        return [(mirror.ids[places], cosine) for places, cosine in mirror.vectors.search(queries, k, keep)]

    def describe(self) -> dict[str, object]:
        self._mirror.refresh()
        return {"kind": "embedded", "sightings": len(self._mirror), "bytes_in_memory": self._mirror.vectors.bytes}
