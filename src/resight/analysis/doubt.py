"""What can be known of clusters without labels: how far they stay when only half of the crops are clustered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.clustering import NoClusters, label_agreement
from resight.common.checks import LARGEST_SEED, integers, whole
from resight.errors import ResightError

_SURE = 0.75  # mean share of a crop's companions that stay
_PART = 0.25  # share of a cluster that counts as a part of it
_LEAST = 4  # crops of which nothing can be said


@dataclass(frozen=True, eq=False)
class Doubt:
    """How sure clusters are.

    Attributes:
        clusters: Number of clusters.
        low: Lower end of the interval of that number: the clusters found among halves of the crops, as a share of the
            clusters that these halves have crops of, times ``clusters``; mean less two deviations.
        high: Upper end: mean and two deviations.
        stability: Mean adjusted Rand index of the clusters with those found among halves of the crops, each outlier as
            a cluster by itself.
        clustered: Share of the crops that are in a cluster.
        sure: ``(N,)`` bool: of these crops' companions, at least three quarters stay on average, |A ∩ B| / |A ∪ B|
            with A the other crops of its cluster in the same half and B those that the half's clustering gives.
        merged: Clusters that look like several identities: in more than half of the halves, they fall into parts of
            which the second largest holds at least a quarter of the crops.
        split: Pairs of clusters that look like one identity: in more than half of the halves, the larger parts of both
            are in one cluster. Of several partners the most frequent.
        apart: Pairs of cameras with clustered crops that share no cluster.
    """

    clusters: int
    low: int
    high: int
    stability: float
    clustered: float
    sure: np.ndarray
    merged: tuple[int, ...] = ()
    split: tuple[tuple[int, int], ...] = ()
    apart: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, for JSON; ``sure`` as the share of the crops."""
        return {
            "clusters": self.clusters,
            "low": self.low,
            "high": self.high,
            "stability": self.stability,
            "clustered": self.clustered,
            "sure": float(self.sure.mean()) if len(self.sure) else 0.0,
            "merged": [*self.merged],
            "split": [[*pair] for pair in self.split],
            "apart": [[*pair] for pair in self.apart],
        }


