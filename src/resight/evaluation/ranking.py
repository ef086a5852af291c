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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.common.identities import DISTRACTOR, JUNK
from resight.errors import ResightError
from resight.evaluation.distances import BLOCK_BYTES, DistanceRows, Rows, check_features, unit_rows

if TYPE_CHECKING:
    from resight.evaluation.reranking import RerankOptions

AP_CONVENTIONS = ("standard", "trapezoidal")

#: A gallery that takes more bytes in float32 is not held but read twice, in blocks of so many bytes.
_HELD_BYTES = 2 << 30
_STREAM_BYTES = 256 << 20


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
    device: str | None = None,
) -> RankingMetrics:
    """Rank the gallery for every query by the distance of L2-normalised features, and score the rankings.

    The distance is ``2 - 2 cos`` in float32, the squared Euclidean distance, which ranks as the Euclidean one does.
    Queries are processed in blocks, no array of Q×G is ever held and nothing is sorted: each right answer's rank is
    one more than the number of crops that are closer. Features may be memory maps; a gallery of more than 2 GiB in
    float32 is read in blocks, twice (re-ranking holds all features in float32).

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
            part in it); ``None`` does not.
        block: Queries at a time; by default as many as keep a block of distances within 32 MB.
        device: Where the distances are computed: ``None`` or ``"cpu"``, or the name of a device of PyTorch's, such as
            ``"cuda"``. Neighbours for re-ranking are searched there, too; all else runs on the CPU.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: Shapes that do not fit, values that are not finite, a feature vector of zeros, identities or
            options outside the above, a device that is not there, or no query with a right answer.

    Example:
        >>> import numpy as np
        >>> query = np.array([[1.0, 0.0]])
        >>> gallery = np.array([[0.9, 0.1], [0.8, 0.2], [0.0, 1.0]])
        >>> metrics = evaluate_retrieval(query, gallery, np.array([7]), np.array([3, 7, 7]))
        >>> metrics.rank1, metrics.rank5, round(metrics.mAP, 4), round(metrics.mINP, 4)
        (0.0, 1.0, 0.5833, 0.6667)
    """
    query, gallery = check_features(query_features, gallery_features)
    return evaluate_rows(
        Rows(query),
        Rows(gallery),
        query_identity,
        gallery_identity,
        query_camera,
        gallery_camera,
        ap=ap,
        max_rank=max_rank,
        rerank=rerank,
        block=block,
        device=device,
    )


def evaluate_rows(
    query_rows: Rows,
    gallery_rows: Rows,
    query_identity: np.ndarray,
    gallery_identity: np.ndarray,
    query_camera: np.ndarray | None,
    gallery_camera: np.ndarray | None,
    *,
    ap: str = "standard",
    max_rank: int = 50,
    rerank: RerankOptions | None = None,
    block: int | None = None,
    device: str | None = None,
) -> RankingMetrics:
    """:func:`evaluate_retrieval` of rows that are read from their arrays as needed."""
    labels = _check_labels(
        (len(query_rows), len(gallery_rows)),
        query_identity,
        gallery_identity,
        query_camera,
        gallery_camera,
        ap,
        max_rank,
        block,
    )
    about = {"ap": ap, "rerank": None if rerank is None else rerank.to_dict()}
    if rerank is not None:
        from resight.evaluation.reranking import Reranking

        reranked = Reranking(query_rows, gallery_rows, rerank, device)
        ranges = _blocks(len(query_rows), len(gallery_rows), 4, block)
        return _score(labels, ((rows, labels.drop_junk(reranked(rows))) for rows in ranges), max_rank, **about)
    query, _ = unit_rows(query_rows, "query")
    if 4 * gallery_rows.dim * np.count_nonzero(labels.kept) > _HELD_BYTES:
        return _score_streamed(labels, query, gallery_rows, max_rank, block, device, **about)
    gallery, mark = unit_rows(gallery_rows, "gallery", keep=labels.kept)
    distance_rows = DistanceRows(query, gallery, mark, device)
    ranges = _blocks(len(query), len(gallery), 4, block)
    return _score(labels, ((rows, distance_rows(rows)) for rows in ranges), max_rank, **about)


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
        (num_queries, num_gallery), query_identity, gallery_identity, query_camera, gallery_camera, ap, max_rank, block
    )
    kind = np.dtype(np.float32 if distances.dtype in (np.float16, np.float32) else np.float64)

    def rows_of(rows: slice) -> np.ndarray:
        part = distances[rows].astype(kind, order="C")
        finite = np.isfinite(part)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise ResightError(
                f"The distance of query {rows.start + row} and gallery crop {column} is {part[row, column]}: "
                "distances must be finite."
            )
        return labels.drop_junk(part)

    ranges = _blocks(num_queries, num_gallery, kind.itemsize, block)
    return _score(labels, ((rows, rows_of(rows)) for rows in ranges), max_rank, ap=ap, rerank=None)


