"""Numbers for names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def codes_of(names: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Numbers 1, 2, … for the distinct names in text order, and what each number is called."""
    distinct = sorted(set(names))
    code = {name: number for number, name in enumerate(distinct, start=1)}
    return np.array([code[name] for name in names], dtype=np.int64), {number: name for name, number in code.items()}
