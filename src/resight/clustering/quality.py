"""How well pseudo-labels agree with known identities: for reports only, never for training."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.errors import ResightError


def clustering_quality(labels: Any, identity: Any) -> dict[str, float | int]:
    """Compare pseudo-labels with identities.

    Crops without an identity (``identity <= 0``: junk, distractors, unlabelled) are left out of every score. The
    scores are taken twice: over the clustered crops, and (keys with the prefix ``all_``) over all crops with every
    outlier as a cluster of its own.

    Args:
        labels: ``(N,)`` cluster numbers, -1 for outliers, or a :class:`~resight.clustering.PseudoLabels`.
        identity: ``(N,)`` identities.

    Returns:
        ``ari`` (adjusted Rand index), ``ami`` (adjusted mutual information), ``fowlkes_mallows``, ``homogeneity``,
        ``completeness``, ``v_measure``, ``pair_precision`` (share of pairs within a cluster that are one identity),
        ``pair_recall`` (share of pairs of one identity that are within a cluster), ``scored`` (crops that entered),
        each also with ``all_``; ``clusters`` and ``outliers`` over all crops, with an identity or without;
        ``without_identity``, the crops left out. A score with nothing to score is 0.0, never NaN: all of them when
        no crop with an identity is clustered, ``pair_precision`` (with ``fowlkes_mallows``) when no cluster holds a
        pair, ``pair_recall`` when no identity does.

    Raises:
        ResightError: The two arrays are not one value a crop.
    """
    label = np.asarray(getattr(labels, "labels", labels))
    person = np.asarray(identity)
    if label.ndim != 1 or label.shape != person.shape or label.dtype.kind not in "iu" or person.dtype.kind not in "iu":
        raise ResightError(
            f"Clustering quality needs one integer label and one integer identity a crop; got shapes {label.shape} "
            f"of {label.dtype} and {person.shape} of {person.dtype}."
        )
    label = label.astype(np.int64)
    known = person > 0
    clustered = known & (label >= 0)
    alone = _each_alone(label)
    result: dict[str, float | int] = {
        "clusters": len(np.unique(label[label >= 0])),
        "outliers": int((label < 0).sum()),
        "without_identity": int((~known).sum()),
    }
    result.update(_scores(label[clustered], person[clustered]))
    result.update({f"all_{key}": value for key, value in _scores(alone[known], person[known]).items()})
    return result


def label_agreement(labels: Any, others: Any) -> float:
    """Adjusted Rand index of two labellings of the same crops, each outlier (-1) as a cluster of its own.

    Args:
        labels: ``(N,)`` cluster numbers.
        others: The same.

    Returns:
        1 where they are the same clusters, whatever their numbers; about 0 for unrelated ones.

    Raises:
        ResightError: They are not labels of the same crops.
    """
    first, second = (np.asarray(getattr(values, "labels", values)) for values in (labels, others))
    if first.shape != second.shape:
        raise ResightError(f"Only labels of the same crops can agree; got shapes {first.shape} and {second.shape}.")
    from sklearn import metrics

    return float(metrics.adjusted_rand_score(_each_alone(first), _each_alone(second)))


def _each_alone(labels: np.ndarray) -> np.ndarray:
    """The labels, with a new one for each outlier."""
    alone = labels.astype(np.int64)
    outliers = np.flatnonzero(alone < 0)
    alone[outliers] = alone.max(initial=-1) + 1 + np.arange(len(outliers))
    return alone


def _scores(label: np.ndarray, identity: np.ndarray) -> dict[str, float | int]:
    """All scores of one labelling; 0.0 where there is nothing to score."""
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
    """Number of pairs that share cluster and identity, that share a cluster, that share an identity."""
    _, label = np.unique(label, return_inverse=True)
    _, identity = np.unique(identity, return_inverse=True)
    table = sp.coo_matrix((np.ones(len(label), np.int64), (label.reshape(-1), identity.reshape(-1)))).tocsr()
    table.sum_duplicates()

    def pairs(counts: np.ndarray) -> int:
        counts = np.asarray(counts, np.int64).reshape(-1)
        return int((counts * (counts - 1) // 2).sum())

    return pairs(table.data), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
