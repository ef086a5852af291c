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

from resight.clustering.jaccard import distances_of_weights, join_rows, rows_per_chunk
from resight.clustering.search import Search, UnitRows, nearest_neighbours, unit_rows
from resight.common.checks import as_array, instance, number, one_of, whole
from resight.common.memory import available_memory
from resight.errors import ResightError

#: With fewer cameras the distance is known to fail: lists across cameras are those of a single other camera.
LEAST_CAMERAS = 3
_TILE = 1 << 24  # similarities computed at once


@dataclass(frozen=True, eq=False)
class CameraNeighbours:
    """The nearest neighbours of every crop within its camera and across cameras.

    Attributes:
        within: ``(N, k + 1)`` int32: the crop itself, then the nearest crops of its camera, nearest first; -1 where the
            camera has no more crops.
        within_distances: ``(N, k + 1)`` float32 squared Euclidean distances of the L2-normalised features.
        across: ``(N, l + 1)`` int32: the nearest crops of all other cameras, nearest first; -1 where there are no more.
        across_distances: ``(N, l + 1)`` float32 squared distances.
        recall: Smallest share of the true neighbours that an approximate search found in one of the lists, measured on
            samples; ``None`` if all searches were exact.
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

    Within cameras, each camera is searched as a set by itself. Across cameras, an exact search compares each camera's
    crops with all crops of the other cameras, by tiles of float32 similarities; candidates are then sorted by exact
    distance. An approximate search takes the ``8 · inter_k1`` nearest crops of all cameras, drops those of the same
    camera, and searches exactly for crops that are left with too few.

    Args:
        features: ``(N, D)`` array or memory map, L2-normalised here, or :class:`~resight.clustering.UnitRows`.
        camera: ``(N,)`` camera of each crop.
        intra_k1: Neighbours within the camera, the crop itself not counted.
        inter_k1: Neighbours across cameras, less one: the paper's code keeps ``inter_k1 + 1`` there, too.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops.
        recall: Share of the true neighbours that an approximate search aims to find.
        device: Device of PyTorch that searches within cameras, such as ``"cuda"``; ``None`` is the CPU.

    Returns:
        Both lists of every crop.

    Raises:
        ResightError: An argument is out of range, there is not one camera per crop, or the features are not usable.
    """
    from resight.clustering.labels import camera_groups
    from resight.clustering.search.neighbours import APPROXIMATE_ABOVE

    intra_k1, inter_k1 = whole("clustering.intra_k1", intra_k1), whole("clustering.inter_k1", inter_k1)
    one_of("clustering.search", search, ("auto", "exact", "approximate"))
    rows = unit_rows(features)
    group = np.ascontiguousarray(camera_groups(camera, len(rows)), np.int32)
    size = len(rows)
    within = np.full((size, min(intra_k1 + 1, size)), -1, np.int32)
    within_distances = np.full(within.shape, np.inf, np.float32)
    shares = []
    for number_ in range(int(group.max()) + 1):
        members = np.flatnonzero(group == number_).astype(np.int32)
        norm = None if rows.norm is None else rows.norm[members]
        found = nearest_neighbours(
            UnitRows(rows.data[members], norm), within.shape[1], search=search, recall=recall, device=device
        )
        within[members, : found.k] = members[found.indices]
        within_distances[members, : found.k] = found.distances
        shares += [] if found.recall is None else [found.recall]
    across = np.full((size, min(inter_k1 + 1, size)), -1, np.int32)
    across_distances = np.full(across.shape, np.inf, np.float32)
    if search == "approximate" or (search == "auto" and size > APPROXIMATE_ABOVE):
        from resight.clustering import _camera_kernels as kernels

        wide = nearest_neighbours(rows, 8 * inter_k1, search="approximate", recall=recall)
        shares += [] if wide.recall is None else [wide.recall]
        filled = kernels.other_cameras(wide.indices, wide.distances, group, across, across_distances)
        del wide
        wanted = np.flatnonzero(filled < np.minimum(across.shape[1], size - np.bincount(group)[group]))
    else:
        wanted = np.arange(size)
    _search_across(rows, group, wanted.astype(np.int32), across, across_distances)
    return CameraNeighbours(within, within_distances, across, across_distances, min(shares) if shares else None)


def _search_across(
    rows: UnitRows, group: np.ndarray, wanted: np.ndarray, indices: np.ndarray, distances: np.ndarray
) -> None:
    """Writes the exact neighbours across cameras of the crops ``wanted``, by tiles of float32 similarities."""
    import torch

    from resight.clustering import _camera_kernels as kernels
    from resight.common.kernels import run_rows

    size, width = len(rows), indices.shape[1]
    step = int(max(1, min(1024, _TILE // size, available_memory() // (16 * size))))
    for number_ in range(int(group.max()) + 1):
        asking = wanted[group[wanted] == number_]
        others = np.flatnonzero(group != number_).astype(np.int32)
        k = min(width, len(others))
        if not len(asking) or not k:
            continue
        theirs = rows.take(others)
        # float32 similarities are off by about 1e-6: a few spare candidates, then exact distances decide
        spare = min(len(others), k + 8)
        for first in range(0, len(asking), step):
            some = asking[first : first + step]
            tile = torch.from_numpy(np.ascontiguousarray(rows.take(some))) @ torch.from_numpy(theirs).T
            top = others[tile.topk(spare, dim=1).indices.numpy()]

            def work(start: int, stop: int, some: np.ndarray = some, top: np.ndarray = top, k: int = k) -> None:
                kernels.sort_candidates(rows.data, rows.norm, some, top, k, indices, distances, start, stop)

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

    def average(start: int, stop: int) -> Any:
        return kernels.mean_of_two(starts, columns, values, lists[0], intra_k2, lists[2], inter_k2, start, stop)

    return join_rows(map_rows(average, size, chunk=chunk), size)
