"""How far cameras shape clusters and rankings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resight.clustering import unit_rows
from resight.common.checks import as_array, integers
from resight.errors import ResightError


def camera_mixture(labels: np.ndarray, camera: np.ndarray) -> dict[str, float]:
    """How cameras are mixed within clusters.

    Args:
        labels: ``(N,)`` cluster numbers from 0, -1 for outliers.
        camera: ``(N,)`` camera numbers.

    Returns:
        ``one_camera``: share of the clusters with crops of a single camera. ``cameras``: mean number of cameras per
        cluster. ``mixture``: the probability that two crops drawn from a cluster are from different cameras, averaged
        over clusters with at least two crops, divided by the same probability for all clustered crops; 1 means that
        clusters mix cameras as chance does, 0 that no cluster has two. All are 0 without clusters.

    Raises:
        ResightError: there is not one camera per label, or a label is below -1.
    """
    labels = integers("Labels", labels)
    camera = integers("Cameras", camera, len(labels))
    if len(labels) and labels.min() < -1:
        raise ResightError(f"Labels are cluster numbers from 0, or -1 for none, not {labels.min()}.")
    inside = labels >= 0
    if not inside.any():
        return {"one_camera": 0.0, "cameras": 0.0, "mixture": 0.0}
    _, cluster = np.unique(labels[inside], return_inverse=True)
    names, place = np.unique(camera[inside], return_inverse=True)
    counts = np.zeros((cluster.max() + 1, len(names)), np.int64)
    np.add.at(counts, (cluster, place), 1)
    present = (counts > 0).sum(axis=1)
    of_all, of_clusters = _different(counts.sum(axis=0)[None]), _different(counts[counts.sum(axis=1) > 1])
    chance = of_all[0] if len(of_all) else 0.0
    return {
        "one_camera": float((present == 1).mean()),
        "cameras": float(present.mean()),
        "mixture": float(of_clusters.mean() / chance) if len(of_clusters) and chance > 0 else 0.0,
    }


def _different(counts: np.ndarray) -> np.ndarray:
    """Per row of camera counts, the probability that two crops drawn without replacement differ in camera."""
    size = counts.sum(axis=1).astype(np.float64)
    pairs = size * (size - 1)
    same = (counts * (counts - 1)).sum(axis=1)
    return np.divide(pairs - same, pairs, out=np.zeros(len(counts)), where=pairs > 0)


@dataclass(frozen=True, eq=False)
class CameraConfusion:
    """Where the best matches of each camera's crops come from.

    Attributes:
        cameras: ``(C,)`` int64 camera numbers, ascending; rows and columns of the arrays below.
        share: ``(C, C)`` float64: of the crops of a row's camera, the share whose nearest crop is of the column's.
        expected: ``(C, C)`` float64: that share if the nearest crop were drawn from all crops that it may be.
        right: ``(C, C)`` float64: the share of these nearest crops with the crop's identity; NaN where there is none,
            and everywhere without identities.
    """

    cameras: np.ndarray
    share: np.ndarray
    expected: np.ndarray
    right: np.ndarray


def camera_confusion(
    features: np.ndarray, camera: np.ndarray, identity: np.ndarray | None = None, *, most: int = 4000, seed: int = 0
) -> CameraConfusion:
    """Counts from which cameras the nearest crops come.

    A crop's nearest crop is searched among all others. With identities, crops of the same identity and camera are left
    out, as evaluation does; without, nothing is left out but the crop itself.

    Args:
        features: ``(N, D)`` embeddings.
        camera: ``(N,)`` camera numbers.
        identity: ``(N,)`` identities from 1; crops with another value are not asked for. ``None`` if not known.
        most: Crops asked for at most, drawn at random. They are searched among all.
        seed: Seed of the draw.

    Raises:
        ResightError: the shapes do not fit, or there are fewer than two crops.
    """
    unit = unit_rows(as_array("The features", features)).take(slice(None))
    camera = integers("Cameras", camera, len(unit))
    known = None if identity is None else integers("Identities", identity, len(unit))
    if len(unit) < 2:
        raise ResightError("The nearest crops of cameras need at least two crops.")
    asked = np.arange(len(unit)) if known is None else np.flatnonzero(known > 0)
    if len(asked) > most:
        asked = np.sort(np.random.default_rng(seed).choice(asked, most, replace=False))
    cameras, place = np.unique(camera, return_inverse=True)
    size = len(cameras)
    found, expected, right = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size))
    for start in range(0, len(asked), 512):
        rows = asked[start : start + 512]
        cosines = unit[rows] @ unit.T
        left_out = np.zeros(cosines.shape, bool)
        left_out[np.arange(len(rows)), rows] = True
        if known is not None:
            left_out |= (known[rows, None] == known) & (camera[rows, None] == camera)
        cosines[left_out] = -np.inf
        nearest = cosines.argmax(axis=1)
        possible = ~left_out.all(axis=1)
        rows, nearest, left_out = rows[possible], nearest[possible], left_out[possible]
        pair = place[rows], place[nearest]
        np.add.at(found, pair, 1)
        if known is not None:
            np.add.at(right, pair, known[rows] == known[nearest])
        candidates = np.stack([(~left_out[:, place == one]).sum(axis=1) for one in range(size)], axis=1)
        np.add.at(expected, place[rows], candidates / candidates.sum(axis=1, keepdims=True))
    totals = found.sum(axis=1, keepdims=True)
    share = np.divide(found, totals, out=np.zeros_like(found), where=totals > 0)
    chance = np.divide(expected, totals, out=np.zeros_like(found), where=totals > 0)
    correct = np.full(found.shape, np.nan)
    if known is not None:
        np.divide(right, found, out=correct, where=found > 0)
    return CameraConfusion(cameras, share, chance, correct)
