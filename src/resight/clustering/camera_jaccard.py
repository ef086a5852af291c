"""Camera-aware Jaccard distance (CA-Jaccard), as a sparse matrix.

Chen, Fan, Chen, Liu, Xie and Li, "CA-Jaccard: Camera-aware Jaccard Distance for Person Re-identification", CVPR 2024,
https://arxiv.org/abs/2311.10605. Neighbours are searched twice: among the crops of the same camera, and among the crops
of all other cameras. So crops of one camera, which look alike for that reason alone, cannot fill a crop's whole list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.clustering.cameras import camera_groups
from resight.clustering.jaccard import distances_of_weights, join_rows, rows_per_chunk
from resight.clustering.search import Search, UnitRows, nearest_neighbours, unit_rows
from resight.common.checks import as_array, instance, number, whole
from resight.common.memory import available_memory
from resight.errors import ResightError

#: With fewer cameras the distance is known to fail: lists across cameras are those of a single other camera.
LEAST_CAMERAS = 3
_TILE = 1 << 24  # similarities computed at once
_WIDER = 6  # how many times longer the lists of all cameras are than those across cameras


@dataclass(frozen=True, eq=False)
class CameraNeighbours:
    """The nearest neighbours of every crop within its camera and across cameras.

    Attributes:
        within: ``(N, k + 1)`` int32: the crop itself, then the nearest crops of its camera, nearest first; -1 where the
            camera has no more crops.
        within_distances: ``(N, k + 1)`` float32 squared Euclidean distances of the L2-normalised features.
        across: ``(N, l + 1)`` int32: the nearest crops of all other cameras, nearest first; -1 where there are no more.
        across_distances: ``(N, l + 1)`` float32 squared distances.
        recall: Share of the true neighbours that an approximate search among all cameras found, measured on a sample;
            ``None`` if it was exact.
    """

    within: np.ndarray
    within_distances: np.ndarray
    across: np.ndarray
    across_distances: np.ndarray
    recall: float | None = None

    def __len__(self) -> int:
        return len(self.within)


def camera_neighbours(
    features: Any,
    camera: Any,
    *,
    intra_k1: int = 5,
    inter_k1: int = 20,
    search: Search = "auto",
    recall: float = 0.95,
    device: Any = None,
) -> CameraNeighbours:
    """Finds the neighbours of every crop within its camera and across cameras.

    One search for the ``6 · (inter_k1 + 1)`` nearest crops of all cameras fills both lists of most crops. Where a list
    stays short, the crop is compared with all crops of its camera, or of the others, by tiles of float32 similarities;
    candidates are then sorted by exact distance. So the lists are exact if the search is.

    Args:
        features: ``(N, D)`` array or memory map, L2-normalised here, or :class:`~resight.clustering.UnitRows`.
        camera: ``(N,)`` camera of each crop.
        intra_k1: Neighbours within the camera, the crop itself not counted.
        inter_k1: Neighbours across cameras, less one: the paper's code keeps ``inter_k1 + 1`` there, too.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find.
        device: Device of PyTorch that searches, such as ``"cuda"``; ``None`` is the CPU.

    Returns:
        Both lists of every crop.

    Raises:
        ResightError: An argument is out of range, there is not one camera per crop, or the features are not usable.
    """
    from resight.clustering import _camera_kernels as kernels

    intra_k1, inter_k1 = whole("clustering.intra_k1", intra_k1), whole("clustering.inter_k1", inter_k1)
    rows = unit_rows(features)
    group = np.ascontiguousarray(camera_groups(camera, len(rows)), np.int32)
    size, members = len(rows), np.bincount(group)
    within = np.full((size, min(intra_k1 + 1, size)), -1, np.int32)
    across = np.full((size, min(inter_k1 + 1, size)), -1, np.int32)
    within_distances, across_distances = (np.full(lists.shape, np.inf, np.float32) for lists in (within, across))
    wide = nearest_neighbours(rows, min(size, _WIDER * (inter_k1 + 1)), search=search, recall=recall, device=device)
    own, others = kernels.divide(
        wide.indices, wide.distances, group, within, within_distances, across, across_distances
    )
    found = wide.recall
    del wide
    short = np.flatnonzero(own < np.minimum(within.shape[1], members[group]))
    _fill_up(rows, group, short, within, within_distances, same=True)
    short = np.flatnonzero(others < np.minimum(across.shape[1], size - members[group]))
    _fill_up(rows, group, short, across, across_distances, same=False)
    return CameraNeighbours(within, within_distances, across, across_distances, found)


def _fill_up(
    rows: UnitRows, group: np.ndarray, wanted: np.ndarray, indices: np.ndarray, distances: np.ndarray, *, same: bool
) -> None:
    """Writes the exact lists of the crops ``wanted``, among their camera's crops or those of all others."""
    import torch

    from resight.clustering import _camera_kernels as kernels
    from resight.common.kernels import run_rows

    size, first = len(rows), int(same)  # a crop leads the list of its camera
    step = int(max(1, min(1024, _TILE // size, available_memory() // (16 * size))))
    for camera_ in np.unique(group[wanted]):
        asking = wanted[group[wanted] == camera_].astype(np.int32)
        others = np.flatnonzero((group == camera_) == same).astype(np.int32)
        k = min(indices.shape[1], len(others)) - first
        if first:
            indices[asking, 0], distances[asking, 0] = asking, 0
        if k < 1:
            continue
        theirs = torch.from_numpy(np.ascontiguousarray(rows.take(others)))
        # float32 similarities are off by about 1e-6: a few spare candidates, then exact distances decide
        spare = min(len(others) - first, k + 8)
        for start_ in range(0, len(asking), step):
            some = asking[start_ : start_ + step]
            tile = torch.from_numpy(np.ascontiguousarray(rows.take(some))) @ theirs.T
            if same:
                tile[torch.arange(len(some)), torch.from_numpy(np.searchsorted(others, some))] = -torch.inf
            top = others[tile.topk(spare, dim=1).indices.numpy()]

            def work(start: int, stop: int, some: np.ndarray = some, top: np.ndarray = top, k: int = k) -> None:
                kernels.sort_candidates(rows.data, rows.norm, some, top, first, k, indices, distances, start, stop)

            run_rows(work, len(some), chunk=64)


def camera_jaccard(
    neighbours: Any, *, intra_k2: int = 2, inter_k2: int = 4, max_distance: float = 1.0
) -> sp.csr_matrix:
    """Camera-aware Jaccard distance of crops (Chen et al., CVPR 2024, section 3).

    R(i) holds the j of i's camera that have each other among their nearest within the camera, and the j of other
    cameras that have each other among their nearest across cameras. V_ij is ``exp(-squared distance)`` for j in R(i),
    divided by the row's sum; R(i) holds i itself. Then each row of V is replaced by the mean of the rows of the first
    ``intra_k2`` crops within the camera, i included, and the first ``inter_k2`` across cameras. The distance of two
    rows is that of :func:`~resight.clustering.jaccard_distance`.

    Args:
        neighbours: :class:`CameraNeighbours`, from :func:`camera_neighbours`.
        intra_k2: Crops within the camera whose rows of V are averaged, the crop itself counted; at least 1.
        inter_k2: Crops of other cameras whose rows of V are averaged; 0 takes none.
        max_distance: Pairs farther apart are not stored.

    Returns:
        ``(N, N)`` symmetric float32 CSR matrix, as :func:`~resight.clustering.jaccard_distance` gives it.

    Raises:
        ResightError: An argument is out of range, or ``neighbours`` is of another kind.
    """
    max_distance = number("max_distance of the Jaccard distance", max_distance, least=0)
    return distances_of_weights(camera_weights(neighbours, intra_k2=intra_k2, inter_k2=inter_k2), max_distance)


def camera_weights(neighbours: Any, *, intra_k2: int = 2, inter_k2: int = 4) -> sp.csr_matrix:
    """V of :func:`camera_jaccard`: ``(N, N)`` float64 CSR matrix whose rows sum to 1."""
    from resight.clustering import _camera_kernels as kernels
    from resight.clustering._kernels import mean_rows
    from resight.common.kernels import map_rows

    found = instance("neighbours", neighbours, CameraNeighbours, "camera_neighbours makes them")
    intra_k2, inter_k2 = whole("clustering.intra_k2", intra_k2), whole("clustering.inter_k2", inter_k2, least=0)
    lists = [
        np.ascontiguousarray(as_array("Lists of neighbours", values), kind)
        for values, kind in (
            (found.within, np.int32), (found.within_distances, np.float32),
            (found.across, np.int32), (found.across_distances, np.float32),
        )
    ]  # fmt: skip
    size = len(lists[0]) if lists[0].ndim else 0
    whole_lists = all(values.ndim == 2 and len(values) == size and values.size for values in lists)
    if (
        not whole_lists
        or lists[0].shape != lists[1].shape
        or lists[2].shape != lists[3].shape
        or not all(-1 <= values.min() <= values.max() < size for values in lists[::2])
        or not all(values.min() >= 0 for values in lists[1::2])
        or not (lists[0][:, 0] == np.arange(size)).all()
    ):
        raise ResightError("These are no lists of neighbours within and across cameras: camera_neighbours makes them.")
    chunk = rows_per_chunk(size)
    weights = join_rows(map_rows(lambda start, stop: kernels.weights(*lists, start, stop), size, chunk=chunk), size)
    starts, columns, values = weights.indptr, weights.indices, weights.data
    within, across = min(intra_k2, lists[0].shape[1]), min(inter_k2, lists[2].shape[1])

    def average(start: int, stop: int) -> Any:
        return mean_rows(starts, columns, values, lists[0], within, lists[2], across, start, stop)

    return join_rows(map_rows(average, size, chunk=chunk), size)
