"""Scores the query crops of a table against its gallery crops."""

from __future__ import annotations

from typing import Any

import numpy as np

from resight.common.checks import as_array
from resight.common.identities import UNLABELLED
from resight.errors import ResightError
from resight.evaluation.distances import Rows, check_features
from resight.evaluation.metrics import RankingMetrics
from resight.evaluation.ranking import evaluate_rows

_SPLITS = ("train", "query", "gallery")
_OPTIONS = ("ap", "max_rank", "rerank", "block", "device")


def evaluate_splits(
    features: np.ndarray,
    identity: np.ndarray | None,
    camera: np.ndarray | None,
    split: np.ndarray | None,
    **options: Any,
) -> RankingMetrics:
    """Scores the crops of split ``query`` against the crops of split ``gallery``.

    Args:
        features: ``(N, D)`` numbers, one row per crop of the whole table; may be a memory map, which is read in blocks.
            Rows of split ``train`` are not read.
        identity: ``(N,)`` integers: identities count from 1, 0 is a distractor, -1 is junk. ``None`` raises an error.
        camera: ``(N,)`` integers, or ``None``: then no crop is ignored for its camera.
        split: ``(N,)`` strings ``train``, ``query`` or ``gallery``. ``None`` raises an error.
        **options: ``ap`` (``"standard"`` or ``"trapezoidal"``), ``max_rank`` (length of the CMC curve), ``rerank`` (a
            :class:`~resight.evaluation.RerankOptions` or ``None``), ``block`` (queries at a time) and ``device`` (where
            distances are computed), as :func:`~resight.evaluation.evaluate_retrieval` takes them.

    Returns:
        The metrics, over the queries that have a right answer.

    Raises:
        ResightError: Identities, queries or gallery are missing, a query or gallery crop has no identity, a column
            has another length than the features, a feature is not finite or all zeros, an option is out of range, or
            no query has a right answer.
    """
    features = as_array("The features", features)
    if identity is None:
        raise ResightError(
            "There are no identities to score against: evaluation needs a labelled query and gallery, even where "
            "training does not."
        )
    if split is None:
        raise ResightError(
            "No crop is marked as query or gallery: give a column 'split' with the values train, query and gallery."
        )
    columns = {"identity": as_array("Column 'identity'", identity), "split": as_array("Column 'split'", split)}
    if camera is not None:
        columns["camera"] = as_array("Column 'camera'", camera)
    if unknown := options.keys() - _OPTIONS:
        raise ResightError(f"There is no option '{min(unknown)}' of the evaluation: choose of {', '.join(_OPTIONS)}.")
    for name, column in columns.items():
        if column.ndim != 1 or column.shape != features.shape[:1]:
            raise ResightError(
                f"Column '{name}' has shape {column.shape}, but the features have shape {features.shape}: give one "
                "value per crop."
            )
    if wrong := sorted({str(value) for value in np.unique(columns["split"])} - set(_SPLITS)):
        raise ResightError(f"Column 'split' holds '{wrong[0]}': use {', '.join(_SPLITS)}.")
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
