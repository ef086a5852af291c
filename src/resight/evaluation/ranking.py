"""Retrieval metrics of person re-identification: CMC, mAP and mINP.

The protocol is that of Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015); mINP is
from Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook" (https://arxiv.org/abs/2001.04193).

Rules, for one query:

- Gallery crops of the query's identity **and** its camera are ignored; without camera arrays none are.
- Gallery crops of identity -1 (junk) are ignored; identity 0 (distractor) stays in, always a wrong answer.
- Crops with the same distance keep the order of the gallery.
- A query left with no right answer is skipped and counted, never scored 0.

Persons are numbered from 1. A query of identity 0 or below is an error, because it can have no right answer and usually
means labels that start at 0; so is a gallery identity below -1 (an unlabelled crop might be a right answer).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.errors import ResightError

if TYPE_CHECKING:
    from resight.evaluation.reranking import RerankOptions

#: Identity of gallery crops that are ignored.
JUNK = -1
#: Identity of gallery crops that are wrong answers to every query.
DISTRACTOR = 0

AP_CONVENTIONS = ("standard", "trapezoidal")

#: Upper bound of the bytes of one block of distances when the caller names no block size.
_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class RankingMetrics:
    """What one evaluation found. All rates are fractions between 0 and 1.

    Attributes:
        mAP: Mean average precision over the scored queries, by the convention ``ap``.
        rank1: Share of scored queries whose first right answer is ranked first.
        rank5: The same within the first 5.
        rank10: The same within the first 10.
        mINP: Mean of (number of right answers / rank of the last one).
        cmc: ``(max_rank,)`` float64; ``cmc[k - 1]`` is the rank-k rate.
        num_queries: Queries given.
        scored_queries: Queries with a right answer in the gallery: all means are over these.
        skipped_queries: Queries without one.
        gallery_size: Crops in the gallery, junk included.
        gallery_junk: Crops of identity -1 among them, ignored for every query.
        ap: ``"standard"`` or ``"trapezoidal"``.
        camera_rule: Whether cameras were given, so that same-camera crops of the query's identity were ignored.
        rerank: Options of the k-reciprocal re-ranking the figures were reached with, or ``None``.
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

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, for JSON; rates stay fractions between 0 and 1."""
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


def evaluate_retrieval(
    query_features: np.ndarray,
    gallery_features: np.ndarray,
    query_identity: np.ndarray,
    gallery_identity: np.ndarray,
    query_camera: np.ndarray | None = None,
    gallery_camera: np.ndarray | None = None,
    *,
    ap: str = "standard",
    max_rank: int = 50,
    rerank: RerankOptions | None = None,
    block: int | None = None,
) -> RankingMetrics:
    """Rank the gallery for every query by the distance of L2-normalised features, and score the rankings.

    The distance is ``2 - 2 cos`` in float32, the squared Euclidean distance, which ranks as the Euclidean one does.
    Queries are processed in blocks; without re-ranking, no array of Q×G is ever held.

    Args:
        query_features: ``(Q, D)`` floats, of any scale.
        gallery_features: ``(G, D)`` floats.
        query_identity: ``(Q,)`` integers, at least 1.
        gallery_identity: ``(G,)`` integers; -1 is junk, 0 a distractor.
        query_camera: ``(Q,)`` integers, or ``None`` together with ``gallery_camera``: then no crop is ignored for its
            camera, and a crop that is in both sets is its own right answer.
        gallery_camera: ``(G,)`` integers, or ``None``.
        ap: ``"standard"``, the mean over right answers of (right answers so far / rank), or ``"trapezoidal"``, the area
            under the precision-recall curve by trapezia, as in Market-1501's own MATLAB code.
        max_rank: Length of the CMC curve.
        rerank: Re-rank with k-reciprocal encoding first, over query and gallery as given, junk included (no label takes
            part in it); ``None`` does not. Holds one float32 array of Q×G.
        block: Queries at a time; by default as many as keep a block of distances within 32 MB.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: Shapes that do not fit, values that are not finite, a feature vector of zeros, identities or
            options outside the above, or no query with a right answer.

    Example:
        >>> import numpy as np
        >>> query = np.array([[1.0, 0.0]])
        >>> gallery = np.array([[0.9, 0.1], [0.8, 0.2], [0.0, 1.0]])
        >>> metrics = evaluate_retrieval(query, gallery, np.array([7]), np.array([3, 7, 7]))
        >>> metrics.rank1, metrics.rank5, round(metrics.mAP, 4), round(metrics.mINP, 4)
        (0.0, 1.0, 0.5833, 0.6667)
    """
    query, gallery = check_features(query_features, gallery_features)
    labels = _check_labels(
        (len(query), len(gallery)), query_identity, gallery_identity, query_camera, gallery_camera, ap, max_rank
    )
    if rerank is not None:
        from resight.evaluation.reranking import rerank_distances

        distances = rerank_distances(query, gallery, rerank.k1, rerank.k2, rerank.lam)
        return _score(labels, lambda rows: distances[rows], np.float32, ap, max_rank, block, rerank.to_dict())
    distance_rows = DistanceRows(unit_features(query, "query"), unit_features(gallery, "gallery"))
    return _score(labels, distance_rows, np.float32, ap, max_rank, block, None)


def evaluate_distances(
    distances: np.ndarray,
    query_identity: np.ndarray,
    gallery_identity: np.ndarray,
    query_camera: np.ndarray | None = None,
    gallery_camera: np.ndarray | None = None,
    *,
    ap: str = "standard",
    max_rank: int = 50,
    block: int | None = None,
) -> RankingMetrics:
    """Score the rankings that given distances lead to; otherwise as :func:`evaluate_retrieval`.

    Args:
        distances: ``(Q, G)`` finite numbers, small for a likely match. Not changed; compared in their own precision.
        query_identity: ``(Q,)`` integers, at least 1.
        gallery_identity: ``(G,)`` integers; -1 is junk, 0 a distractor.
        query_camera: ``(Q,)`` integers, or ``None``.
        gallery_camera: ``(G,)`` integers, or ``None``.
        ap: ``"standard"`` or ``"trapezoidal"``.
        max_rank: Length of the CMC curve.
        block: Queries at a time.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: As for :func:`evaluate_retrieval`.
    """
    distances = np.asarray(distances)
    if distances.ndim != 2:
        raise ResightError(f"Distances have shape {distances.shape}: give one row a query, one column a gallery crop.")
    if distances.dtype.kind not in "fiub":
        raise ResightError(f"Distances are of type {distances.dtype}: give real numbers.")
    num_queries, num_gallery = distances.shape
    labels = _check_labels(
        (num_queries, num_gallery), query_identity, gallery_identity, query_camera, gallery_camera, ap, max_rank
    )
    kind: type[np.floating] = np.float64
    if distances.dtype in (np.float16, np.float32):
        kind = np.float32

    def rows_of(rows: slice) -> np.ndarray:
        part = distances[rows].astype(kind)
        finite = np.isfinite(part)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise ResightError(
                f"The distance of query {rows.start + row} and gallery crop {column} is {part[row, column]}: "
                "distances must be finite."
            )
        return part

    return _score(labels, rows_of, kind, ap, max_rank, block, None)


def check_features(query_features: np.ndarray, gallery_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Query and gallery features as two-dimensional arrays of equal width, or a sentence about what is wrong.

    Args:
        query_features: ``(Q, D)``.
        gallery_features: ``(G, D)``.

    Returns:
        Both as arrays, unchanged.

    Raises:
        ResightError: Shapes that do not fit, or an empty set.
    """
    sets = {"query": np.asarray(query_features), "gallery": np.asarray(gallery_features)}
    for name, features in sets.items():
        if features.ndim != 2:
            raise ResightError(f"The {name} features have shape {features.shape}: give one row of numbers a crop.")
        if features.dtype.kind not in "fiu":
            raise ResightError(f"The {name} features are of type {features.dtype}: give real numbers.")
        if features.shape[0] == 0:
            raise ResightError(f"There is no {name} crop: there is nothing to evaluate.")
    query, gallery = sets["query"], sets["gallery"]
    if query.shape[1] != gallery.shape[1] or query.shape[1] == 0:
        raise ResightError(
            f"Query features have {query.shape[1]} numbers a crop and gallery features {gallery.shape[1]}: "
            "both must come from the same encoder."
        )
    return query, gallery