@dataclass(frozen=True, eq=False)
class _Labels:
    """Labels of the queries and of the gallery without junk; ``kept`` says which crops of the gallery that is."""

    query_identity: np.ndarray
    gallery_identity: np.ndarray
    query_camera: np.ndarray | None
    gallery_camera: np.ndarray | None
    kept: np.ndarray

    def drop_junk(self, distances: np.ndarray) -> np.ndarray:
        """Distances to the whole gallery, ``(B, G)``, without the columns of junk."""
        return distances if self.kept.all() else distances[:, self.kept]


def _check_labels(
    shape: tuple[int, int],
    query_identity: np.ndarray,
    gallery_identity: np.ndarray,
    query_camera: np.ndarray | None,
    gallery_camera: np.ndarray | None,
    ap: str,
    max_rank: int,
    block: int | None,
) -> _Labels:
    if ap not in AP_CONVENTIONS:
        raise ResightError(
            f"There is no convention ap='{ap}' for average precision: use {' or '.join(AP_CONVENTIONS)}."
        )
    if max_rank < 1:
        raise ResightError(f"max_rank is {max_rank}: a CMC curve needs at least rank 1.")
    if block is not None and block < 1:
        raise ResightError(f"block is {block}: process at least one query at a time.")
    for name, size in zip(("query", "gallery"), shape, strict=True):
        if size == 0:
            raise ResightError(f"There is no {name} crop: there is nothing to evaluate.")
    if (query_camera is None) != (gallery_camera is None):
        missing = "query" if query_camera is None else "gallery"
        raise ResightError(
            f"The {missing} cameras are missing: give cameras for both query and gallery, or for neither."
        )
    identity = _column(query_identity, shape[0], "query", "identities")
    of_gallery = _column(gallery_identity, shape[1], "gallery", "identities")
    camera = None if query_camera is None else _column(query_camera, shape[0], "query", "cameras")
    gallery_cameras = None if gallery_camera is None else _column(gallery_camera, shape[1], "gallery", "cameras")
    bad = np.flatnonzero(identity <= DISTRACTOR)
    if len(bad):
        raise ResightError(
            f"Query row {bad[0]} has identity {identity[bad[0]]} ({len(bad)} such queries): a query must "
            "be of a person, and persons are numbered from 1 (0 is a distractor, -1 junk)."
        )
    bad = np.flatnonzero(of_gallery < JUNK)
    if len(bad):
        raise ResightError(
            f"Gallery row {bad[0]} has identity {of_gallery[bad[0]]} ({len(bad)} such crops), which is no "
            "label: give the person's number, 0 for a crop that is none of the queries' persons, or -1 to ignore it."
        )
    kept = of_gallery != JUNK
    return _Labels(identity, of_gallery[kept], camera, None if gallery_cameras is None else gallery_cameras[kept], kept)


def _column(values: np.ndarray, size: int, name: str, what: str) -> np.ndarray:
    column = np.asarray(values)
    if column.shape != (size,):
        raise ResightError(
            f"The {name} {what} have shape {column.shape}, but there are {size} {name} crops: give one value a crop."
        )
    if column.dtype.kind not in "iu":
        raise ResightError(f"The {name} {what} are of type {column.dtype}: give integers.")
    return column.astype(np.int64, copy=False)


