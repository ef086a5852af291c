"""Features as rows of length 1: in memory where they fit, else read from their array as needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.common.checks import as_array, whole
from resight.common.memory import available_memory
from resight.errors import ResightError


@dataclass(frozen=True, eq=False)
class UnitRows:
    """L2-normalised features: every number is ``x / norm``, divided in float64 and rounded to float32.

    Attributes:
        data: ``(N, D)`` float32 rows of length 1 where ``norm`` is ``None``. Otherwise the features as they were given,
            with the bits of float16 as uint16, because compiled loops read no float16.
        norm: ``(N,)`` float64 length of each row of ``data``, or ``None``.
    """

    data: np.ndarray
    norm: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def dim(self) -> int:
        """D, the numbers per row."""
        return int(self.data.shape[1])

    @property
    def held(self) -> bool:
        """Whether the normalised rows are in memory."""
        return self.norm is None

    def take(self, rows: slice | np.ndarray) -> np.ndarray:
        """``(n, D)`` float32 rows of length 1: a view for a slice of rows in memory, otherwise a new array."""
        part = self.data[rows]
        if self.norm is None:
            return part
        if part.dtype == np.uint16:
            part = part.view(np.float16)
        # numpy divides float16 and float32 by float64 in float64
        return np.divide(part, self.norm[rows, None], dtype=np.float64).astype(np.float32)


def unit_rows(features: Any, *, memory: int | None = None) -> UnitRows:
    """Checks features, and makes their rows of length 1 available.

    Args:
        features: ``(N, D)`` array, memory map or CPU tensor of numbers, or :class:`UnitRows`, which are returned.
        memory: Bytes that a normalised copy in float32 may take; by default a third of the memory that is available. A
            larger array of float16, float32 or float64 is not copied, but read and normalised as needed.

    Returns:
        The rows; their numbers do not depend on ``memory``.

    Raises:
        ResightError: The array is empty, not two-dimensional or not of numbers, or a row is all zeros or not finite:
            the message says which row.
    """
    if isinstance(features, UnitRows):
        return features
    array = as_array("Features", features)
    memory = None if memory is None else whole("memory, in bytes,", memory, least=0)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise ResightError(
            f"Features must be a non-empty two-dimensional array of numbers, one row per crop; got shape "
            f"{array.shape} of {array.dtype}."
        )
    from resight.clustering.search import _rows
    from resight.common.kernels import run_rows
    from resight.common.unit import plain_floats

    fits = 4 * array.size <= (available_memory() // 3 if memory is None else memory)
    hold = fits or array.dtype not in (np.float16, np.float32, np.float64)
    norm = np.empty(len(array), np.float64)
    result = np.empty(array.shape, np.float32) if hold else None

    step = max(1, (32 << 20) // (4 * array.shape[1]))
    for first in range(0, len(array), step):
        rows = plain_floats(array[first : first + step])
        target = None if result is None else result[first : first + step]

        def work(start: int, stop: int, rows: Any = rows, target: Any = target, first: int = first) -> None:
            _rows.normalise_rows(rows, norm[first : first + step], target, start, stop)

        run_rows(work, len(rows), chunk=512)
        bad = np.flatnonzero(~(norm[first : first + step] > 0))
        if len(bad):
            row = first + int(bad[0])
            what = "is all zeros" if norm[row] == 0 else "holds a value that is not finite (NaN or infinity)"
            raise ResightError(
                f"Row {row} of the features {what}, so it has no direction to compare: check the crop in that "
                f"row and whether training diverged."
            )
    if result is not None:
        return UnitRows(result)
    plain = np.asarray(array)  # a memory map as an ordinary array, for the compiled kernels
    return UnitRows(plain.view(np.uint16) if plain.dtype == np.float16 else plain, norm)
