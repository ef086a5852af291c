"""Numbers for names of cameras and identities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def codes_of(names: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Numbers the distinct names 1, 2, … in text order.

    Args:
        names: N names.

    Returns:
        The ``(N,)`` int64 number of each name, and the name of each number.
    """
    distinct = sorted(set(names))
    code = {name: number for number, name in enumerate(distinct, start=1)}
    return np.array([code[name] for name in names], dtype=np.int64), {number: name for name, number in code.items()}