def _blocks(num_queries: int, width: int, itemsize: int, block: int | None) -> Iterator[slice]:
    """Ranges of queries whose distances to ``width`` crops are held at once."""
    if block is None:
        block = max(1, BLOCK_BYTES // max(1, width * itemsize))
    for start in range(0, num_queries, block):
        yield slice(start, min(start + block, num_queries))


class _Answers:
    """Where the crops of each query's own identity are, found without looking at all crops for each query.

    Crops are numbered as in ``labels``, without junk.
    """

    def __init__(self, labels: _Labels) -> None:
        self._order = np.argsort(labels.gallery_identity, kind="stable")
        ordered = labels.gallery_identity[self._order]
        self._low = np.searchsorted(ordered, labels.query_identity, side="left")
        self._high = np.searchsorted(ordered, labels.query_identity, side="right")
        self._labels = labels

    def of(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crops of the identities of B queries.

        Args:
            rows: The queries.

        Returns:
            ``(B + 1,)`` where each query's begin, ``(P,)`` crops, ascending for a query, and ``(P,)`` bool: whether
            each is a right answer; it is ignored otherwise.
        """
        count = self._high[rows] - self._low[rows]
        begins = np.concatenate([[0], np.cumsum(count)])
        columns = self._order[np.arange(begins[-1]) + np.repeat(self._low[rows] - begins[:-1], count)]
        right = np.ones(len(columns), dtype=bool)
        if self._labels.query_camera is not None and self._labels.gallery_camera is not None:
            right = self._labels.gallery_camera[columns] != np.repeat(self._labels.query_camera[rows], count)
        return begins, columns, right


def _count(
    distances: np.ndarray,
    offset: int,
    answers: tuple[np.ndarray, np.ndarray, np.ndarray],
    closer: np.ndarray,
    known: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> None:
    """Add to ``closer`` how many crops of a block of the gallery rank before each right answer.

    Args:
        distances: ``(B, W)`` to the crops from ``offset`` on; overwritten.
        offset: First crop of the block.
        answers: From :meth:`_Answers.of`.
        closer: ``(P,)`` int64, one for each crop of ``answers``.
        known: ``(P,)`` distances of the right answers and their twins in the block, as :func:`_kernels.count_rows`
            takes them; ``None`` where the block is the whole gallery and holds them.
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


def _score(labels: _Labels, blocks: Iterable[tuple[slice, np.ndarray]], max_rank: int, **about: Any) -> RankingMetrics:
    """Metrics from the distances of consecutive ranges of queries to the whole gallery; the arrays are overwritten."""
    answers, tally = _Answers(labels), _Tally()
    for rows, distances in blocks:
        own = answers.of(rows)
        closer = np.zeros(len(own[1]), dtype=np.int64)
        _count(distances, 0, own, closer)
        tally.add(own, closer)
    return tally.metrics(labels, max_rank, **about)


def _score_streamed(
    labels: _Labels,
    query: np.ndarray,
    gallery: Rows,
    max_rank: int,
    block: int | None,
    device: str | None,
    **about: Any,
) -> RankingMetrics:
    """Metrics with a gallery that is too large to be held in float32: it is read twice, in blocks.

    The right answers' distances come first, pair by pair. The second pass counts who is closer; there, too, those
    pairs have the distances of the first, and so have exact duplicates of right answers, so that ties are kept.
    """
    from resight.common.kernels import run_rows
    from resight.evaluation import _kernels

    own = begins, columns, right = _Answers(labels).of(slice(0, len(query)))
    source = np.flatnonzero(labels.kept)  # rows of the gallery as given
    row = np.repeat(np.arange(len(query)), np.diff(begins))
    value, mark = np.empty(len(columns), np.float32), np.empty(len(columns), np.uint64)
    by_column = np.argsort(columns, kind="stable")
    step = max(1, _STREAM_BYTES // (4 * gallery.dim))
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
        for rows in _blocks(len(query), len(part), 4, block):
            p = slice(begins[rows.start], begins[rows.stop])
            _count(
                distance_rows(rows),
                offset,
                (begins[rows.start : rows.stop + 1] - p.start, columns[p], right[p]),
                closer[p],
                (value[p], twins, twin_begins[p], twin_ends[p]),
            )
        offset += len(part)
    tally = _Tally()
    tally.add(own, closer)
    return tally.metrics(labels, max_rank, **about)


class _Tally:
    """Gathers what each query scores."""

    def __init__(self) -> None:
        self._precision: dict[str, list[np.ndarray]] = {name: [] for name in AP_CONVENTIONS}
        self._first: list[np.ndarray] = []
        self._inverse_negative: list[np.ndarray] = []

    def add(self, answers: tuple[np.ndarray, np.ndarray, np.ndarray], closer: np.ndarray) -> None:
        """Score some queries.

        Args:
            answers: From :meth:`_Answers.of`.
            closer: ``(P,)`` how many crops rank before each right answer.
        """
        begins, _, right = answers
        query = np.repeat(np.arange(len(begins) - 1), np.diff(begins))[right]
        if not len(query):
            return
        rank = closer[right] + 1
        rank = rank[np.lexsort((rank, query))]
        count = np.bincount(query)
        count = count[count > 0]
        start = np.cumsum(count) - count
        nth = np.arange(len(rank)) - np.repeat(start, count) + 1
        share = nth / rank
        # Precision one rank earlier, where one right answer fewer was seen; 1 before the first rank.
        before = np.ones(len(rank))
        np.divide(nth - 1, rank - 1, out=before, where=rank > 1)
        for name, value in (("standard", share), ("trapezoidal", (before + share) / 2)):
            self._precision[name].append(np.add.reduceat(value, start) / count)
        self._first.append(rank[start])
        self._inverse_negative.append(count / rank[start + count - 1])

    def metrics(self, labels: _Labels, max_rank: int, *, ap: str, rerank: dict[str, float] | None) -> RankingMetrics:
        """Means over all queries added."""
        num_queries, num_gallery = len(labels.query_identity), len(labels.kept)
        if not self._first:
            same = "" if labels.query_camera is None else " from another camera"
            raise ResightError(
                f"None of the {num_queries} queries has a crop of its identity{same} among the {num_gallery} gallery "
                "crops: there is nothing to score; check that query and gallery number identities alike."
            )
        first_rank = np.concatenate(self._first)
        scored = len(first_rank)
        hits = np.bincount(np.minimum(first_rank, max_rank + 1), minlength=max_rank + 2)
        return RankingMetrics(
            mAP=float(np.concatenate(self._precision[ap]).mean()),
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
        )
