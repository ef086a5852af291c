"""Cameras of crops: their numbers, and features without what a camera adds to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from resight.clustering.search import unit_rows
from resight.common.checks import as_array, flag, integers, number
from resight.common.memory import room_for
from resight.errors import ResightError

_BLOCK = 8192  # features read at once
_SHARED = 5  # crops of all cameras that count beside a camera's own in its deviation
_LEAST_DEVIATION = 1e-3


def centre_by_camera(features: Any, camera: Any, *, scale: bool = False) -> np.ndarray:
    """Subtracts from each L2-normalised feature the mean of its camera's features, and normalises the result.

    With ``scale`` it is f̂ = (f − m_c) / σ_c (Song, Park and Lee, ICLR 2025, arXiv 2502.10195): each dimension is also
    divided by its deviation over the camera's crops. To the camera's variance that of all crops is added with the
    weight of five crops, so that a camera of few crops leans on the others.

    This uses camera labels. A crop whose feature equals the camera's mean, such as the only crop of a camera, keeps its
    normalised feature.

    Args:
        features: ``(N, D)`` array or memory map.
        camera: ``(N,)`` camera of each crop.
        scale: Whether to divide by the deviations, too.

    Returns:
        ``(N, D)`` float32 L2-normalised features: a new array, on disk where it does not fit in memory.

    Raises:
        ResightError: There is not one camera per crop, or the features are not usable.
    """
    scale = flag("scale", scale)
    rows = unit_rows(features)
    group = camera_groups(camera, len(rows))
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(rows), _BLOCK)]
    mean = np.zeros((int(group.max()) + 1, rows.dim))
    square = np.zeros(mean.shape if scale else (0, 0))
    for block in blocks:
        part = rows.take(block)
        for own in np.unique(group[block]):
            members = part[group[block] == own]
            mean[own] += members.sum(axis=0, dtype=np.float64)
            if scale:
                square[own] += (members.astype(np.float64) ** 2).sum(axis=0)
    count = np.bincount(group)[:, None]
    deviation = _deviation(mean, square, count) if scale else None
    mean /= count
    result = rows.data if rows.held and rows is not features else room_for((len(rows), rows.dim), np.float32)
    for block in blocks:
        part = rows.take(block)
        moved = part - mean[group[block]]
        norm = np.sqrt((moved * moved).sum(axis=1))
        far = norm > 1e-6  # others equal their camera's mean
        if deviation is not None:
            moved /= deviation[group[block]]
            norm = np.sqrt((moved * moved).sum(axis=1))
        result[block] = part
        result[block][far] = moved[far] / norm[far, None]
    return result


def _deviation(total: np.ndarray, square: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``(C, D)`` deviations of each camera's features, from their sums and the sums of their squares."""
    crops = count.sum()
    pool = np.maximum(0, square.sum(axis=0) / crops - (total.sum(axis=0) / crops) ** 2)
    own = np.maximum(0, square / count - (total / count) ** 2)
    share = count / (count + _SHARED)
    return np.asarray(np.sqrt(share * own + (1 - share) * pool) + _LEAST_DEVIATION)


class LeftOut(NamedTuple):
    """Labels without some clusters.

    Attributes:
        labels: ``(N,)`` int64 labels without gaps; crops of the clusters that were left out have -1.
        clusters: Number of clusters that were left out.
        crops: Number of their crops.
    """

    labels: np.ndarray
    clusters: int
    crops: int


def leave_out_one_camera(labels: Any, camera: Any, *, share: float = 1.0, least: float = 0.5) -> LeftOut:
    """Leaves out clusters whose crops all come from one camera.

    Such a cluster teaches what the camera looks like (Song, Park and Lee, ICLR 2025, arXiv 2502.10195, who leave out
    all of them). The order and the bound are ours: the smallest are left out first, of equals the one of the lowest
    number, until the next one would leave fewer crops than ``least`` asks for.

    Args:
        labels: ``(N,)`` cluster numbers from 0, -1 for outliers, or a :class:`~resight.clustering.PseudoLabels`.
        camera: ``(N,)`` camera of each crop. Where all are from one camera, nothing is left out.
        share: Share of these clusters to leave out, rounded down: from 0 to 1.
        least: Share of the clustered crops that stays in any case: above 0, at most 1.

    Raises:
        ResightError: There is not one camera per label, or an argument is out of range.
    """
    values = integers("Labels", getattr(labels, "labels", labels))
    share, least = number("share", share, least=0, most=1), number("least", least, above=0, most=1)
    group = camera_groups(camera, len(values))
    if values.min(initial=0) < -1:
        raise ResightError(f"Labels are cluster numbers from 0, or -1 for none, not {values.min()}.")
    inside = values >= 0
    names, own = np.unique(values[inside], return_inverse=True)
    if not len(names):
        return LeftOut(values, 0, 0)
    own, size = own.reshape(-1), np.bincount(own.reshape(-1))
    low, high = np.full(len(names), group.max()), np.zeros(len(names), np.int64)
    np.minimum.at(low, own, group[inside])
    np.maximum.at(high, own, group[inside])
    alone = np.flatnonzero((low == high) & group.any())
    alone = alone[np.argsort(size[alone], kind="stable")][: int(share * len(alone))]
    out = alone[np.cumsum(size[alone]) <= (1 - least) * size.sum()]
    number_of = np.full(len(names), -1)
    stays = np.setdiff1d(np.arange(len(names)), out)
    number_of[stays] = np.arange(len(stays))
    result = np.full(len(values), -1)
    result[inside] = number_of[own]
    return LeftOut(result, len(out), int(size[out].sum()))


def camera_groups(camera: Any, crops: int) -> np.ndarray:
    """``(N,)`` int64 cameras numbered from 0; raises a :class:`ResightError` unless there is one for each crop."""
    cameras = check_cameras(camera)
    if cameras.shape != (crops,):
        raise ResightError(
            f"There are {crops} features, but the cameras have shape {cameras.shape}: give one camera per crop."
        )
    return np.asarray(np.unique(cameras, return_inverse=True)[1].reshape(-1))


def check_cameras(camera: Any) -> np.ndarray:
    """Cameras as an array of whole numbers or of texts; raises a :class:`ResightError` if they are neither."""
    cameras = as_array("The cameras", camera)
    if cameras.ndim != 1:
        raise ResightError(f"The cameras have shape {cameras.shape}: give one camera per crop.")
    if cameras.dtype.kind == "f" and np.isfinite(cameras).all() and (cameras == np.floor(cameras)).all():
        return cameras.astype(np.int64)
    if cameras.dtype.kind not in "iuU":
        raise ResightError(f"The cameras are of type {cameras.dtype}: give one whole number or one text per crop.")
    return cameras
