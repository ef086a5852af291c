"""Choosing k1 and eps of the clustering from the crops alone, without labels.

One search for neighbours serves all settings. For each k1 the Jaccard graph is built once, at the largest eps, and
DBSCAN then runs on it for each eps. A setting's score is

    consensus · clustered · √(1 − I(cluster; camera) / H(camera)),

the last factor only where cameras may be used. *Consensus* is the mean adjusted Rand index of its clusters with those
of every setting tried, each outlier counted as a cluster by itself. It is low where identities are torn apart, because
each setting tears them elsewhere, and where most crops are one cluster. *Clustered* is the share of crops in a cluster:
without it, settings that cluster hardly anything agree with each other best. *I* is the mutual information of clusters
and cameras over the clustered crops, *H* the entropy of the cameras. Settings whose largest cluster holds more than a
tenth of the crops are left out. The formula is ours; docs/how-it-works.md has what it was measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp

from resight.clustering.cameras import check_cameras
from resight.clustering.dbscan import dbscan
from resight.clustering.infomap import infomap
from resight.clustering.jaccard import check_depths, check_neighbours, jaccard_distance
from resight.clustering.search import Neighbours
from resight.common.checks import instance, number, one_of, whole
from resight.errors import ResightError

Clusterer = Literal["dbscan", "infomap"]
#: What clusters a graph of distances.
CLUSTERERS = get_args(Clusterer)
#: Values of k1 that are tried. Sets have from a few to about a hundred crops per identity.
K1_GRID = (10, 20, 30, 50, 80)
#: Values of eps that are tried.
EPS_GRID = tuple(round(0.3 + 0.05 * step, 2) for step in range(11))
_COMPARED = 20_000  # crops whose labels are compared between settings
_TOO_LARGE = 0.1  # a cluster with a larger share of the crops most likely mixes identities


@dataclass(frozen=True)
class Examined:
    """What can be said of a setting without labels.

    Attributes:
        k1: Length of the neighbour lists.
        eps: Largest Jaccard distance between neighbours.
        clusters: Number of clusters.
        clustered: Share of the crops that are in a cluster.
        largest: Share of the crops that are in the largest cluster.
        stability: Mean adjusted Rand index with the clusters of the next smaller and the next larger eps of the same
            k1; 1 if there is no other eps.
        consensus: Mean adjusted Rand index with the clusters of all settings examined, itself included.
        spanning: Share of the clusters with crops of at least two cameras; ``None`` where cameras are unknown.
        camera_information: Normalised mutual information of clusters and cameras over the clustered crops; ``None``
            where cameras are unknown.
        camera_explained: The same mutual information as a share of the cameras' entropy; ``None`` where cameras are
            unknown.
    """

    k1: int
    eps: float
    clusters: int
    clustered: float
    largest: float
    stability: float
    consensus: float
    spanning: float | None = None
    camera_information: float | None = None
    camera_explained: float | None = None

    @property
    def score(self) -> float:
        """What the choice goes by; see the module."""
        free = 1.0 if self.camera_explained is None else max(0.0, 1 - self.camera_explained)
        return self.consensus * self.clustered * float(np.sqrt(free))


def examine_settings(
    neighbours: Any,
    *,
    k1: Sequence[int] = K1_GRID,
    eps: Sequence[float] = EPS_GRID,
    k2: int = 6,
    min_samples: int = 4,
    camera: Any = None,
    clusterer: Clusterer = "dbscan",
) -> list[Examined]:
    """Clusters the same crops with each setting of a grid, and scores each without labels.

    Clusters are compared on at most 20,000 crops, drawn with a fixed seed.

    Args:
        neighbours: :class:`~resight.clustering.Neighbours`, at least as many per crop as the largest ``k1`` that is
            smaller than the number of crops.
        k1: Lengths of the neighbour lists to try.
        eps: Largest Jaccard distances to try, above 0 and below 1.
        k2: Neighbours whose weights are averaged; of a smaller ``k1``, all.
        min_samples: Neighbours that make a core crop.
        camera: ``(N,)`` camera of each crop, if the score may use cameras.
        clusterer: ``"dbscan"`` or ``"infomap"``.

    Returns:
        What is known of each setting, by rising k1, then by rising eps. Values of k1 above the number of crops count
        as that number.

    Raises:
        ResightError: An argument is out of range, or there are too few neighbours per crop.
    """
    found = instance("neighbours", neighbours, Neighbours, "nearest_neighbours makes them")
    check_neighbours(found)
    k2, min_samples = whole("clustering.k2", k2), whole("clustering.min_samples", min_samples)
    if not all(isinstance(values, list | tuple) for values in (k1, eps)):
        raise ResightError("The values of k1 and eps to try are lists of numbers.")
    if not len(k1) or not len(eps):
        raise ResightError("There is nothing to choose from: give at least one k1 and one eps.")
    lengths = sorted({min(whole("clustering.k1", value), len(found)) for value in k1})
    limits = sorted({number("clustering.eps", value, above=0, below=1) for value in eps})
    if camera is not None:
        _groups(camera, len(found))

    def graphs() -> Iterator[tuple[int, sp.csr_matrix]]:
        for length in lengths:
            depth, averaged = check_depths(length, min(k2, length))
            yield length, jaccard_distance(found, depth, averaged, max_distance=limits[-1])

    one_of("clustering.clusterer", clusterer, CLUSTERERS)
    return examine_graphs(graphs(), limits, min_samples=min_samples, camera=camera, clusterer=clusterer)


def cluster_graph(clusterer: str, graph: sp.csr_matrix, eps: float, min_samples: int) -> np.ndarray:
    """``(N,)`` labels by one of :data:`CLUSTERERS`."""
    return infomap(graph, eps, min_samples) if clusterer == "infomap" else dbscan(graph, eps, min_samples)


def examine_graphs(
    graphs: Iterable[tuple[int, sp.csr_matrix]],
    limits: Sequence[float],
    *,
    min_samples: int,
    camera: Any = None,
    clusterer: str = "dbscan",
) -> list[Examined]:
    """:func:`examine_settings` of graphs that are there.

    Args:
        graphs: For each length k1 the ``(N, N)`` distances up to the largest limit.
        limits: The values of eps to try, ascending.
        min_samples: Neighbours that make a core crop.
        camera: ``(N,)`` camera of each crop, if the score may use cameras.
        clusterer: ``"dbscan"`` or ``"infomap"``.
    """
    min_samples = min(min_samples, 2**31)
    facts: list[dict[str, Any]] = []
    compared: list[np.ndarray] = []
    for length, graph in graphs:
        size = graph.shape[0]
        group = None if camera is None else _groups(camera, size)
        sample = np.arange(size)
        if size > _COMPARED:
            sample = np.sort(np.random.default_rng(0).choice(size, _COMPARED, replace=False))
        for limit in limits:
            labels = cluster_graph(clusterer, graph, limit, min_samples)
            compared.append(_alone(labels[sample]))
            facts.append({"k1": length, "eps": limit, **_facts(labels, group)})
        del graph
    agreement = np.eye(len(facts))
    for row in range(len(facts)):
        for column in range(row):
            agreement[row, column] = agreement[column, row] = _rand(compared[row], compared[column])
    result = []
    for row, fact in enumerate(facts):
        beside = [other for other in (row - 1, row + 1) if 0 <= other < len(facts) and facts[other]["k1"] == fact["k1"]]
        stability = float(agreement[row, beside].mean()) if beside else 1.0
        result.append(Examined(**fact, stability=stability, consensus=float(agreement[row].mean())))
    return result


def best_setting(examined: Sequence[Examined]) -> Examined | None:
    """The setting of the highest score whose largest cluster holds at most a tenth of the crops.

    Where every setting's largest cluster is larger, that of the highest score among all that found clusters, and
    ``None`` where none found any. Of equal settings the first.
    """
    some = [setting for setting in examined if setting.clusters]
    fit = [setting for setting in some if setting.largest <= _TOO_LARGE] or some
    return max(fit, key=lambda setting: setting.score) if fit else None


def explain_choice(best: Examined, examined: Sequence[Examined], *, with_k1: bool = True) -> str:
    """A sentence: what was chosen among how many, and why."""
    length = f"k1 {best.k1}, " if with_k1 else ""
    return (
        f"Chosen without labels among {len(examined)} settings: {length}eps {best.eps:g} has the highest "
        f"score, {best.score:.2f} (agreement with the others {best.consensus:.2f}, {100 * best.clustered:.0f} % of the "
        f"crops clustered)."
    )


def longest_list(k1: Any) -> int:
    """The number of neighbours per crop that the choice of ``k1`` needs: the largest tried for ``"auto"``."""
    return K1_GRID[-1] if is_auto(k1) else whole("clustering.k1", k1)


def is_auto(value: Any) -> bool:
    """Whether a setting is ``"auto"``; an array is not."""
    return isinstance(value, str) and value == "auto"


def _groups(camera: Any, size: int) -> np.ndarray:
    cameras = check_cameras(camera)
    if len(cameras) != size:
        raise ResightError(f"There are {size} crops, but {len(cameras)} cameras: give one camera per crop.")
    return np.unique(cameras, return_inverse=True)[1].reshape(-1)


def _alone(labels: np.ndarray) -> np.ndarray:
    """The labels, with a new label for each outlier, numbered without gaps."""
    alone = labels.copy()
    outliers = np.flatnonzero(alone < 0)
    alone[outliers] = alone.max(initial=-1) + 1 + np.arange(len(outliers))
    return np.unique(alone, return_inverse=True)[1].reshape(-1)


def _rand(first: np.ndarray, second: np.ndarray) -> float:
    """Adjusted Rand index of two labellings (Hubert and Arabie, Journal of Classification 1985)."""

    def pairs(counts: np.ndarray) -> float:
        wide = counts.astype(np.float64)
        return float((wide * (wide - 1)).sum() / 2)

    both = pairs(np.unique(first * (second.max() + 1) + second, return_counts=True)[1])
    ours, theirs = pairs(np.bincount(first)), pairs(np.bincount(second))
    every = len(first) * (len(first) - 1) / 2
    expected = ours * theirs / every if every else 0.0
    most = (ours + theirs) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _facts(labels: np.ndarray, group: np.ndarray | None) -> dict[str, Any]:
    inside = labels >= 0
    clusters = int(labels.max(initial=-1)) + 1
    sizes = np.bincount(labels[inside], minlength=clusters)
    facts: dict[str, Any] = {
        "clusters": clusters,
        "clustered": float(inside.mean()),
        "largest": float(sizes.max(initial=0) / len(labels)),
    }
    if group is not None:
        pair, counts = np.unique(labels[inside] * (group.max() + 1) + group[inside], return_counts=True)
        cameras = np.bincount(pair // (group.max() + 1), minlength=clusters)
        facts["spanning"] = float((cameras > 1).mean()) if clusters else 0.0
        ours, theirs, both = (_entropy(values) for values in (sizes, np.bincount(group[inside], minlength=1), counts))
        shared = ours + theirs - both
        facts["camera_information"] = 2 * shared / (ours + theirs) if ours + theirs > 0 else 0.0
        facts["camera_explained"] = shared / theirs if theirs > 0 else 0.0
    return facts


def _entropy(counts: np.ndarray) -> float:
    share = counts[counts > 0] / max(1, counts.sum())
    return float(-(share * np.log(share)).sum())
