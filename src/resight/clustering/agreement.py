"""How far the neighbours of a crop's parts agree with the neighbours of the whole crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resight.common import checks
from resight.errors import ResightError


def cross_agreement(whole: Any, parts: Sequence[Any], k: int = 20) -> np.ndarray:
    """Cross agreement C_i(n) = |R_g(i) ∩ R_n(i)| / |R_g(i) ∪ R_n(i)| of crop i and its part n.

    R_g(i) are the k nearest neighbours of crop i by the embedding of the whole crop, and R_n(i) those by the embedding
    of part n; crop i itself is in neither. Source: Cho et al., "Part-based Pseudo Label Refinement for Unsupervised
    Person Re-identification", CVPR 2022, https://arxiv.org/abs/2203.14675.

    Args:
        whole: ``(N, m)`` indices of neighbours by the whole crop, m > k or m = N: all different, the crop itself first,
            then the nearest first, as the ``indices`` of :class:`~resight.clustering.Neighbours` are.
        parts: For each of P parts the same by that part.
        k: Number of neighbours compared; clipped to N − 1.

    Returns:
        ``(N, P)`` float32 in [0, 1]; 1 where N is 1.

    Raises:
        ResightError: ``k`` is below 1, or the lists are of different numbers of crops or too short for ``k``.
    """
    k = checks.whole("k, at least one neighbour per crop,", k)
    if not isinstance(parts, list | tuple):
        raise ResightError(f"The parts of the cross agreement are a list of arrays, not {checks.shown(parts)}.")
    whole, *lists = (checks.as_array("Lists of neighbours", found) for found in (whole, *parts))
    size = len(whole) if whole.ndim else 0
    k = min(k, size - 1)
    for found in (whole, *lists):
        if found.ndim != 2 or len(found) != size or found.shape[1] <= k or not size:
            raise ResightError(
                f"The cross agreement of {size} crops compares {k} neighbours per crop, the crop itself not counted, "
                f"but the lists have shape {found.shape}: search for {k + 1}."
            )
        if found.dtype.kind not in "iu" or not 0 <= found.min() <= found.max() < size:
            raise ResightError(
                f"Lists of neighbours of {size} crops hold indices from 0 to {size - 1} and nothing else."
            )
    from resight.clustering import _kernels
    from resight.common.kernels import run_rows

    result = np.ones((size, len(lists)), np.float32)
    if k < 1:
        return result
    ours = np.ascontiguousarray(whole[:, 1 : k + 1], np.int32)
    for n, found in enumerate(lists):
        theirs, out = np.ascontiguousarray(found[:, 1 : k + 1], np.int32), result[:, n]

        def work(start: int, stop: int, theirs: np.ndarray = theirs, out: np.ndarray = out) -> None:
            _kernels.overlap_rows(ours, theirs, out, start, stop)

        run_rows(work, size, chunk=max(256, size // 64))
    return result
