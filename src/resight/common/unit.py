"""Numbers of rows of length 1, as every room computes them; import this module only inside functions (numba)."""

from __future__ import annotations

import numpy as np

from resight.common.kernels import jit


def plain_floats(rows: np.ndarray) -> np.ndarray:
    """The rows in a type that compiled loops read: contiguous float32 (from float16 and float32) or float64."""
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float32 if rows.dtype == np.float16 else np.float64)
    return np.ascontiguousarray(rows)


@jit()
def unit_number(number: float, length: float) -> float:
    """A number of a row divided by the row's length: in float64, rounded to float32."""
    return np.float32(np.float64(number) / length)
