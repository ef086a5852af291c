"""How far parts of a crop agree with the whole about who its neighbours are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resight.errors import ResightError


def cross_agreement(whole: Any, parts: Sequence[Any], k: int = 20) -> np.ndarray:
    """Cross agreement C_i(n) = |R_g(i) ∩ R_n(i)| / |R_g(i) ∪ R_n(i)| (Cho et al. 2022, https://arxiv.org/abs/2203.14675).

    R_g(i) are the k nearest neighbours of crop i by the embedding of the whole crop, R_n(i) those by its part n, i
    itself in neither.

    Args:
        whole: ``(N, m)`` neighbours as the ``indices`` of :class:`~resight.clustering.Neighbours` hold them: all
            different, the crop itself first, then the nearest; m > k, or all N.
        parts: The same for each of P parts.
        k: Neighbours compared; clipped to N − 1.

    Returns:
        ``(N, P)`` float32 in [0, 1]; 1 for a crop without neighbours.

    Raises:
        ResightError: The lists are of different crops or shorter than k asks for.
    """
    if k < 1:
        raise ResightError(f"The cross agreement needs at least one neighbour a crop, got k={k}.")
    whole = np.asarray(whole)
    lists = [np.asarray(part) for part in parts]
    size = len(whole)
    k = min(k, size - 1)
    for found in (whole, *lists):
        if found.ndim != 2 or len(found) != size or found.shape[1] <= k:
            raise ResightError(
                f"The cross agreement of {size} crops compares {k} neighbours a crop beside the crop itself; got lists "
                f"of shape {found.shape}: search for {k + 1}."
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
