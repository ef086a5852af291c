"""Exact nearest neighbours of L2-normalised features, in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.errors import ResightError

#: Similarities held at once when the caller does not choose a block: 64 MiB of float32.
_BLOCK_ELEMENTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of every crop.

    Attributes:
        indices: ``(N, k)`` int32. Row i holds i itself first, then the others, nearest first; ties by index.
        distances: ``(N, k)`` float32 squared Euclidean distances of the L2-normalised features.
        features: ``(N, D)`` float32 L2-normalised features the distances belong to. The Jaccard distance
            needs them for members of the expanded sets that are not among the k neighbours.
    """

    indices: np.ndarray
    distances: np.ndarray
    features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        """Number of neighbours a row, the crop itself included."""
        return int(self.indices.shape[1])


def normalise(features: Any, *, block: int = 8192) -> np.ndarray:
    """L2-normalise the rows, computed in float64 and stored as float32.

    Args:
        features: ``(N, D)`` array, memory map or CPU tensor of numbers.
        block: Rows converted at once; the result does not depend on it.

    Returns:
        ``(N, D)`` float32, C-contiguous.

    Raises:
        ResightError: The array is not two-dimensional or empty, or a row is zero or not finite.
    """
    array = features if isinstance(features, np.ndarray) else np.asarray(features)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise ResightError(
            f"Features must be a non-empty two-dimensional array of numbers, one row a crop; got shape "
            f"{array.shape} of {array.dtype}."
        )
    result = np.empty(array.shape, np.float32)
    for start in range(0, len(array), block):
        rows = np.array(array[start : start + block], dtype=np.float64, order="C")
        scale = np.abs(rows).max(axis=1)
        bad = np.flatnonzero(~np.isfinite(scale) | (scale == 0))
        if len(bad):
            row = start + int(bad[0])
            what = "is all zeros" if scale[bad[0]] == 0 else "holds a value that is not finite (NaN or infinity)"
            raise ResightError(
                f"Row {row} of the features {what}, so it has no direction to compare: check the crop in that "
                f"row and whether training diverged."
            )
        rows /= scale[:, None]
        rows /= np.sqrt((rows * rows).sum(axis=1))[:, None]
        result[start : start + block] = rows
    return result


def nearest_neighbours(features: Any, k: int, *, block: int | None = None) -> Neighbours:
    """Find the k nearest neighbours of every row, the row itself included and first.

    Similarities come in blocks from a float32 matrix product; every crop whose similarity lies within twice
    the product's worst rounding error of the k-th is then compared again by its exact squared distance
    (float64 sum in a fixed order, rounded to float32). The product only chooses candidates, so neither the
    number of threads nor the block size changes the result.

    Args:
        features: ``(N, D)`` array or memory map of numbers (float16, float32, …); L2-normalised here.
        k: Neighbours a row, the row itself included; clipped to N.
        block: Rows whose similarities are held at once (``block × N`` float32); by default 64 MiB worth.

    Returns:
        Neighbours of all rows.

    Raises:
        ResightError: ``k`` or ``block`` is below 1, or the features are not usable (see :func:`normalise`).
    """
    if k < 1:
        raise ResightError(f"The number of neighbours k must be at least 1, got {k}.")
    if block is not None and block < 1:
        raise ResightError(f"The block of rows must be at least 1, got {block}.")
    from resight.clustering import _kernels

    unit = normalise(features)
    num_points, dim = unit.shape
    k = min(int(k), num_points)
    rows = min(block or max(16, min(1024, _BLOCK_ELEMENTS // num_points)), num_points)
    # |error of a float32 inner product of unit vectors| <= dim · 2^-24 in any order of summation;
    # the last term covers the rounding of the normalised rows and of the exact distance.
    margin = 2.02 * dim * 2.0**-24 + 2e-6
    indices = np.empty((num_points, k), np.int32)
    distances = np.empty((num_points, k), np.float32)
    similarity = np.empty((rows, num_points), np.float32)
    for first in range(0, num_points, rows):
        size = min(rows, num_points - first)
        held = similarity[:size]
        np.matmul(unit[first : first + size], unit.T, out=held)

        def select(start: int, stop: int, held: np.ndarray = held, first: int = first) -> None:
            _kernels.select_neighbours(unit, held, first, start, stop, margin, indices, distances)

        for _ in _kernels.map_rows(select, size, chunk=64):
            pass
    return Neighbours(indices, distances, unit)
