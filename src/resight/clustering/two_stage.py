"""Two-stage clustering: k-means, then each centroid keeps the crops nearest to it by the k-reciprocal Jaccard distance.

Ji, Zou, Lin, Liu, Huang and Wu, "An Attention-driven Two-stage Clustering Method for Unsupervised Person
Re-Identification", ECCV 2020.
"""

from __future__ import annotations

import warnings
from hashlib import blake2b
from typing import Any, Literal, get_args

import numpy as np

from resight.clustering.cameras import centre_by_camera
from resight.clustering.jaccard import check_depths, invert, jaccard_chunks, neighbour_weights
from resight.clustering.labels import NoClusters, PseudoLabels
from resight.clustering.search import Search, UnitRows, nearest_neighbours, unit_rows
from resight.common.checks import flag, one_of, whole
from resight.errors import ResightError

Contested = Literal["nearest", "out"]
Unwanted = Literal["out", "cluster"]

_BLOCK = 8192  # features read at once


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
    """Clusters crops by k-means, then keeps only the crops nearest to each centroid (Ji et al., ECCV 2020).

    Features are projected to their first principal components. Stage 1 is k-means on the components, started by
    k-means++. In stage 2 crops and centroids together are the points of a k-reciprocal Jaccard distance, for which
    their components are L2-normalised. Each centroid keeps the ``keep`` crops nearest to it. A crop at a distance of
    1 shares no neighbour with the centroid and is not kept. Ties go to the lower crop index, then to the lower
    cluster.

    Args:
        features: ``(N, D)`` array or memory map; L2-normalised here.
        clusters: M, the number of centroids of stage 1, 2…N.
        keep: p, the number of crops that a centroid keeps; ``None`` skips stage 2, so that every crop has a cluster.
        components: Number of principal components; clipped to N and D.
        k1: Length of the neighbour lists of the Jaccard distance, the point itself counted.
        k2: Neighbours whose weights are averaged in the Jaccard distance, the point itself counted.
        contested: A crop that several centroids keep goes to the nearest of them (``"nearest"``) or becomes an outlier
            (``"out"``).
        unwanted: A crop that no centroid keeps becomes an outlier (``"out"``) or stays in its cluster of stage 1
            (``"cluster"``).
        seed: Seed of k-means++.
        camera: ``(N,)`` camera of each crop; used only with ``centre_cameras``.
        centre_cameras: Whether to subtract the mean feature of a crop's camera from its feature first. This uses camera
            labels.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find, above 0 and at most 1.
        device: Device of PyTorch that searches for neighbours, such as ``"cuda"``; ``None`` is the CPU.

    Returns:
        Labels, -1 for an outlier, numbered without gaps in the order of the centroids. With stage 2, ``facts`` holds
        ``contested``, the number of crops that several centroids keep, ``unwanted``, the number of crops that none
        keeps, and after an approximate search ``neighbour_recall``, the share of the true neighbours found.

    Raises:
        NoClusters: Stage 2 left every crop an outlier.
        ResightError: An argument is out of range, or the features are not usable.
    """
    k1, k2 = check_depths(k1, k2)
    rows = unit_rows(features)
    clusters = whole("The number of clusters", clusters, least=-(2**63))
    if not 2 <= clusters <= len(rows):
        raise ResightError(
            f"k-means can make 2 to {len(rows)} clusters of {len(rows)} crops, and {clusters} were asked for: set "
            "clusters to a number in that range."
        )
    if keep is not None:
        keep = whole("keep, at least one crop for each centroid,", keep)
    one_of("contested", contested, get_args(Contested))
    one_of("unwanted", unwanted, get_args(Unwanted))
    seed = whole("The seed of k-means", seed, least=0, most=2**32 - 1)
    if flag("centre_cameras", centre_cameras):
        if camera is None:
            raise ResightError("centre_cameras needs the camera of every crop: give camera or drop centre_cameras.")
        rows = UnitRows(centre_by_camera(rows, camera))
    coordinates = principal_components(rows, components)
    first, centroids = k_means(coordinates, clusters, seed)
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
        if not len(crop):
            raise NoClusters(
                f"No crop was kept by any of {len(centroids)} centroids, because none shares a neighbour with a "
                f"centroid: raise k1 (now {k1})."
            )
        raise NoClusters(
            f"Each of the {np.count_nonzero(wanted)} crops that were kept was kept by several of {len(centroids)} "
            "centroids, so all crops are outliers: set contested to nearest."
        )
    facts: dict[str, float] = {"contested": int((wanted > 1).sum()), "unwanted": int((wanted == 0).sum())}
    if joined.recall is not None:
        facts["neighbour_recall"] = joined.recall
    return PseudoLabels(_numbered(labels), facts)


def principal_components(features: Any, components: int) -> np.ndarray:
    """Coordinates of L2-normalised features in their first principal components.

    The decomposition is exact. Features are read in blocks and may be larger than the memory. The sign of a component
    makes its largest coefficient positive.

    Args:
        features: ``(N, D)`` array, memory map or :class:`~resight.clustering.UnitRows`.
        components: c, the number of components; clipped to N and D.

    Returns:
        ``(N, c)`` float32 coordinates, the component of largest variance first.

    Raises:
        ResightError: The features are not usable.
    """
    from scipy.linalg import eigh

    rows = unit_rows(features)
    components = min(whole("The number of components", components), len(rows), rows.dim)
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
    first: dict[bytes, int] = {}
    for block in blocks:
        part = rows.take(block)
        result[block] = (part - mean) @ axes
        # A matrix product may round equal rows differently; equal crops get equal coordinates all the same.
        for index, row in enumerate(part, start=block.start):
            same = first.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), index)
            if same != index:
                result[index] = result[same]
    return result


def k_means(coordinates: np.ndarray, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` labels 0…C−1 and ``(C, c)`` float32 centroids of the C clusters of k-means that are not empty."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # scikit-learn sums the parts of a centroid in the order in which threads finish: one thread gives the same numbers
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct crops than clusters
        found = KMeans(clusters, init="k-means++", n_init=1, random_state=seed).fit(coordinates)
    used, labels = np.unique(found.labels_, return_inverse=True)
    return labels.reshape(-1).astype(np.int64), found.cluster_centers_[used].astype(np.float32)


def _kept(weights: Any, size: int, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The crops that each centroid keeps.

    Args:
        weights: Neighbour weights of ``size`` crops, followed by the centroids.
        size: Number of crops.
        keep: Most crops that a centroid keeps.

    Returns:
        Cluster, crop and float32 Jaccard distance of each kept crop, sorted by cluster, then distance, then crop.
    """
    centroids = np.arange(size, weights.shape[0])
    pieces = list(jaccard_chunks(weights, invert(weights), 1.0, rows=centroids))
    counts, column, distance = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    cluster = np.repeat(np.arange(len(centroids)), counts)
    of_crop = column < size  # the other distances are between centroids
    cluster, crop, distance = cluster[of_crop], column[of_crop].astype(np.int64), distance[of_crop]
    order = np.lexsort((crop, distance, cluster))
    starts = np.searchsorted(cluster[order], cluster[order])
    order = order[np.arange(len(order)) - starts < keep]
    return cluster[order], crop[order], distance[order]


def _numbered(labels: np.ndarray) -> np.ndarray:
    """The labels renumbered without gaps, in the same order; -1 stays."""
    inside = labels >= 0
    result = np.full(len(labels), -1, np.int64)
    result[inside] = np.unique(labels[inside], return_inverse=True)[1].reshape(-1)
    return result
