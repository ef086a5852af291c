"""Crops within clusters: how sure each is, and how far from the centre."""

from __future__ import annotations

import numpy as np

from resight.clustering import unit_rows
from resight.common.checks import as_array, integers


def confidence(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much nearer a crop is to its own cluster's centre than to the next one.

    Args:
        features: ``(N, D)`` embeddings.
        labels: ``(N,)`` cluster numbers from 0, -1 for outliers.

    Returns:
        ``(N,)`` float64: the cosine to the mean of the own cluster's other crops minus the cosine to the nearest other
        cluster's mean. NaN for outliers and for the only crop of a cluster. With one cluster the second cosine is 0.

    Raises:
        ResightError: there is not one label per crop.
    """
    unit = unit_rows(as_array("The features", features)).take(slice(None)).astype(np.float64)
    labels = integers("Labels", labels, len(unit))
    sure = np.full(len(unit), np.nan)
    inside = np.flatnonzero(labels >= 0)
    if not len(inside):
        return sure
    _, cluster = np.unique(labels[inside], return_inverse=True)
    size = np.bincount(cluster)
    sums = np.zeros((len(size), unit.shape[1]))
    np.add.at(sums, cluster, unit[inside])
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    for start in range(0, len(inside), 2048):
        part = slice(start, start + 2048)
        rows, own = inside[part], cluster[part]
        cosines = unit[rows] @ means.T
        others = sums[own] - unit[rows]
        others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
        to_own = np.einsum("nd,nd->n", unit[rows], others)
        cosines[np.arange(len(rows)), own] = -np.inf
        nearest = cosines.max(axis=1) if len(size) > 1 else np.zeros(len(rows))
        sure[rows] = np.where(size[own] > 1, to_own - nearest, np.nan)
    return sure


def distance_order(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The crops of one cluster by their distance from its centre.

    Args:
        features: ``(N, D)`` embeddings of the cluster's crops.

    Returns:
        ``(N,)`` int64: the crops, the nearest to the mean first, and ``(N,)`` float64: the distance of each in that
        order, 1 minus the cosine.
    """
    unit = unit_rows(as_array("The features", features)).take(slice(None)).astype(np.float64)
    centre = unit.mean(axis=0)
    distance = 1 - unit @ (centre / max(float(np.linalg.norm(centre)), 1e-12))
    order = np.argsort(distance, kind="stable")
    return order, distance[order]
