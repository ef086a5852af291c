"""Nearest neighbours of L2-normalised features: exact, or approximate for very many crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from resight.clustering.search.rows import UnitRows, unit_rows
from resight.common.memory import room_for
from resight.errors import ResightError

Search = Literal["auto", "exact", "approximate"]

#: More crops than this are searched approximately on a CPU, and ten times as many on a GPU, unless told otherwise.
APPROXIMATE_ABOVE = 150_000


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of every crop.

    Attributes:
        indices: ``(N, k)`` int32. Row i holds i itself first, then the others, nearest first; ties by index.
        distances: ``(N, k)`` float32 squared Euclidean distances of the L2-normalised features.
        features: The L2-normalised features the distances belong to. The Jaccard distance
            needs them for members of the expanded sets that are not among the k neighbours.
        furthest: ``(N,)`` float32 largest squared distance of each row, where it was asked for.
        recall: Share of the true neighbours found, measured on a sample; ``None`` after an exact search.
    """

    indices: np.ndarray
    distances: np.ndarray
    features: UnitRows | None = None
    furthest: np.ndarray | None = None
    recall: float | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        """Number of neighbours a row, the crop itself included."""
        return int(self.indices.shape[1])


def nearest_neighbours(
    features: Any,
    k: int,
    *,
    search: Search = "auto",
    recall: float = 0.95,
    furthest: bool = False,
    device: Any = None,
    memory: int | None = None,
) -> Neighbours:
    """Find the k nearest neighbours of every row, the row itself included and first.

    The exact search looks at approximate similarities (bfloat16 products where the processor is quick at them), keeps
    all crops that the products' worst error does not rule out, and orders these by exact distance: the float64 sum of
    squared differences of the float32 unit rows, rounded to float32. Neither the number of threads nor the memory
    given changes its result. The approximate search does the same with the crops of the nearest cells of an inverted
    file (:mod:`resight.clustering.search.inverted`).

    Args:
        features: ``(N, D)`` array or memory map of numbers (float16, float32, …), which may be larger than the memory;
            L2-normalised here.
        k: Neighbours a row, the row itself included; clipped to N.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that the approximate search aims to find, above 0 and at most 1.
        furthest: Also find the largest distance of each row; not with an approximate search.
        device: Where to search exactly, as torch names it (``"cuda"``); ``None`` and ``"cpu"`` are the CPU.
        memory: Bytes that features and candidates may take each before they are read from disk or done in parts; by
            default, shares of what is available.

    Returns:
        Neighbours of all rows. Results that do not fit in memory lie in an unnamed temporary file (``TMPDIR`` says
        where).

    Raises:
        ResightError: A setting is out of range, or the features are not usable (see
            :func:`resight.clustering.unit_rows`).
    """
    if k < 1:
        raise ResightError(f"The number of neighbours k must be at least 1, got {k}.")
    if search not in ("auto", "exact", "approximate"):
        raise ResightError(f"clustering.search must be auto, exact or approximate, got '{search}'.")
    if not 0 < recall <= 1:
        raise ResightError(f"clustering.recall must be above 0 and at most 1, got {recall}.")
    if furthest and search == "approximate":
        raise ResightError("The furthest crops need an exact search: set search to exact, or leave furthest out.")
    from resight.clustering.search.exact import search_exact
    from resight.clustering.search.products import Products

    rows = unit_rows(features, memory=memory)
    k = min(int(k), len(rows))
    indices = room_for((len(rows), k), np.int32, memory=memory)
    distances = room_for((len(rows), k), np.float32, memory=memory)
    far = np.empty(len(rows), np.float32) if furthest else None
    on_device = device is not None and str(device).split(":")[0] != "cpu"
    limit = APPROXIMATE_ABOVE * (10 if on_device else 1)
    if search == "approximate" or (search == "auto" and not furthest and len(rows) > limit):
        from resight.clustering.search.inverted import search_approximate

        found = search_approximate(rows, indices, distances, recall=recall, memory=memory)
        return Neighbours(indices, distances, rows, recall=found["recall"])
    if on_device:
        import torch

        from resight.clustering.search.device import search_on_device

        search_on_device(rows, indices, distances, far, torch.device(device))
    else:
        search_exact(rows, Products(rows), indices, distances, far, memory=memory)
    return Neighbours(indices, distances, rows, far)
