"""Metrics with a gallery that is too large to be held in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from resight.evaluation.distances import DistanceRows, Rows, query_ranges, unit_rows
from resight.evaluation.metrics import RankingMetrics
from resight.evaluation.tally import Answers, Tally, count_closer
from resight.evaluation.validation import Labels

#: A gallery that takes more bytes than this in float32, without junk, is read in blocks.
HELD_BYTES = 2 << 30
#: Bytes of one such block in float32.
STREAM_BYTES = 256 << 20


def too_large(gallery: Rows, labels: Labels) -> bool:
    """Whether a gallery is to be read in blocks."""
    return 4 * gallery.dim * int(np.count_nonzero(labels.kept)) > HELD_BYTES


def score_streamed(
    labels: Labels,
    query: np.ndarray,
    gallery: Rows,
    max_rank: int,
    block: int | None,
    device: str | None,
    **about: Any,
) -> RankingMetrics:
    """Metrics from a gallery that is read twice, in blocks.

    The first pass computes the distances of the right answers, pair by pair. The second pass counts the crops that are
    closer. In it, the right answers and the exact duplicates of their features have the distances of the first pass:
    so crops with equal features tie in every block.

    Args:
        labels: Labels of Q queries and of the gallery.
        query: ``(Q, D)`` float32 features of length 1.
        gallery: G rows of D numbers, junk included.
        max_rank: Length of the CMC curve.
        block: Queries at a time; ``None`` limits a block of distances to 32 MB.
        device: Where distances are computed: ``None`` or ``"cpu"``, or a device of PyTorch.
        about: ``ap`` and ``rerank`` of the metrics.

    Returns:
        The metrics.

    Raises:
        ResightError: A gallery feature is not finite or all zeros, the device is not available, or no query has a
            right answer.
    """
    own = begins, columns, right = Answers(labels).of(slice(0, len(query)))
    step = max(1, STREAM_BYTES // (4 * gallery.dim))
    value, mark = _right_distances(query, gallery, np.flatnonzero(labels.kept), begins, columns, step)
    closer = np.zeros(len(columns), dtype=np.int64)
    offset = 0
    for start in range(0, len(gallery), step):
        which = range(start, min(start + step, len(gallery)))
        part, part_mark = unit_rows(gallery, "gallery", which, labels.kept[start : start + step])
        if not len(part):
            continue
        twins = np.argsort(part_mark, kind="stable")
        twin_begins = np.searchsorted(part_mark[twins], mark, side="left")
        twin_ends = np.searchsorted(part_mark[twins], mark, side="right")
        distance_rows = DistanceRows(query, part, None, device)
        for rows in query_ranges(len(query), len(part), 4, block):
            p = slice(begins[rows.start], begins[rows.stop])
            count_closer(
                distance_rows(rows),
                offset,
                (begins[rows.start : rows.stop + 1] - p.start, columns[p], right[p]),
                closer[p],
                (value[p], twins, twin_begins[p], twin_ends[p]),
            )
        offset += len(part)
    tally = Tally()
    tally.add(own, closer)
    return tally.metrics(labels, max_rank, **about)


def _right_distances(
    query: np.ndarray, gallery: Rows, source: np.ndarray, begins: np.ndarray, columns: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances between each query and the P crops of its identity, read in blocks of ``step`` crops.

    Args:
        query: ``(Q, D)`` float32 features of length 1.
        gallery: G rows.
        source: ``(K,)`` which of the G rows each gallery crop without junk is.
        begins: ``(Q + 1,)`` from :meth:`Answers.of`.
        columns: ``(P,)`` from :meth:`Answers.of`.
        step: Crops at a time.

    Returns:
        ``(P,)`` float32 distances and ``(P,)`` uint64 hashes of the crops' features.
    """
    from resight.common.kernels import run_rows
    from resight.evaluation import _kernels

    row = np.repeat(np.arange(len(query)), np.diff(begins))
    value, mark = np.empty(len(columns), np.float32), np.empty(len(columns), np.uint64)
    by_column = np.argsort(columns, kind="stable")
    wanted, first_pair = np.unique(columns[by_column], return_index=True)
    ends = np.append(first_pair, len(columns))
    for start in range(0, len(wanted), step):
        crops = wanted[start : start + step]
        pairs = by_column[ends[start] : ends[start + len(crops)]]
        who, place = row[pairs], np.searchsorted(crops, columns[pairs])
        part, part_mark = unit_rows(gallery, "gallery", source[crops])
        mark[pairs] = part_mark[place]
        found = np.empty((len(pairs), 1), np.float32)

        def pair(
            first: int, last: int, who: Any = who, part: Any = part, place: Any = place, found: Any = found
        ) -> None:
            _kernels.pair_cosines(query, who, part, place, found[:, 0], first, last)
            _kernels.distances_from_cosines(found, first, last)

        run_rows(pair, len(pairs), chunk=4096)
        value[pairs] = found[:, 0]
    return value, mark