def doubt(
    labels: Any,
    cluster: Callable[[np.ndarray], np.ndarray],
    *,
    camera: Any = None,
    draws: int = 3,
    seed: int = 0,
) -> Doubt:
    """Clusters halves of the crops, and compares the result with the clusters of all crops.

    In each draw the crops are divided at random into two halves, and each half is clustered by itself. Stable clusters
    need not be right: crops that one camera makes alike stay together in every half.

    Args:
        labels: ``(N,)`` clusters of all crops: numbers from 0, -1 for none.
        cluster: Called with the ascending indices of a half's crops; gives their labels. Its settings should be those
            for half as many crops per identity. It may raise :class:`~resight.clustering.NoClusters`.
        camera: ``(N,)`` camera of each crop, if known.
        draws: Number of draws.
        seed: Seed of the draws.

    Raises:
        ResightError: The labels are no cluster numbers, or there is not one camera per label.
    """
    values = integers("Labels", getattr(labels, "labels", labels))
    draws, seed = whole("draws", draws), whole("seed", seed, least=0, most=LARGEST_SEED)
    if values.min(initial=0) < -1:
        raise ResightError(f"Labels are cluster numbers from 0, or -1 for none, not {values.min()}.")
    names, number = np.unique(values[values >= 0], return_inverse=True)
    own = np.full(len(values), -1)
    own[values >= 0] = number.reshape(-1)
    apart = () if camera is None else _cameras_apart(own, integers("Cameras", camera, len(values)))
    count, size = len(names), len(values)
    if size < _LEAST or not count:
        return Doubt(count, count, count, 0.0, float((own >= 0).mean()) if size else 0.0, np.zeros(size, bool))
    rng = np.random.default_rng(seed)
    stays, ratios, agreement = np.zeros(size), [], []
    fell, joined, partners = np.zeros(count, np.int64), np.zeros(count, np.int64), Counter[tuple[int, int]]()
    for _ in range(draws):
        order = rng.permutation(size)
        for rows in (np.sort(order[: size // 2]), np.sort(order[size // 2 :])):
            try:
                found = integers("Labels of half of the crops", cluster(rows), len(rows))
            except NoClusters:
                found = np.full(len(rows), -1)
            whole_, half = own[rows], found
            table = _table(whole_, half, count)
            here = np.bincount(whole_[whole_ >= 0], minlength=count)
            ratios.append(table.shape[1] / max(1, int((here > 1).sum())))
            agreement.append(label_agreement(whole_, half))
            stays[rows] += _companions(whole_, half, table) / draws
            fell += _falls_apart(table, here)
            partner = _partner(table, here)
            joined += partner >= 0
            partners.update(zip(np.flatnonzero(partner >= 0).tolist(), partner[partner >= 0].tolist(), strict=True))
    most = draws  # more than half of 2·draws halves
    mean, spread = float(np.mean(ratios)), 2 * float(np.std(ratios))
    pairs = set()
    for one in np.flatnonzero(joined > most).tolist():
        other = max((times, -b) for (a, b), times in partners.items() if a == one)
        pairs.add((min(one, -other[1]), max(one, -other[1])))
    return Doubt(
        clusters=count,
        low=max(1, round(count * min(1.0, mean - spread))),
        high=round(count * max(1.0, mean + spread)),
        stability=float(np.mean(agreement)),
        clustered=float((own >= 0).mean()),
        sure=stays >= _SURE,
        merged=tuple(names[np.flatnonzero(fell > most)].tolist()),
        split=tuple((int(names[a]), int(names[b])) for a, b in sorted(pairs)),
        apart=apart,
    )


def describe_doubt(figures: Mapping[str, Any], camera_names: Mapping[int, str] | None = None) -> list[str]:
    """Sentences about :meth:`Doubt.to_dict`.

    Args:
        figures: The figures.
        camera_names: Names of camera numbers, where these have names.
    """
    found, outside = figures["clusters"], 100 * (1 - figures["clustered"])
    if not found:
        return ["No crop is in a cluster, so nothing can be said of identities."]
    low, high = figures["low"], figures["high"]
    extent = "" if low == high else f" ({low} to {high} by halves of the crops)"
    sure = 100 * figures["sure"]
    sentences = [
        f"What can be known without labels: {found} identities among the crops{extent}; {sure:.0f} % of the crops are "
        f"sure, since they keep their companions when half of the crops are clustered; {outside:.0f} % are in no "
        "cluster and may show other identities."
    ]
    merged, split = len(figures["merged"]), len({name for pair in figures["split"] for name in pair})
    if merged or split:
        sentences.append(
            f"{merged} clusters look like several identities, and {split} like parts of one that is split into several."
        )
    if figures["apart"]:
        names = camera_names or {}
        shown = [f"{names.get(a, a)} and {names.get(b, b)}" for a, b in figures["apart"][:3]]
        more = len(figures["apart"]) - len(shown)
        sentences.append(
            f"No identity was found in both of these cameras: {'; '.join(shown)}"
            + (f"; and {more} more pairs." if more else ".")
        )
    return sentences


def _cameras_apart(own: np.ndarray, camera: np.ndarray) -> tuple[tuple[int, int], ...]:
    inside = own >= 0
    if not inside.any():
        return ()
    names, place = np.unique(camera[inside], return_inverse=True)
    ones = np.ones(len(place), np.int64)
    seen = sp.csr_matrix((ones, (own[inside], place.reshape(-1))))
    seen.data[:] = 1
    together = (seen.T @ seen).toarray()
    first, second = np.nonzero(np.triu(together == 0, 1))
    return tuple((int(names[a]), int(names[b])) for a, b in zip(first, second, strict=True))


def _table(whole_: np.ndarray, half: np.ndarray, count: int) -> sp.csr_matrix:
    """``(clusters of all crops, clusters of the half)`` crops in both."""
    both = (whole_ >= 0) & (half >= 0)
    shape = (count, int(half.max(initial=-1)) + 1)
    table = sp.csr_matrix((np.ones(both.sum(), np.int64), (whole_[both], half[both])), shape=shape)
    table.sum_duplicates()
    return table


def _companions(whole_: np.ndarray, half: np.ndarray, table: sp.csr_matrix) -> np.ndarray:
    """``(n,)`` |A ∩ B| / |A ∪ B| of each crop's companions; 0 where it has none on one side."""
    result = np.zeros(len(whole_))
    both = np.flatnonzero((whole_ >= 0) & (half >= 0))
    if not len(both):
        return result
    a, b = whole_[both], half[both]
    shared = np.asarray(table[a, b]).reshape(-1) - 1
    ours = np.bincount(whole_[whole_ >= 0], minlength=table.shape[0])[a] - 1
    theirs = np.bincount(half[half >= 0], minlength=table.shape[1])[b] - 1
    union = ours + theirs - shared
    result[both] = np.divide(shared, union, out=np.zeros(len(both)), where=union > 0)
    return result


def _falls_apart(table: sp.csr_matrix, here: np.ndarray) -> np.ndarray:
    """``(C,)`` bool: the cluster's second largest part has two crops and a quarter of those in the half."""
    fell = np.zeros(table.shape[0], bool)
    for cluster in np.flatnonzero(np.diff(table.indptr) > 1):
        parts = np.sort(table.data[table.indptr[cluster] : table.indptr[cluster + 1]])
        fell[cluster] = parts[-2] >= max(2, _PART * here[cluster])
    return fell


def _partner(table: sp.csr_matrix, here: np.ndarray) -> np.ndarray:
    """``(C,)`` the other cluster with its larger part in the same half cluster, of several the largest; or -1."""
    row = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    main = (table.data >= 2) & (2 * table.data > here[row])
    row, column, crops = row[main], table.indices[main], table.data[main]
    partner = np.full(table.shape[0], -1)
    order = np.lexsort((row, -crops, column))
    row, column = row[order], column[order]
    ends = np.append(np.flatnonzero(np.diff(column, prepend=-1)), len(column))
    for start, stop in pairwise(ends.tolist()):
        if stop - start > 1:
            partner[row[start + 1 : stop]] = row[start]
            partner[row[start]] = row[start + 1]
    return partner
