"""Pseudo-labels, and the whole way from features to pseudo-labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from resight.clustering.camera_jaccard import LEAST_CAMERAS, camera_neighbours, camera_weights
from resight.clustering.cameras import camera_groups, centre_by_camera
from resight.clustering.dbscan import check_density
from resight.clustering.infomap import require_infomap
from resight.clustering.jaccard import (
    check_depths,
    check_neighbours,
    distances_of_weights,
    invert,
    jaccard_chunks,
    neighbour_weights,
)
from resight.clustering.search import Neighbours, Search, UnitRows, nearest_neighbours, unit_rows
from resight.clustering.selection import (
    CLUSTERERS,
    EPS_GRID,
    K1_GRID,
    Clusterer,
    best_setting,
    cluster_graph,
    examine_graphs,
    examine_settings,
    explain_choice,
    is_auto,
    longest_list,
)
from resight.common.checks import flag, integers, number, one_of
from resight.errors import ResightError

_SAMPLED_ROWS = 4096  # crops whose distances are examined when nothing clusters


class NoClusters(ResightError):  # noqa: N818 (a state of the data, not a fault)
    """The clustering found no cluster; the message says what to change."""


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """A cluster number for every crop.

    Attributes:
        labels: ``(N,)`` int64: 0…C−1, or -1 for an outlier, which has no pseudo-label.
        facts: Figures for reports, by name, such as ``neighbour_recall``: the share of the true neighbours that an
            approximate search found, measured on a sample.
        kept: Further arrays to save with the labels, by name, with one row per crop.
        sentences: What is worth printing of how they were found.
        distances: ``(N, N)`` sparse distances that they were found by, of near pairs alone, where these were asked for.

    Raises:
        ResightError: The labels are not one-dimensional integers, -1 or 0…C−1 without gaps.
    """

    labels: np.ndarray
    facts: Mapping[str, float] = field(default_factory=dict)
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    distances: sp.csr_matrix | None = None

    def __post_init__(self) -> None:
        self.validate()
        object.__setattr__(self, "labels", integers("Pseudo-labels", self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_clusters(self) -> int:
        """Number of clusters C."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def num_outliers(self) -> int:
        """Number of outliers."""
        return int((self.labels < 0).sum())

    @property
    def cluster_sizes(self) -> np.ndarray:
        """``(C,)`` int64 number of crops in each cluster."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.num_clusters)

    def validate(self) -> None:
        """Raises a :class:`ResightError` unless the labels are one-dimensional integers, -1 or 0…C−1 without gaps."""
        found = np.unique(integers("Pseudo-labels", self.labels))
        if len(found) and found[0] < -1:
            raise ResightError(f"Pseudo-labels must be -1 (outlier) or 0, 1, 2, …; got {found[0]}.")
        found = found[found >= 0]
        gaps = np.flatnonzero(found != np.arange(len(found)))
        if len(gaps):
            raise ResightError(
                f"Pseudo-labels must number the clusters 0 … C-1 without gaps; no crop has label {gaps[0]}, "
                f"but the largest label is {found[-1]}."
            )


def cluster_crops(
    features: Any,
    *,
    k1: int | Literal["auto"] = 30,
    k2: int = 6,
    eps: float | Literal["auto"] = 0.6,
    min_samples: int = 4,
    clusterer: Clusterer = "dbscan",
    camera: Any = None,
    centre_cameras: bool = False,
    scale_cameras: bool = False,
    camera_jaccard: bool = False,
    intra_k1: int = 5,
    inter_k1: int = 20,
    intra_k2: int = 2,
    inter_k2: int = 4,
    search: Search = "auto",
    recall: float = 0.95,
    device: Any = None,
    keep_within: float | None = None,
) -> PseudoLabels:
    """Clusters crops with DBSCAN or Infomap on the k-reciprocal Jaccard distance.

    The distance is :func:`~resight.clustering.jaccard_distance` (Zhong et al., CVPR 2017), or with ``camera_jaccard``
    :func:`~resight.clustering.camera_jaccard` (Chen et al., CVPR 2024). The clustering is
    :func:`~resight.clustering.dbscan` (Ester et al., KDD 1996) or :func:`~resight.clustering.infomap` (Rosvall and
    Bergstrom, PNAS 2008).

    Args:
        features: ``(N, D)`` array or memory map, which may be larger than the memory; L2-normalised here. Or
            :class:`~resight.clustering.Neighbours` with at least ``k1`` neighbours per crop, from
            :func:`find_neighbours`: then ``centre_cameras`` and ``scale_cameras`` are ignored, and without
            ``camera_jaccard`` ``camera``, ``search``, ``recall`` and ``device``, too.
        k1: Length of the neighbour lists of the Jaccard distance, the crop itself counted; at least 1. ``"auto"``
            chooses without labels (see :mod:`resight.clustering.selection`). Not used with ``camera_jaccard``.
        k2: Neighbours whose weights are averaged in the Jaccard distance, the crop itself counted; 1…k1. Not used with
            ``camera_jaccard``.
        eps: Largest Jaccard distance between neighbours, above 0 and below 1. ``"auto"`` chooses without labels.
        min_samples: Number of neighbours that make a core crop, the crop itself counted; at least 1. With
            Infomap the crops of the smallest cluster.
        clusterer: ``"dbscan"``, or ``"infomap"``, which needs the package of that name.
        camera: ``(N,)`` camera of each crop; used only with the three settings that follow.
        centre_cameras: Whether to subtract the mean feature of a crop's camera from its feature before the search (see
            :func:`centre_by_camera`). This uses camera labels, so the result is not camera-free.
        scale_cameras: Whether to divide by the deviations of the camera's features, too. This implies
            ``centre_cameras``.
        camera_jaccard: Whether to search for neighbours within cameras and across cameras. This uses camera labels.
            With fewer than 3 cameras the plain distance takes its place, and ``sentences`` says so.
        intra_k1: With ``camera_jaccard``: neighbours within the camera, the crop itself not counted.
        inter_k1: With ``camera_jaccard``: neighbours across cameras, less one.
        intra_k2: With ``camera_jaccard``: crops within the camera whose weights are averaged, the crop itself counted.
        inter_k2: With ``camera_jaccard``: crops of other cameras whose weights are averaged.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find, above 0 and at most 1.
        device: Device of PyTorch that searches for neighbours, such as ``"cuda"``; ``None`` is the CPU.
        keep_within: Return the Jaccard distances below this one as well, as ``distances``; ``None`` returns none.

    Returns:
        The pseudo-labels, with at least one cluster. After an approximate search ``facts`` holds ``neighbour_recall``,
        the share of the true neighbours found. Where a setting was ``"auto"``, ``facts`` holds the ``k1`` and ``eps``
        that were chosen and their ``setting_score``, and ``sentences`` says so.

    Raises:
        NoClusters: Every crop is an outlier; the message suggests an ``eps``.
        ResightError: An argument is out of range, cameras are needed and missing, the features are not usable, or
            Infomap is not installed.
    """
    one_of("clustering.clusterer", clusterer, CLUSTERERS)
    if clusterer == "infomap":
        require_infomap()
    find_k1, find_eps = is_auto(k1), is_auto(eps)
    longest = longest_list(k1)
    check_depths(longest, k2)
    given: Any = 0.5 if find_eps else eps
    _, min_samples = check_density(given, min_samples)
    if given >= 1:
        raise ResightError(f"clustering.eps must be below 1, the largest Jaccard distance, got {given:g}.")
    reach = 0.0 if keep_within is None else number("keep_within", keep_within, least=0)
    flag("clustering.camera_jaccard", camera_jaccard)
    if isinstance(features, Neighbours):
        check_neighbours(features)
    else:
        features = _debiased(features, camera, centre_cameras, scale_cameras)
    sentences: list[str] = []
    if camera_jaccard:
        rows = _rows_of(features)
        if few := _too_few_cameras(len(rows), camera):
            camera_jaccard = False
            sentences.append(few)
    facts: dict[str, float] = {}
    about_camera = camera if centre_cameras or scale_cameras or camera_jaccard else None
    grid, lengths = EPS_GRID if find_eps else (given,), K1_GRID if find_k1 else (longest,)
    how: dict[str, Any] = {"min_samples": min_samples, "camera": about_camera, "clusterer": clusterer}
    if camera_jaccard:
        lists = camera_neighbours(
            rows,
            camera,
            intra_k1=intra_k1,
            inter_k1=inter_k1,
            search=search,
            recall=recall,
            device=device,
        )
        size, found_recall = len(lists), lists.recall
        weigh: Callable[[], sp.csr_matrix] = partial(camera_weights, lists, intra_k2=intra_k2, inter_k2=inter_k2)
        examined = []
        if find_eps:
            graphs = [(inter_k1, distances_of_weights(weigh(), grid[-1]))]
            examined = examine_graphs(graphs, grid, **how)
    else:
        neighbours = features
        if not isinstance(features, Neighbours):
            neighbours = nearest_neighbours(features, longest, search=search, recall=recall, device=device)
        size, found_recall = len(neighbours), neighbours.recall
        examined = []
        if find_k1 or find_eps:
            examined = examine_settings(neighbours, k1=lengths, eps=grid, k2=k2, **how)
    if found_recall is not None:
        facts["neighbour_recall"] = found_recall
    if examined:
        best = best_setting(examined)
        k1, eps = (min(longest, size), grid[-1]) if best is None else (best.k1, best.eps)
        if best is not None:
            facts |= {} if camera_jaccard else {"k1": best.k1}
            facts |= {"eps": best.eps, "setting_score": best.score}
            sentences.append(explain_choice(best, examined, with_k1=not camera_jaccard))
    length = f"clustering.inter_k1 (now {inter_k1})"
    if not camera_jaccard:
        k1, length = int(k1), f"clustering.k1 (now {k1})"
        k2 = min(k2, k1) if examined else k2
        weigh = partial(neighbour_weights, neighbours, depth=k1, half_depth=round(k1 / 2) + 1, k2=k2)
    eps = float(eps)
    distances = distances_of_weights(weigh(), max(eps, reach))
    labels = cluster_graph(clusterer, distances, eps, min_samples)
    if labels.max() < 0:
        raise NoClusters(_explain(weigh, size, length, eps, min_samples))
    kept = None if keep_within is None else _below(distances, reach)
    return PseudoLabels(labels, facts, sentences=tuple(sentences), distances=kept)


def find_neighbours(
    features: Any,
    k: int,
    *,
    camera: Any = None,
    centre_cameras: bool = False,
    scale_cameras: bool = False,
    search: Search = "auto",
    recall: float = 0.95,
    device: Any = None,
) -> Neighbours:
    """Nearest neighbours of crops, optionally after what cameras add to the features is taken away.

    :func:`cluster_crops` takes the result in place of features, so that one search can serve other purposes, too.

    Args:
        features: ``(N, D)`` array or memory map; L2-normalised here.
        k: Neighbours per crop, the crop itself counted.
        camera: ``(N,)`` camera of each crop; used only with the two settings that follow.
        centre_cameras: Whether to subtract the mean feature of a crop's camera from its feature before the search (see
            :func:`centre_by_camera`). This uses camera labels.
        scale_cameras: Whether to divide by the deviations of the camera's features, too. This implies
            ``centre_cameras``.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find.
        device: Device of PyTorch that searches, such as ``"cuda"``; ``None`` is the CPU.

    Returns:
        The neighbours of every crop.

    Raises:
        ResightError: An argument is out of range, the cameras are missing, or the features are not usable.
    """
    features = _debiased(features, camera, centre_cameras, scale_cameras)
    return nearest_neighbours(features, k, search=search, recall=recall, device=device)


def _debiased(features: Any, camera: Any, centre: bool, scale: bool) -> Any:
    """The features, without what cameras add to them if that is asked for."""
    centre, scale = flag("clustering.centre_cameras", centre), flag("clustering.scale_cameras", scale)
    if not centre and not scale:
        return features
    if camera is None:
        raise ResightError(_needs_cameras(f"clustering.{'scale' if scale else 'centre'}_cameras"))
    return UnitRows(centre_by_camera(features, camera, scale=scale))


def _rows_of(features: Any) -> UnitRows:
    """Features as rows, or those that neighbours were found by."""
    if not isinstance(features, Neighbours):
        return unit_rows(features)
    assert features.features is not None  # checked before
    return features.features


def _too_few_cameras(crops: int, camera: Any) -> str:
    """Why the plain distance takes the place of the camera-aware one; empty if it does not."""
    if camera is None:
        raise ResightError(_needs_cameras("clustering.camera_jaccard"))
    if (cameras := int(camera_groups(camera, crops).max(initial=-1)) + 1) >= LEAST_CAMERAS:
        return ""
    return (
        f"clustering.camera_jaccard needs at least {LEAST_CAMERAS} cameras and there are {cameras}, so the distance is "
        "the one without cameras."
    )


def _needs_cameras(setting: str) -> str:
    return (
        f"{setting} needs the camera of every crop, and none are known: give the crop table a camera column or set "
        f"{setting} to false."
    )


def _below(distances: sp.csr_matrix, limit: float) -> sp.csr_matrix:
    """The entries below a limit, zeros included."""
    kept = distances.data < limit
    starts = np.concatenate([[0], np.cumsum(kept)])[distances.indptr]
    return sp.csr_matrix((distances.data[kept], distances.indices[kept], starts), shape=distances.shape)


def _explain(weigh: Callable[[], sp.csr_matrix], num_points: int, length: str, eps: float, min_samples: int) -> str:
    """The message of :class:`NoClusters`: how far the neighbours that decide are, and what to change."""
    start = f"No cluster was found among {num_points} crops with clustering.eps={eps:g}: "
    if num_points < min_samples:
        return (
            f"{start}there are fewer crops than clustering.min_samples={min_samples}, so no crop can have enough "
            f"neighbours. Use more crops or lower clustering.min_samples."
        )
    weights = weigh()
    sample = np.arange(num_points)
    if num_points > _SAMPLED_ROWS:
        sample = np.linspace(0, num_points - 1, _SAMPLED_ROWS).astype(np.int64)
    deciding = _deciding_distance(weights, sample, min_samples - 1)
    low, median, high = (float(value) for value in np.quantile(deciding, (0.1, 0.5, 0.9)))
    rank = min_samples - 1
    which = {1: "nearest", 2: "second nearest", 3: "third nearest"}.get(rank, f"{rank}th nearest")
    measured = (
        f"{start}the Jaccard distance of a crop to its {which} other crop, which must be at most clustering.eps for "
        f"clustering.min_samples={min_samples}, is {low:.3f} / {median:.3f} / {high:.3f} "
        f"(10 / 50 / 90 % of the crops). "
    )
    reached = deciding[deciding < 1]
    if len(reached) == 0:
        return (
            f"{measured}No clustering.eps helps, because no crop shares reciprocal neighbours "
            f"with {rank} others: raise {length} or lower clustering.min_samples, and check that "
            f"the features tell crops apart."
        )
    # the median where it is a distance, else the median of the crops that have one
    value = median if median < 1 else float(np.median(reached))
    suggested = min(math.ceil(value * 100 + 1e-6) / 100, 0.99)
    if suggested <= eps or suggested < float(reached.min()):
        return (
            f"{measured}Lower clustering.min_samples or raise {length}: even a clustering.eps near 1 "
            f"would cluster hardly anything."
        )
    return f"{measured}Try clustering.eps={suggested:.2f}, or change {length} or lower clustering.min_samples."


def _deciding_distance(weights: sp.csr_matrix, crops: np.ndarray, rank: int) -> np.ndarray:
    """``(M,)`` Jaccard distance of each of M crops to its ``rank``-th nearest other crop; 1 where there is none."""
    result: list[float] = []
    for counts, _, distances in jaccard_chunks(weights, invert(weights), 1.0, rows=crops):
        stops = np.cumsum(counts)
        for stop, count in zip(stops, counts, strict=True):
            # the crop itself is one of the zeros, so its rank-th other crop is entry rank
            nearest = np.partition(distances[stop - count : stop], rank) if count > rank else None
            result.append(1.0 if nearest is None else float(nearest[rank]))
    return np.array(result)