def unit_features(features: np.ndarray, name: str) -> np.ndarray:
    """Rows of length 1 in float32.

    Args:
        features: ``(N, D)``.
        name: What the set is called in messages, ``"query"`` or ``"gallery"``.

    Returns:
        ``(N, D)`` float32, a new array.

    Raises:
        ResightError: A row that is not finite or all zero, with its number.
    """
    unit = np.empty(features.shape, dtype=np.float32)
    step = max(1, _BLOCK_BYTES // (16 * features.shape[1]))
    for start in range(0, len(features), step):
        part = features[start : start + step].astype(np.float64)
        norm = np.sqrt(np.einsum("ij,ij->i", part, part))
        bad = ~(np.isfinite(norm) & (norm > 0))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            if not np.isfinite(part[row]).all():
                problem = "holds NaN or infinite values"
            elif norm[row] == 0:
                problem = "is all zeros, so it has no direction"
            else:
                problem = "has values too large to be squared"
            raise ResightError(
                f"The feature vector of {name} row {start + row} {problem}: check the encoder's output for that crop."
            )
        unit[start : start + step] = part / norm[:, None]
    unit += 0  # makes -0 a 0, so that equal rows have equal bits
    return unit


class DistanceRows:
    """Rows of the matrix of ``2 - 2 cos`` between two sets, computed when asked for.

    Distances are float32 and never negative. Exact duplicates among the columns get exactly equal distances, so that
    they tie: matrix products alone can part them in the last bit. Otherwise that bit may depend on which rows are asked
    for together.

    Args:
        rows: ``(Q, D)`` float32 of length 1, from :func:`unit_features`.
        columns: ``(G, D)``, likewise.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self._rows = rows
        self._columns = columns.T
        self._copies, self._originals = _duplicates(columns)

    def __call__(self, rows: slice) -> np.ndarray:
        """``(len(rows), G)`` float32, a new array."""
        distances: np.ndarray = self._rows[rows] @ self._columns
        distances *= -2
        distances += 2
        np.maximum(distances, 0, out=distances)
        if len(self._copies):
            distances[:, self._copies] = distances[:, self._originals]
        return distances


def _duplicates(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that repeat an earlier row bit by bit, and that earlier row, both ``(C,)``."""
    rng = np.random.default_rng(0)
    factors = rng.integers(1 << 63, size=features.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mark = np.empty(len(features), dtype=np.uint64)
    step = max(1, _BLOCK_BYTES // (16 * features.shape[1]))
    for start in range(0, len(features), step):
        bits = np.ascontiguousarray(features[start : start + step]).view(np.uint32)
        mark[start : start + step] = (bits * factors).sum(axis=1)  # modulo 2**64
    _, first, inverse = np.unique(mark, return_index=True, return_inverse=True)
    original = first[inverse]
    copies = np.flatnonzero(original != np.arange(len(features)))
    same = np.array([np.array_equal(features[i], features[original[i]]) for i in copies], dtype=bool)
    copies = copies[same]
    return copies, original[copies]


@dataclass(frozen=True, eq=False)
class _Labels:
    query_identity: np.ndarray
    gallery_identity: np.ndarray
    query_camera: np.ndarray | None
    gallery_camera: np.ndarray | None


def _check_labels(
    shape: tuple[int, int],
    query_identity: np.ndarray,
    gallery_identity: np.ndarray,
    query_camera: np.ndarray | None,
    gallery_camera: np.ndarray | None,
    ap: str,
    max_rank: int,
) -> _Labels:
    if ap not in AP_CONVENTIONS:
        raise ResightError(
            f"There is no convention ap='{ap}' for average precision: use {' or '.join(AP_CONVENTIONS)}."
        )
    if max_rank < 1:
        raise ResightError(f"max_rank is {max_rank}: a CMC curve needs at least rank 1.")
    for name, size in zip(("query", "gallery"), shape, strict=True):
        if size == 0:
            raise ResightError(f"There is no {name} crop: there is nothing to evaluate.")
    if (query_camera is None) != (gallery_camera is None):
        missing = "query" if query_camera is None else "gallery"
        raise ResightError(
            f"The {missing} cameras are missing: give cameras for both query and gallery, or for neither."
        )
    labels = _Labels(
        _column(query_identity, shape[0], "query", "identities"),
        _column(gallery_identity, shape[1], "gallery", "identities"),
        None if query_camera is None else _column(query_camera, shape[0], "query", "cameras"),
        None if gallery_camera is None else _column(gallery_camera, shape[1], "gallery", "cameras"),
    )
    bad = np.flatnonzero(labels.query_identity <= DISTRACTOR)
    if len(bad):
        raise ResightError(
            f"Query row {bad[0]} has identity {labels.query_identity[bad[0]]} ({len(bad)} such queries): a query must "
            "be of a person, and persons are numbered from 1 (0 is a distractor, -1 junk)."
        )
    bad = np.flatnonzero(labels.gallery_identity < JUNK)
    if len(bad):
        raise ResightError(
            f"Gallery row {bad[0]} has identity {labels.gallery_identity[bad[0]]} ({len(bad)} such crops), which is no "
            "label: give the person's number, 0 for a crop that is none of the queries' persons, or -1 to ignore it."
        )
    return labels


def _column(values: np.ndarray, size: int, name: str, what: str) -> np.ndarray:
    column = np.asarray(values)
    if column.shape != (size,):
        raise ResightError(
            f"The {name} {what} have shape {column.shape}, but there are {size} {name} crops: give one value a crop."
        )
    if column.dtype.kind not in "iu":
        raise ResightError(f"The {name} {what} are of type {column.dtype}: give integers.")
    return column.astype(np.int64, copy=False)


def _score(
    labels: _Labels,
    distance_rows: Callable[[slice], np.ndarray],
    kind: type[np.floating],
    ap: str,
    max_rank: int,
    block: int | None,
    rerank: dict[str, float] | None,
) -> RankingMetrics:
    """Metrics from blocks of distances; ``distance_rows`` may hand out arrays that are then overwritten."""
    num_queries, num_gallery = len(labels.query_identity), len(labels.gallery_identity)
    if block is None:
        block = max(1, _BLOCK_BYTES // (num_gallery * np.dtype(kind).itemsize))
    elif block < 1:
        raise ResightError(f"block is {block}: process at least one query at a time.")

    # One entry a scored query.
    precision: list[np.ndarray] = []
    first: list[np.ndarray] = []
    inverse_negative: list[np.ndarray] = []
    for start in range(0, num_queries, block):
        rows = slice(start, min(start + block, num_queries))
        query, rank, count = _ranks_of_right_answers(labels, distance_rows(rows), rows)
        if not len(query):
            continue
        # Right answers are sorted by query, then rank: the k-th right answer of its query.
        begins = np.cumsum(count) - count
        nth = np.arange(len(query)) - np.repeat(begins, count) + 1
        share = nth / rank
        if ap == "trapezoidal":
            # Precision one rank earlier, where one right answer fewer was seen; 1 before the first rank.
            before = np.ones(len(rank))
            np.divide(nth - 1, rank - 1, out=before, where=rank > 1)
            share = (before + share) / 2
        precision.append(np.add.reduceat(share, begins) / count)
        first.append(rank[begins])
        inverse_negative.append(count / rank[begins + count - 1])
    if not first:
        same = "" if labels.query_camera is None else " from another camera"
        raise ResightError(
            f"None of the {num_queries} queries has a crop of its identity{same} among the {num_gallery} gallery "
            "crops: there is nothing to score; check that query and gallery number identities alike."
        )
    first_rank = np.concatenate(first)
    scored = len(first_rank)
    hits = np.bincount(np.minimum(first_rank, max_rank + 1), minlength=max_rank + 2)
    return RankingMetrics(
        mAP=float(np.concatenate(precision).mean()),
        rank1=float(np.mean(first_rank <= 1)),
        rank5=float(np.mean(first_rank <= 5)),
        rank10=float(np.mean(first_rank <= 10)),
        mINP=float(np.concatenate(inverse_negative).mean()),
        cmc=np.cumsum(hits[1 : max_rank + 1]) / scored,
        num_queries=num_queries,
        scored_queries=scored,
        skipped_queries=num_queries - scored,
        gallery_size=num_gallery,
        gallery_junk=int(np.count_nonzero(labels.gallery_identity == JUNK)),
        ap=ap,
        camera_rule=labels.query_camera is not None,
        rerank=rerank,
    )


def _ranks_of_right_answers(
    labels: _Labels, distances: np.ndarray, rows: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the right answers of a block of queries stand.

    No ranking is written down: distances are sorted by value, and each right answer is looked up among them.

    Args:
        labels: Labels of all queries and of the gallery.
        distances: ``(B, G)``, of the queries ``rows``; overwritten.
        rows: The queries.

    Returns:
        ``(R,)`` query within the block and ``(R,)`` rank from 1 of every right answer, sorted by both, and the number
        of right answers of each query that has any.
    """
    identity = labels.query_identity[rows, None]
    right = labels.gallery_identity == identity
    ignored: np.ndarray = labels.gallery_identity == JUNK
    if labels.query_camera is not None:
        same_camera = right & (labels.gallery_camera == labels.query_camera[rows, None])
        right &= ~same_camera
        ignored = ignored | same_camera
    else:
        ignored = np.broadcast_to(ignored, right.shape)
    query, column = np.nonzero(right)
    if not len(query):
        return query, query, query
    np.copyto(distances, np.inf, where=ignored)  # all others are finite
    value = distances[query, column]
    ordered = np.sort(distances, axis=1)
    closer = _count(ordered, query, value, "left")
    rank = closer + 1
    tied = np.flatnonzero(_count(ordered, query, value, "right") > closer + 1)
    del ordered
    step = max(1, _BLOCK_BYTES // (distances.shape[1] * distances.itemsize))
    for start in range(0, len(tied), step):
        part = tied[start : start + step]
        equal = distances[query[part]] == value[part, None]
        equal &= np.arange(distances.shape[1]) < column[part, None]
        rank[part] += np.count_nonzero(equal, axis=1)
    order = np.lexsort((rank, query))
    return query, rank[order], np.unique(query, return_counts=True)[1]


def _count(ordered: np.ndarray, row: np.ndarray, value: np.ndarray, side: str) -> np.ndarray:
    """``np.searchsorted(ordered[row[i]], value[i], side)`` for all i at once, by bisection."""
    low = np.zeros(len(row), dtype=np.int64)
    high = np.full(len(row), ordered.shape[1], dtype=np.int64)
    for _ in range(int(ordered.shape[1]).bit_length()):
        middle = (low + high) >> 1
        found = ordered[row, np.minimum(middle, ordered.shape[1] - 1)]
        below = found < value if side == "left" else found <= value
        below &= low < high
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, middle)
    return low
