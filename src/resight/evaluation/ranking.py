"""Retrieval metrics of re-identification: CMC, mAP and mINP.

The protocol is that of Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015); mINP is
from Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook" (https://arxiv.org/abs/2001.04193).

Rules for one query:

- Gallery crops with the query's identity **and** the query's camera are ignored; without cameras, none are.
- Gallery crops of identity -1 (junk) are ignored. Identity 0 (distractor) stays in and is always a wrong answer.
- Crops at the same distance keep the order of the gallery.
- A query without a right answer is skipped and counted, never scored 0.

Identities are numbered from 1. A query of identity 0 or below is an error: it can have no right answer, and usually
means that identities start at 0. A gallery identity below -1 is an error, too: an unlabelled crop might be a right
answer.
"""

from __future__ import annotations

import numpy as np

from resight.common.checks import as_array, instance
from resight.errors import ResightError
from resight.evaluation import reranking
from resight.evaluation.distances import DistanceRows, Rows, check_features, query_ranges, unit_rows
from resight.evaluation.metrics import RankingMetrics
from resight.evaluation.streaming import score_streamed, too_large
from resight.evaluation.tally import score
from resight.evaluation.validation import check_labels, check_options


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
    rerank: reranking.RerankOptions | None = None,
    block: int | None = None,
    device: str | None = None,
) -> RankingMetrics:
    """Ranks the gallery for every query by the distance of L2-normalised features, and scores the rankings.

    The distance is ``2 - 2 cos`` in float32: the squared Euclidean distance, which ranks as the Euclidean distance
    does. No array of Q×G is held and nothing is sorted: the rank of a right answer is one more than the number of
    crops that are closer. Features may be memory maps. A gallery of more than 2 GiB in float32 is read twice, in
    blocks, unless there is re-ranking, which holds all features in float32.

    Args:
        query_features: ``(Q, D)`` numbers, of any scale.
        gallery_features: ``(G, D)`` numbers.
        query_identity: ``(Q,)`` integers, at least 1.
        gallery_identity: ``(G,)`` integers; -1 is junk, 0 is a distractor.
        query_camera: ``(Q,)`` integers, or ``None`` together with ``gallery_camera``. Without cameras no crop is
            ignored for its camera, so a crop that is in both sets is a right answer to itself.
        gallery_camera: ``(G,)`` integers, or ``None``.
        ap: ``"standard"``: the mean over right answers of (right answers so far / rank). ``"trapezoidal"``: the area
            under the precision-recall curve by trapezia, as in Market-1501's MATLAB code.
        max_rank: Length of the CMC curve.
        rerank: Settings of k-reciprocal re-ranking over all queries and gallery crops, junk included (no label
            but, with ``rerank.cameras``, the camera is used); ``None`` does not re-rank.
        block: Queries at a time; ``None`` limits a block of distances to 32 MB.
        device: Where distances are computed, and neighbours searched for re-ranking: ``None`` or ``"cpu"``, or a
            device of PyTorch such as ``"cuda"``. The rest runs on the CPU.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: Shapes do not fit, a feature is not finite or all zeros, an identity or an option is out of
            range, the device is not available, re-ranking asks for cameras and there are fewer than 3, or no query has
            a right answer.

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
    rerank: reranking.RerankOptions | None = None,
    block: int | None = None,
    device: str | None = None,
) -> RankingMetrics:
    """:func:`evaluate_retrieval` with features that are read from their arrays as needed.

    Args:
        query_rows: Q rows of D numbers.
        gallery_rows: G rows of D numbers.
        query_identity: ``(Q,)`` integers, at least 1.
        gallery_identity: ``(G,)`` integers; -1 is junk, 0 is a distractor.
        query_camera: ``(Q,)`` integers, or ``None`` together with ``gallery_camera``.
        gallery_camera: ``(G,)`` integers, or ``None``.
        ap: ``"standard"`` or ``"trapezoidal"``.
        max_rank: Length of the CMC curve.
        rerank: Settings of k-reciprocal re-ranking, or ``None``.
        block: Queries at a time; ``None`` limits a block of distances to 32 MB.
        device: Where distances are computed: ``None`` or ``"cpu"``, or a device of PyTorch.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: A feature is not finite or all zeros, a label or an option is out of range, the device is not
            available, or no query has a right answer.
    """
    max_rank, block = check_options(ap, max_rank, block)
    if rerank is not None:
        instance("rerank", rerank, reranking.RerankOptions, "RerankOptions() has the defaults")
    size = len(query_rows), len(gallery_rows)
    labels = check_labels(size, query_identity, gallery_identity, query_camera, gallery_camera)
    about = {"ap": ap, "rerank": None if rerank is None else rerank.to_dict()}
    if rerank is not None:
        cameras = None
        if query_camera is not None and gallery_camera is not None:
            cameras = np.concatenate([np.asarray(query_camera), np.asarray(gallery_camera)])
        reranked = reranking.Reranking(query_rows, gallery_rows, rerank, device, cameras)
        ranges = query_ranges(*size, 4, block)
        return score(labels, ((rows, labels.drop_junk(reranked(rows))) for rows in ranges), max_rank, **about)
    query, _ = unit_rows(query_rows, "query")
    if too_large(gallery_rows, labels):
        return score_streamed(labels, query, gallery_rows, max_rank, block, device, **about)
    gallery, mark = unit_rows(gallery_rows, "gallery", keep=labels.kept)
    distance_rows = DistanceRows(query, gallery, mark, device)
    ranges = query_ranges(len(query), len(gallery), 4, block)
    return score(labels, ((rows, distance_rows(rows)) for rows in ranges), max_rank, **about)


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
    """Scores the rankings that given distances lead to, by the rules of :func:`evaluate_retrieval`.

    Args:
        distances: ``(Q, G)`` finite numbers, small for a likely match; compared in their own precision, not changed.
        query_identity: ``(Q,)`` integers, at least 1.
        gallery_identity: ``(G,)`` integers; -1 is junk, 0 is a distractor.
        query_camera: ``(Q,)`` integers, or ``None`` together with ``gallery_camera``.
        gallery_camera: ``(G,)`` integers, or ``None``.
        ap: ``"standard"``: the mean over right answers of (right answers so far / rank). ``"trapezoidal"``: the area
            under the precision-recall curve by trapezia.
        max_rank: Length of the CMC curve.
        block: Queries at a time; ``None`` limits a block of distances to 32 MB.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: Shapes do not fit, a distance is not finite, an identity or an option is out of range, or no
            query has a right answer.
    """
    distances = as_array("Distances", distances)
    if distances.ndim != 2:
        raise ResightError(
            f"Distances have shape {distances.shape}: give one row per query and one column per gallery crop."
        )
    if distances.dtype.kind not in "fiub":
        raise ResightError(f"Distances are of type {distances.dtype}: give real numbers.")
    num_queries, num_gallery = distances.shape
    max_rank, block = check_options(ap, max_rank, block)
    labels = check_labels((num_queries, num_gallery), query_identity, gallery_identity, query_camera, gallery_camera)
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

    ranges = query_ranges(num_queries, num_gallery, kind.itemsize, block)
    return score(labels, ((rows, rows_of(rows)) for rows in ranges), max_rank, ap=ap, rerank=None)
