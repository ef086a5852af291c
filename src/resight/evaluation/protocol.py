"""Scoring a data set that says which crops are queries and which the gallery."""

from __future__ import annotations

from typing import Any

import numpy as np

from resight.errors import ResightError
from resight.evaluation.distances import Rows, check_features
from resight.evaluation.ranking import RankingMetrics, evaluate_rows

#: Identity of a crop that no one labelled.
UNLABELLED = int(np.iinfo(np.int64).min)


def evaluate_splits(
    features: np.ndarray,
    identity: np.ndarray | None,
    camera: np.ndarray | None,
    split: np.ndarray | None,
    **options: Any,
) -> RankingMetrics:
    """Score the crops of split ``query`` against those of split ``gallery``.

    Args:
        features: ``(N, D)`` floats, one row a crop of the whole table, rows of split ``train`` included (they are not
            looked at). May be a memory map: rows are read in blocks.
        identity: ``(N,)`` integers: persons from 1, 0 a distractor, -1 junk. ``None`` is an error in words.
        camera: ``(N,)`` integers, or ``None``: then no crop is ignored for its camera.
        split: ``(N,)`` strings out of ``train``, ``query``, ``gallery``. ``None`` is an error in words.
        **options: Further arguments of :func:`resight.evaluation.ranking.evaluate_retrieval`: ``ap``, ``max_rank``,
            ``rerank``, ``block``, ``device``.

    Returns:
        The metrics.

    Raises:
        ResightError: No identities, no query, no gallery, unlabelled queries or gallery crops, or anything that
            :func:`~resight.evaluation.ranking.evaluate_retrieval` refuses.
    """
    features = np.asarray(features)
    if identity is None:
        raise ResightError(
            "There are no identities to score against: evaluation needs a labelled query and gallery, even where "
            "training does not."
        )
    if split is None:
        raise ResightError(
            "No crop is marked as query or gallery: give a column 'split' with the values train, query and gallery."
        )
    columns = {"identity": np.asarray(identity), "split": np.asarray(split)}
    if camera is not None:
        columns["camera"] = np.asarray(camera)
    for name, column in columns.items():
        if column.shape != features.shape[:1]:
            raise ResightError(
                f"Column '{name}' has shape {column.shape}, but there are features of {len(features)} crops: "
                "give one value a crop."
            )
    rows = {name: np.flatnonzero(columns["split"] == name) for name in ("query", "gallery")}
    for name, chosen in rows.items():
        if not len(chosen):
            found = ", ".join(f"'{value}'" for value in np.unique(columns["split"])) or "nothing"
            raise ResightError(f"No crop is in the split '{name}': the column 'split' holds {found}.")
        unlabelled = chosen[columns["identity"][chosen] == UNLABELLED]
        if len(unlabelled):
            raise ResightError(
                f"{len(unlabelled)} of {len(chosen)} crops in the split '{name}' have no identity, the first in row "
                f"{unlabelled[0]}: label them, "
                + ("or take them out of the split." if name == "query" else "or give them -1 to be ignored.")
            )
    query, gallery = rows["query"], rows["gallery"]
    check_features(features[:1], features[:1])
    return evaluate_rows(
        Rows(features, query),
        Rows(features, gallery),
        columns["identity"][query],
        columns["identity"][gallery],
        columns["camera"][query] if camera is not None else None,
        columns["camera"][gallery] if camera is not None else None,
        **options,
    )
