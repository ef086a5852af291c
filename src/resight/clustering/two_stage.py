"""Two-stage clustering: k-means, then each centroid keeps its nearest crops by the k-reciprocal Jaccard distance.

Ji, Zou, Lin, Liu, Huang and Wu, "An Attention-driven Two-stage Clustering Method for Unsupervised Person
Re-Identification", ECCV 2020.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from resight.clustering.jaccard import check_depths, invert, jaccard_chunks, neighbour_weights
from resight.clustering.labels import NoClusters, PseudoLabels, centre_by_camera
from resight.clustering.search import Search, UnitRows, nearest_neighbours, unit_rows
from resight.errors import ResightError

Contested = Literal["nearest", "out"]
Unwanted = Literal["out", "cluster"]

_BLOCK = 8192  # features looked at together


def two_stage(
    features: Any,
    clusters: int,
    *,
    keep: int | None = 20,
    components: int = 50,
    k1: int = 20,
    k2: int = 6,
    contested: Contested = "nearest",
    unwanted: Unwanted = "out",
    seed: int = 0,
    camera: Any = None,
    centre_cameras: bool = False,
    search: Search = "auto",
    recall: float = 0.95,
    device: Any = None,
) -> PseudoLabels:
    """Cluster crops around centroids, of which each keeps the crops that are surely its own.

    The features are brought to their first principal components. Stage 1 is k-means on these, begun by k-means++. In
    stage 2 the centroids join the crops as further points of the k-reciprocal graph (of directions: the components are
    L2-normalised there, as everywhere), and each keeps its ``keep`` nearest crops by the Jaccard distance. A crop at a
    distance of 1 shares no neighbour with a centroid and is not kept. Ties go to the lower crop, then to the lower
    cluster.

    Args:
        features: ``(N, D)`` array or memory map; L2-normalised here.
        clusters: M, centroids of stage 1.
        keep: p, crops that a centroid keeps; ``None`` leaves stage 2 out, so that every crop has a cluster.
        components: Principal components kept; clipped to what there are.
        k1: Size of the neighbour lists of stage 2 (see :func:`~resight.clustering.jaccard_distance`).
        k2: Neighbours whose rows are averaged there.
        contested: What becomes of a crop that several centroids keep: it goes to the nearest of them, or stays out.
        unwanted: What becomes of a crop that no centroid keeps: it stays out, or has the cluster of stage 1.
        seed: Of k-means++.
        camera: ``(N,)`` camera of each crop; used only with ``centre_cameras``.
        centre_cameras: Subtract each camera's mean feature first. This uses camera labels.
        search: How neighbours are found (see :func:`~resight.clustering.nearest_neighbours`).
        recall: Share of the true neighbours that an approximate search aims to find.
        device: Where to search for neighbours; ``None`` is the CPU.

    Returns:
        Labels, -1 for a crop that stays out, and the facts ``contested`` and ``unwanted``, the crops that several
        centroids or none kept (with stage 2), and ``neighbour_recall`` of an approximate search. A cluster that lost
        all its crops has no number.

    Raises:
        NoClusters: No centroid kept a crop.
        ResightError: A setting or the features are not usable.
    """
    check_depths(k1, k2)
    rows = unit_rows(features)
    if not 2 <= clusters <= len(rows):
        raise ResightError(
            f"k-means can make 2 to {len(rows)} clusters of {len(rows)} crops, and {clusters} were asked for: set "
            "method.clusters, or method.crops_per_cluster, accordingly."
        )
    if keep is not None and keep < 1:
        raise ResightError(f"A centroid must keep at least one crop, got {keep}.")
    if centre_cameras:
        if camera is None:
            raise ResightError("clustering.centre_cameras needs the camera of every crop, and none are known.")
        rows = UnitRows(centre_by_camera(rows, camera))
    coordinates = principal_components(rows, components)
    first, centroids = _k_means(coordinates, clusters, seed)
    if keep is None:
        return PseudoLabels(first)

    size = len(first)
    joined = nearest_neighbours(
        np.concatenate([coordinates, centroids]), k1, search=search, recall=recall, device=device
    )
    weights = neighbour_weights(joined, depth=k1, half_depth=round(k1 / 2) + 1, k2=k2)
    cluster, crop, distance = _kept(weights, size, keep)
    wanted = np.bincount(crop, minlength=size)
    labels = np.full(size, -1) if unwanted == "out" else np.where(wanted == 0, first, -1)
    if contested == "out":
        sure = wanted[crop] == 1
        labels[crop[sure]] = cluster[sure]
    else:
        order = np.lexsort((cluster, distance, crop))
        order = order[np.unique(crop[order], return_index=True)[1]]
        labels[crop[order]] = cluster[order]
    if labels.max() < 0:
        raise NoClusters(
            f"No crop was kept by one of {len(centroids)} centroids: raise clustering.k1 (now {k1}) or method.nearest "
            f"(now {keep}), or set method.contested=nearest."
        )
    facts: dict[str, float] = {"contested": int((wanted > 1).sum()), "unwanted": int((wanted == 0).sum())}
    if joined.recall is not None:
        facts["neighbour_recall"] = joined.recall
    return PseudoLabels(_numbered(labels), facts)


def principal_components(features: Any, components: int) -> np.ndarray:
    """``(N, c)`` float32 coordinates of L2-normalised features in their first principal components, largest first.

    Exact, and in blocks: the features may be larger than the memory. The sign of each component makes its largest
    coefficient positive.

    Args:
        features: ``(N, D)`` array, memory map or :class:`~resight.clustering.UnitRows`.
        components: c; clipped to N and D.
    """
    from scipy.linalg import eigh

    rows = unit_rows(features)
    components = min(components, len(rows), rows.dim)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(rows), _BLOCK)]
    total, scatter = np.zeros(rows.dim), np.zeros((rows.dim, rows.dim))
    for block in blocks:
        total += rows.take(block).sum(axis=0, dtype=np.float64)
    mean = (total / len(rows)).astype(np.float32)
    for block in blocks:
        part = rows.take(block) - mean
        scatter += part.T @ part
    _, axes = eigh(scatter, subset_by_index=(rows.dim - components, rows.dim - 1), overwrite_a=True)
    axes = axes[:, ::-1]
    axes = (axes * np.sign(axes[abs(axes).argmax(axis=0), np.arange(components)])).astype(np.float32)
    result = np.empty((len(rows), components), np.float32)
    for block in blocks:
        result[block] = (rows.take(block) - mean) @ axes
    return result


def _k_means(coordinates: np.ndarray, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0 … C-1 and float32 centroids of the C clusters that are not empty."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # scikit-learn adds up its threads' parts of a centroid in whatever order they end: one thread, the same numbers
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct crops than clusters
        found = KMeans(clusters, init="k-means++", n_init=1, random_state=seed).fit(coordinates)
    used, labels = np.unique(found.labels_, return_inverse=True)
    return labels.reshape(-1).astype(np.int64), found.cluster_centers_[used].astype(np.float32)


def _kept(weights: Any, size: int, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cluster, crop and Jaccard distance of the ``keep`` nearest of ``size`` crops to each centroid, the rows behind.

    Sorted by cluster, then distance, then crop.
    """
    centroids = np.arange(size, weights.shape[0])
    pieces = list(jaccard_chunks(weights, invert(weights), 1.0, rows=centroids))
    counts, column, distance = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    cluster = np.repeat(np.arange(len(centroids)), counts)
    of_crop = column < size  # centroids have distances from each other, too
    cluster, crop, distance = cluster[of_crop], column[of_crop].astype(np.int64), distance[of_crop]
    order = np.lexsort((crop, distance, cluster))
    starts = np.searchsorted(cluster[order], cluster[order])
    order = order[np.arange(len(order)) - starts < keep]
    return cluster[order], crop[order], distance[order]


def _numbered(labels: np.ndarray) -> np.ndarray:
    """The labels without gaps, in the order of their numbers; -1 stays."""
    inside = labels >= 0
    result = np.full(len(labels), -1, np.int64)
    result[inside] = np.unique(labels[inside], return_inverse=True)[1].reshape(-1)
    return result
