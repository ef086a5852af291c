"""Nearest neighbours of L2-normalised features: exact, or approximate for many crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from resight.clustering.search.rows import UnitRows, unit_rows
from resight.common.checks import flag, number, one_of, whole
from resight.common.devices import resolve_device
from resight.common.memory import room_for
from resight.common.processes import current
from resight.errors import ResightError

Search = Literal["auto", "exact", "approximate"]

#: Number of crops from which on processes that train together share a search.
SHARED_FROM = 2_000
#: Number of crops above which ``search="auto"`` is approximate on a CPU; on a GPU it is ten times as many.
APPROXIMATE_ABOVE = 150_000


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of every crop.

    Attributes:
        indices: ``(N, k)`` int32. Row i holds crop i first, then the other crops, nearest first and ties by index.
        distances: ``(N, k)`` float32 squared Euclidean distances of the L2-normalised features.
        features: The L2-normalised features. The Jaccard distance needs them for set members that are not among the k
            neighbours.
        furthest: ``(N,)`` float32 squared distance of each crop to the crop farthest from it, or ``None``.
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
        """Number of neighbours per crop, the crop itself counted."""
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
    """Finds the k nearest neighbours of every crop, the crop itself first.

    The distance is the squared Euclidean distance of L2-normalised features: a float64 sum over the float32 numbers,
    rounded to float32. The exact search computes approximate similarities, in bfloat16 where the processor is fast at
    it, keeps every crop that the error bound of the similarities allows, and sorts these crops by distance. Its result
    does not depend on the number of threads or on ``memory``. The approximate search does the same with the crops in
    the nearest cells of an inverted file (Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search",
    TPAMI 2011). Processes that train together each search for a share of the crops, and all get the whole result.

    Args:
        features: ``(N, D)`` array or memory map of numbers, which may be larger than the memory; L2-normalised here. Or
            :class:`~resight.clustering.UnitRows`.
        k: Neighbours per crop, the crop itself counted, at least 1; clipped to N.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find, above 0 and at most 1.
        furthest: Whether to find the largest distance of each crop as well; needs an exact search.
        device: Device of PyTorch that searches exactly, such as ``"cuda"``; ``None`` and ``"cpu"`` are the CPU.
        memory: Bytes that normalised features, results and candidates may each take in memory. Features that need more
            are read from their array as needed, results lie in an unnamed temporary file (``TMPDIR`` chooses its
            folder), and candidates are processed in parts. By default a third, or for candidates a quarter, of the
            memory that is available.

    Returns:
        The neighbours of every crop.

    Raises:
        ResightError: An argument is out of range, or the features are empty, not two-dimensional, not finite or have a
            row of zeros.
    """
    k = whole("The number of neighbours k", k)
    one_of("clustering.search", search, ("auto", "exact", "approximate"))
    recall = number("clustering.recall", recall, above=0, most=1)
    memory = None if memory is None else whole("memory, in bytes,", memory, least=0)
    if device is not None and str(device) != "cpu":
        device = resolve_device(device)
    if flag("furthest", furthest) and search == "approximate":
        raise ResightError("The furthest crops need an exact search: set search to exact, or leave furthest out.")
    from resight.clustering.search.exact import search_exact
    from resight.clustering.search.products import Products

    rows = unit_rows(features, memory=memory)
    k = min(k, len(rows))
    indices = room_for((len(rows), k), np.int32, memory=memory)
    distances = room_for((len(rows), k), np.float32, memory=memory)
    far = np.empty(len(rows), np.float32) if furthest else None
    on_device = device is not None and str(device).split(":")[0] != "cpu"
    limit = APPROXIMATE_ABOVE * (10 if on_device else 1)
    processes = current()
    shared = processes.count > 1 and len(rows) >= SHARED_FROM
    part = processes.share(len(rows)) if shared else slice(0, len(rows))

    def complete() -> None:
        """Fills in what other processes found."""
        if shared:
            for found in (indices, distances, *([] if far is None else [far])):
                processes.fill(found, processes.shares(len(rows)))

    if search == "approximate" or (search == "auto" and not furthest and len(rows) > limit):
        from resight.clustering.search.inverted import search_approximate

        found = search_approximate(rows, indices, distances, recall=recall, memory=memory, part=part, complete=complete)
        return Neighbours(indices, distances, rows, recall=found["recall"])
    if on_device:
        import torch

        from resight.clustering.search.device import search_on_device

        search_on_device(rows, indices, distances, far, torch.device(device), part=part)
    else:
        search_exact(rows, Products(rows), indices, distances, far, memory=memory, part=part)
    complete()
    return Neighbours(indices, distances, rows, far)
