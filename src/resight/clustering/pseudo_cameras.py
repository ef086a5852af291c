"""Pseudo-cameras: groups of crops that look alike in light, background and sharpness, where cameras are not known."""

from __future__ import annotations

from typing import Any

import numpy as np

from resight.clustering.two_stage import k_means
from resight.common.checks import as_array, whole
from resight.errors import ResightError


def pseudo_cameras(statistics: Any, groups: int, *, seed: int = 0) -> np.ndarray:
    """Groups crops by statistics of an early feature map, by k-means on standardised statistics.

    An early feature map shows light, colour, sharpness and background more than identity. So crops of one group are
    like crops of one camera in what misleads a young network, and the group can take the camera's place in training.
    That groups of low-level properties can stand in for cameras: Song, Park and Lee, ICLR 2025, arXiv 2502.10195.

    Args:
        statistics: ``(N, F)`` figures of each crop, such as :func:`resight.encoders.early_statistics` gives.
        groups: Number of groups, at least 2.
        seed: Seed of k-means++.

    Returns:
        ``(N,)`` int64 group of each crop, numbered from 0. Fewer groups than asked for where fewer crops differ.

    Raises:
        ResightError: the statistics are not a matrix of numbers, or there are fewer crops than groups.
    """
    groups = whole("pseudo_cameras", groups, least=2)
    values = as_array("The statistics of crops", statistics)
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ResightError("The statistics of crops must be a matrix of numbers, with one row per crop.")
    if len(values) < groups:
        raise ResightError(f"pseudo_cameras={groups} groups need at least as many crops, and there are {len(values)}.")
    values = values.astype(np.float64)
    deviation = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    found, _ = k_means(standard.astype(np.float32), groups, whole("The seed of k-means", seed, least=0, most=2**32 - 1))
    return found
