"""The figures of one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: The two ways to average the precision of one query; :func:`resight.evaluation.evaluate_retrieval` defines them.
AP_CONVENTIONS = ("standard", "trapezoidal")


@dataclass(frozen=True, eq=False)
class QueryScores:
    """What each of S scored queries contributed to the means.

    Attributes:
        query: ``(S,)`` int64, ascending: which query.
        average_precision: ``(S,)`` float64; the mean is mAP.
        first_rank: ``(S,)`` int64: the rank of the first right answer, from 1.
    """

    query: np.ndarray
    average_precision: np.ndarray
    first_rank: np.ndarray


@dataclass(frozen=True, eq=False)
class RankingMetrics:
    """Figures of one evaluation. Rates are fractions between 0 and 1, and means are over the scored queries.

    Attributes:
        mAP: Mean average precision, by the convention ``ap``.
        rank1: Share of queries whose first right answer has rank 1.
        rank5: Share of queries whose first right answer has rank 5 or better.
        rank10: Share of queries whose first right answer has rank 10 or better.
        mINP: Mean inverse negative penalty: the number of right answers divided by the rank of the last one.
        cmc: ``(max_rank,)`` float64 cumulative matching characteristic; ``cmc[k - 1]`` is the rank-k rate.
        num_queries: Number of queries.
        scored_queries: Number of queries with at least one right answer in the gallery.
        skipped_queries: Number of queries without a right answer in the gallery.
        gallery_size: Number of gallery crops, junk included.
        gallery_junk: Number of gallery crops with identity -1, which every query ignores.
        ap: ``"standard"`` or ``"trapezoidal"``.
        camera_rule: Whether cameras were given, so that crops with the query's identity and camera were ignored.
        rerank: Settings of the re-ranking (``k1``, ``k2``, ``lam``; with cameras ``intra_k1`` and so on), or ``None``.
        queries: The figures of each scored query. They are not part of :meth:`to_dict`.
    """

    mAP: float  # noqa: N815 - the name of the field
    rank1: float
    rank5: float
    rank10: float
    mINP: float  # noqa: N815
    cmc: np.ndarray
    num_queries: int
    scored_queries: int
    skipped_queries: int
    gallery_size: int
    gallery_junk: int
    ap: str
    camera_rule: bool
    rerank: dict[str, float] | None = None
    queries: QueryScores | None = None

    def to_dict(self) -> dict[str, Any]:
        """The attributes but ``queries`` as plain numbers, strings and lists, for JSON."""
        return {
            "mAP": self.mAP,
            "rank1": self.rank1,
            "rank5": self.rank5,
            "rank10": self.rank10,
            "mINP": self.mINP,
            "cmc": [float(rate) for rate in self.cmc],
            "num_queries": self.num_queries,
            "scored_queries": self.scored_queries,
            "skipped_queries": self.skipped_queries,
            "gallery_size": self.gallery_size,
            "gallery_junk": self.gallery_junk,
            "ap": self.ap,
            "camera_rule": self.camera_rule,
            "rerank": None if self.rerank is None else dict(self.rerank),
        }
