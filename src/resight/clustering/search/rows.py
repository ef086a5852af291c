"""Features as rows of length 1: held in memory where they fit, else read from their memory map as needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.common.memory import available_memory
from resight.errors import ResightError


@dataclass(frozen=True, eq=False)
class UnitRows:
    """L2-normalised features. A number is ``float32(x / norm)``, divided in float64, wherever it is asked for.

    Attributes:
        data: ``(N, D)`` float32 of length 1 where ``norm`` is ``None``; else the features as given, float16 as the
            uint16 of its bits (the compiled kernels read no float16).
        norm: ``(N,)`` float64 length of each row of ``data``, or ``None``.
    """

    data: np.ndarray
    norm: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def dim(self) -> int:
        """Numbers a row, D."""
        return int(self.data.shape[1])

    @property
    def held(self) -> bool:
        """Whether the normalised rows are in memory."""
        return self.norm is None

    def take(self, rows: slice | np.ndarray) -> np.ndarray:
        """``(n, D)`` float32 of length 1: a view of the rows held for a slice, a new array otherwise."""
        part = self.data[rows]
        if self.norm is None:
            return part
        if part.dtype == np.uint16:
            part = part.view(np.float16)
        # numpy divides float16 and float32 by float64 in float64
        return np.divide(part, self.norm[rows, None], dtype=np.float64).astype(np.float32)


def unit_rows(features: Any, *, memory: int | None = None) -> UnitRows:
    """Check features and make their rows of length 1 available.

    Args:
        features: ``(N, D)`` array, memory map or CPU tensor of numbers, or :class:`UnitRows`, which are handed back.
        memory: Bytes that the normalised copy (float32) may take; what does not fit and is a float16, float32 or
            float64 array is left where it is. By default a third of the memory available.

    Returns:
        The rows. What they hold does not depend on ``memory``.

    Raises:
        ResightError: The array is not two-dimensional or empty, or a row is zero or not finite.
    """
    if isinstance(features, UnitRows):
        return features
    array = features if isinstance(features, np.ndarray) else np.asarray(features)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise ResightError(
            f"Features must be a non-empty two-dimensional array of numbers, one row a crop; got shape "
            f"{array.shape} of {array.dtype}."
        )
    from resight.clustering.search import _kernels
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
            _kernels.normalise_rows(rows, norm[first : first + step], target, start, stop)

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
