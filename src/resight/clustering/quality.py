"""Scores of pseudo-labels against known identities, for reports only, never for training."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.common.checks import as_array
from resight.common.checks import integers as whole_numbers
from resight.errors import ResightError


def clustering_quality(labels: Any, identity: Any) -> dict[str, float | int]:
    """Compares pseudo-labels with identities.

    Crops without an identity (``identity <= 0``: junk, distractors, unlabelled crops) are left out of every score. Each
    score is computed twice: over the clustered crops, and, with the prefix ``all_``, over all crops with every outlier
    as a cluster by itself.

    Args:
        labels: ``(N,)`` cluster numbers, -1 for outliers, or a :class:`~resight.clustering.PseudoLabels`.
        identity: ``(N,)`` identities, counted from 1.

    Returns:
        With and without the prefix ``all_``: ``ari`` (adjusted Rand index), ``ami`` (adjusted mutual information),
        ``fowlkes_mallows``, ``homogeneity``, ``completeness``, ``v_measure``, ``pair_precision`` (share of the pairs
        within a cluster that have the same identity), ``pair_recall`` (share of the pairs with the same identity that
        are within a cluster) and ``scored`` (number of crops scored). A score is 0.0, never NaN, where it has nothing
        to score: no clustered crop with an identity, or no pair within a cluster or with the same identity.

        Without the prefix only: ``clusters`` and ``outliers``, counted over all crops, and ``without_identity``, the
        number of crops left out.

    Raises:
        ResightError: The two arrays do not hold one integer per crop.
    """
    label = as_array("Labels", getattr(labels, "labels", labels))
    identity = as_array("Identities", identity)
    integers = label.dtype.kind in "iu" and identity.dtype.kind in "iu"
    if label.ndim != 1 or label.shape != identity.shape or not integers:
        raise ResightError(
            f"Clustering quality needs one integer label and one integer identity per crop; got shapes {label.shape} "
            f"of {label.dtype} and {identity.shape} of {identity.dtype}."
        )
    label, identity = whole_numbers("Labels", label), whole_numbers("Identities", identity)
    known = identity > 0
    clustered = known & (label >= 0)
    alone = _each_alone(label)
    result: dict[str, float | int] = {
        "clusters": len(np.unique(label[label >= 0])),
        "outliers": int((label < 0).sum()),
        "without_identity": int((~known).sum()),
    }
    result.update(_scores(label[clustered], identity[clustered]))
    result.update({f"all_{key}": value for key, value in _scores(alone[known], identity[known]).items()})
    return result


def label_agreement(labels: Any, others: Any) -> float:
    """Adjusted Rand index of two labellings of the same crops, with every outlier (-1) as a cluster by itself.

    Args:
        labels: ``(N,)`` cluster numbers, or a :class:`~resight.clustering.PseudoLabels`.
        others: ``(N,)`` cluster numbers, or a :class:`~resight.clustering.PseudoLabels`.

    Returns:
        1 for the same clusters, however they are numbered; about 0 for unrelated clusters.

    Raises:
        ResightError: The labellings have different lengths, or do not hold one integer per crop.
    """
    first, second = (whole_numbers("Labels", getattr(values, "labels", values)) for values in (labels, others))
    if first.shape != second.shape:
        raise ResightError(f"Only labels of the same crops can agree; got shapes {first.shape} and {second.shape}.")
    from sklearn import metrics

    return float(metrics.adjusted_rand_score(_each_alone(first), _each_alone(second)))


def _each_alone(labels: np.ndarray) -> np.ndarray:
    """The labels, with a new label for each outlier."""
    alone = labels.copy()
    outliers = np.flatnonzero(alone < 0)
    alone[outliers] = alone.max(initial=-1) + 1 + np.arange(len(outliers))
    return alone


def _scores(label: np.ndarray, identity: np.ndarray) -> dict[str, float | int]:
    """All scores of one labelling of crops with identities; 0.0 where there is nothing to score."""
    names = ("ari", "ami", "fowlkes_mallows", "homogeneity", "completeness", "v_measure")
    if len(label) == 0:
        return {**dict.fromkeys((*names, "pair_precision", "pair_recall"), 0.0), "scored": 0}
    from sklearn import metrics

    homogeneity, completeness, v_measure = metrics.homogeneity_completeness_v_measure(identity, label)
    both, in_cluster, in_identity = _pairs(label, identity)
    precision = both / in_cluster if in_cluster else 0.0
    recall = both / in_identity if in_identity else 0.0
    return {
        "ari": float(metrics.adjusted_rand_score(identity, label)),
        "ami": float(metrics.adjusted_mutual_info_score(identity, label)),
        "fowlkes_mallows": float(np.sqrt(precision * recall)),
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "v_measure": float(v_measure),
        "pair_precision": precision,
        "pair_recall": recall,
        "scored": len(label),
    }


def _pairs(label: np.ndarray, identity: np.ndarray) -> tuple[int, int, int]:
    """Numbers of pairs with the same cluster and identity, with the same cluster, and with the same identity."""
    _, label = np.unique(label, return_inverse=True)
    _, identity = np.unique(identity, return_inverse=True)
    table = sp.coo_matrix((np.ones(len(label), np.int64), (label.reshape(-1), identity.reshape(-1)))).tocsr()
    table.sum_duplicates()

    def pairs(counts: np.ndarray) -> int:
        counts = np.asarray(counts, np.int64).reshape(-1)
        return int((counts * (counts - 1) // 2).sum())

    return pairs(table.data), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
