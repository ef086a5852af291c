"""Intervals of differences between models that were scored on the same queries.

The paired bootstrap is that of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), sections 8.3 and 13.3:
queries are drawn with replacement, each draw is applied to both models, and the interval has the percentiles of the
differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resight.common.checks import LARGEST_SEED, as_array, number, whole
from resight.errors import ResightError

#: Draws of the bootstrap, unless another number is asked for.
DRAWS = 10_000
#: Numbers that a block of draws holds at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class PairedDifference:
    """A difference of two means over the same queries.

    Attributes:
        difference: The other model's mean minus the baseline's.
        low: Lower end of the interval.
        high: Upper end of the interval.
        above: Share of the draws in which the difference is above 0; draws in which it is exactly 0 count half.
    """

    difference: float
    low: float
    high: float
    above: float


def paired_bootstrap(
    baseline: np.ndarray,
    others: np.ndarray,
    *,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> list[PairedDifference]:
    """Compares figures per query of several models with those of a baseline.

    The draws depend on the seed and on the number of queries alone. So the interval of one model does not change with
    the others that are compared.

    Args:
        baseline: ``(Q,)`` numbers, one per query, such as average precisions.
        others: ``(M, Q)`` numbers of M models, for the same queries in the same order.
        draws: How many times Q queries are drawn with replacement.
        level: Share of the draws' differences that the interval holds.
        seed: Seed of the draws.

    Returns:
        M differences, in the order of ``others``.

    Raises:
        ResightError: the shapes do not fit, there is no query, a number is not finite, or an option is out of range.
    """
    first, rest = as_array("The baseline", baseline), as_array("The others", others)
    if first.ndim != 1 or rest.ndim != 2 or rest.shape[1] != len(first) or not len(first):
        raise ResightError(
            f"The baseline has shape {first.shape} and the others {rest.shape}: give (Q,) and (M, Q) numbers, one per "
            "query."
        )
    for name, values in (("The baseline", first), ("The others", rest)):
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            raise ResightError(f"{name} must hold finite real numbers.")
    draws, seed = whole("draws", draws), whole("seed", seed, least=0, most=LARGEST_SEED)
    level = number("level", level, above=0, below=1)
    change = (rest.astype(np.float64) - first).T
    queries, rng = len(first), np.random.default_rng(seed)
    step = max(1, _BLOCK // queries)
    means = np.empty((draws, rest.shape[0]))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        drawn = rng.integers(queries, size=(count, queries))
        drawn += queries * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * queries).reshape(count, queries)
        means[start : start + count] = times @ change / queries
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    above = (means > 0).mean(axis=0) + (means == 0).mean(axis=0) / 2
    rows = zip(change.mean(axis=0), low, high, above, strict=True)
    return [PairedDifference(*map(float, row)) for row in rows]
