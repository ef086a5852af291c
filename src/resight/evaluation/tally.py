"""From distances to metrics: which crops are right answers, which ranks they have, and the means over queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from resight.errors import ResightError
from resight.evaluation.metrics import AP_CONVENTIONS, QueryScores, RankingMetrics
from resight.evaluation.validation import Labels

#: What :meth:`Answers.of` returns.
OwnCrops = tuple[np.ndarray, np.ndarray, np.ndarray]


class Answers:
    """Finds the gallery crops with a query's identity by binary search, without looking at all crops.

    Args:
        labels: Labels of queries and gallery. Crops are numbered as in ``labels``: without junk.
    """

    def __init__(self, labels: Labels) -> None:
        self._order = np.argsort(labels.gallery_identity, kind="stable")
        ordered = labels.gallery_identity[self._order]
        self._low = np.searchsorted(ordered, labels.query_identity, side="left")
        self._high = np.searchsorted(ordered, labels.query_identity, side="right")
        self._labels = labels

    def of(self, rows: slice) -> OwnCrops:
        """The crops with the identity of each of B queries, P crops in all.

        Args:
            rows: Which queries.

        Returns:
            ``(B + 1,)`` begins: the crops of query b are the entries ``begins[b]`` to ``begins[b + 1]`` of the other
            two arrays. ``(P,)`` crops, ascending within a query. ``(P,)`` bool: whether the crop is a right answer;
            otherwise it has the query's camera and is ignored.
        """
        count = self._high[rows] - self._low[rows]
        begins = np.concatenate([[0], np.cumsum(count)])
        columns = self._order[np.arange(begins[-1]) + np.repeat(self._low[rows] - begins[:-1], count)]
        right = np.ones(len(columns), dtype=bool)
        if self._labels.query_camera is not None and self._labels.gallery_camera is not None:
            right = self._labels.gallery_camera[columns] != np.repeat(self._labels.query_camera[rows], count)
        return begins, columns, right


def count_closer(
    distances: np.ndarray,
    offset: int,
    answers: OwnCrops,
    closer: np.ndarray,
    known: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> None:
    """Adds to ``closer`` how many crops of a block of the gallery rank before each right answer.

    Args:
        distances: ``(B, W)`` distances from B queries to the W crops from ``offset`` on; overwritten.
        offset: First crop of the block.
        answers: Crops of the queries' identities, from :meth:`Answers.of`.
        closer: ``(P,)`` int64, one count for each crop of ``answers``.
        known: ``(P,)`` distances of the right answers; indices of the block's crops, ordered so that equal features
            stand together; ``(P,)`` begins and ``(P,)`` ends of the right answers' features in that order. ``None``
            where the block is the whole gallery, so that ``distances`` holds the right answers.
    """
    from resight.common.kernels import run_rows
    from resight.evaluation import _kernels

    begins, columns, right = answers
    none = np.zeros(len(columns), dtype=np.int64)
    values, *twins = (np.empty(len(columns), distances.dtype), none[:0], none, none) if known is None else known

    def work(start: int, stop: int) -> None:
        _kernels.count_rows(
            distances, offset, begins, columns, right, values, known is not None, *twins, closer, start, stop
        )

    run_rows(work, len(distances), chunk=16)


def score(labels: Labels, blocks: Iterable[tuple[slice, np.ndarray]], max_rank: int, **about: Any) -> RankingMetrics:
    """Metrics from distances to the whole gallery.

    Args:
        labels: Labels of Q queries and K gallery crops.
        blocks: Consecutive ranges of queries that cover all Q, each with its ``(B, K)`` distances; the arrays are
            overwritten.
        max_rank: Length of the CMC curve.
        about: ``ap`` and ``rerank`` of the metrics.

    Returns:
        The metrics.

    Raises:
        ResightError: No query has a right answer.
    """
    answers, tally = Answers(labels), Tally()
    for rows, distances in blocks:
        own = answers.of(rows)
        closer = np.zeros(len(own[1]), dtype=np.int64)
        count_closer(distances, 0, own, closer)
        tally.add(own, closer)
    return tally.metrics(labels, max_rank, **about)


class Tally:
    """Collects what each query scores, and takes the means."""

    def __init__(self) -> None:
        self._precision: dict[str, list[np.ndarray]] = {name: [] for name in AP_CONVENTIONS}
        self._first: list[np.ndarray] = []
        self._inverse_negative: list[np.ndarray] = []
        self._query: list[np.ndarray] = []
        self._seen = 0

    def add(self, answers: OwnCrops, closer: np.ndarray) -> None:
        """Scores some queries, which follow those added before.

        Args:
            answers: Crops of the queries' identities, from :meth:`Answers.of`.
            closer: ``(P,)`` int64: how many crops rank before each right answer.
        """
        begins, _, right = answers
        query = np.repeat(np.arange(len(begins) - 1), np.diff(begins))[right]
        first_query, self._seen = self._seen, self._seen + len(begins) - 1
        if not len(query):
            return
        rank = closer[right] + 1
        rank = rank[np.lexsort((rank, query))]
        count = np.bincount(query)
        self._query.append(first_query + np.flatnonzero(count))
        count = count[count > 0]
        start = np.cumsum(count) - count
        nth = np.arange(len(rank)) - np.repeat(start, count) + 1
        share = nth / rank
        # Precision one rank earlier, with one right answer fewer; 1 before the first rank.
        before = np.ones(len(rank))
        np.divide(nth - 1, rank - 1, out=before, where=rank > 1)
        for name, value in (("standard", share), ("trapezoidal", (before + share) / 2)):
            self._precision[name].append(np.add.reduceat(value, start) / count)
        self._first.append(rank[start])
        self._inverse_negative.append(count / rank[start + count - 1])

    def metrics(self, labels: Labels, max_rank: int, *, ap: str, rerank: dict[str, float] | None) -> RankingMetrics:
        """Means over all queries added.

        Args:
            labels: Labels of all queries and of the gallery.
            max_rank: Length of the CMC curve.
            ap: ``"standard"`` or ``"trapezoidal"``.
            rerank: Settings of the re-ranking, or ``None``.

        Raises:
            ResightError: No query has a right answer.
        """
        num_queries, num_gallery = len(labels.query_identity), len(labels.kept)
        if not self._first:
            same = "" if labels.query_camera is None else " from another camera"
            raise ResightError(
                f"None of the {num_queries} queries has a crop of its identity{same} among the {num_gallery} gallery "
                "crops, so there is nothing to score: check that query and gallery number identities alike."
            )
        first_rank = np.concatenate(self._first)
        scored = len(first_rank)
        hits = np.bincount(np.minimum(first_rank, max_rank + 1), minlength=max_rank + 2)
        precision = np.concatenate(self._precision[ap])
        return RankingMetrics(
            mAP=float(precision.mean()),
            rank1=float(np.mean(first_rank <= 1)),
            rank5=float(np.mean(first_rank <= 5)),
            rank10=float(np.mean(first_rank <= 10)),
            mINP=float(np.concatenate(self._inverse_negative).mean()),
            cmc=np.cumsum(hits[1 : max_rank + 1]) / scored,
            num_queries=num_queries,
            scored_queries=scored,
            skipped_queries=num_queries - scored,
            gallery_size=num_gallery,
            gallery_junk=num_gallery - int(np.count_nonzero(labels.kept)),
            ap=ap,
            camera_rule=labels.query_camera is not None,
            rerank=rerank,
            queries=QueryScores(np.concatenate(self._query), precision, first_rank),
        )
