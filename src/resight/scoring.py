"""Scores of a model on labelled query and gallery crops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from resight.clustering import NoClusters, clustering_quality
from resight.common.checks import flag, instance, one_of
from resight.common.files import write_aside
from resight.crops import GALLERY, QUERY, TRAIN, UNLABELLED, CropTable
from resight.crops.cache import PixelCache, Progress
from resight.errors import ResightError
from resight.evaluation import DEBIAS_FORMS, Debias, RankingMetrics, RerankOptions, debias_by_camera, evaluate_splits
from resight.evaluation.metrics import AP_CONVENTIONS
from resight.model import Model, tracks_of
from resight.training.run import RunFolder


def evaluate(
    model: Model,
    table: CropTable,
    *,
    ap: str = "standard",
    rerank: RerankOptions | None = None,
    debias: Debias = "none",
    flip: bool | None = None,
    tracks: bool = False,
    clustering: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a model on the ``query`` and ``gallery`` crops of a table.

    Args:
        model: The model.
        table: A table with identities and these splits.
        ap: How average precision is computed: ``standard``, or ``trapezoidal`` as in Market-1501's MATLAB code.
        rerank: Settings of k-reciprocal re-ranking; not re-ranked if not given.
        debias: Whether to take away from each embedding what its camera adds, by the cameras' gallery crops
            (:func:`resight.evaluation.debias_by_camera`): ``none``, ``centre`` or ``standardise``. This uses cameras.
        flip: Whether to add the embedding of each crop's mirror image; as in training if not given.
        tracks: Whether tracks are ranked instead of crops, each by the mean of its crops' embeddings, weighted by the
            table's ``quality`` (:meth:`resight.model.Model.embed_tracks`). A track with a query crop is a query, one
            with a gallery crop is in the gallery; both are made of all their test crops. A track's identity is that of
            most of its crops. Needs tracks and cameras.
        clustering: Whether to cluster the test crops as well, as :meth:`Model.cluster` does without tracks, and to
            compare the clusters with their identities.
        cache: Folder for decoded crops; ``pixels`` beside the run if not given.
        progress: Called with the step's name, the crops done and the crops in all.

    Returns:
        Plain figures, rates as fractions of 1: those of :class:`resight.evaluation.RankingMetrics`, ``flip``,
        ``debias``, ``unreadable`` (crops left out), and under ``clustering`` the ``algorithm`` and the figures of
        :func:`resight.clustering.clustering_quality`. With ``tracks`` also ``unit`` (``tracks``), ``track_weight`` (the
        column that weighs crops, or ``none``) and ``mixed_tracks`` (those with crops of several identities).

    Raises:
        ResightError: there are no labels to score against, or no query or gallery.
    """
    tested = labelled_test_crops(table)
    pixels = instance("model", model, Model, "resight.load gives one").open_cache(tested, cache, progress=progress)
    return evaluate_cached(
        model, pixels, ap=ap, rerank=rerank, debias=debias, flip=flip, tracks=tracks, clustering=clustering,
        progress=progress,
    )  # fmt: skip


def evaluate_cached(
    model: Model,
    pixels: PixelCache,
    *,
    ap: str = "standard",
    rerank: RerankOptions | None = None,
    debias: Debias = "none",
    flip: bool | None = None,
    tracks: bool = False,
    clustering: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a model on decoded query and gallery crops; arguments and result as :func:`evaluate`."""
    tested = instance("pixels", pixels, PixelCache, "Model.open_cache makes it").table
    if flag("tracks", tracks):
        tested.require("camera", "Scoring tracks")
        tested.require("track", "Scoring tracks")
    features, metrics = _ranked(model, pixels, ap, rerank, flip, progress, debias=debias, tracks=tracks)
    scores = metrics.to_dict() | {
        "flip": model.config.embed_flip if flip is None else flip,
        "debias": debias,
        "unreadable": len(pixels.unreadable),
    }
    if tracks:
        own = tracks_of(tested)
        kinds = np.unique(np.stack([own.of_crop, tested.require("identity", "Scoring")]), axis=1)[0]
        scores["unit"] = "tracks"
        scores["track_weight"] = "none" if tested.quality is None else "quality"
        scores["mixed_tracks"] = int((np.bincount(kinds) > 1).sum())
    if flag("clustering", clustering) and tested.identity is not None:
        try:
            labels = model.cluster(features, tested, tracks=False).labels
        except NoClusters:
            labels = np.full(len(features), -1)
        scores["clustering"] = {"algorithm": model.clustering().name, **clustering_quality(labels, tested.identity)}
    return scores


def rank_cached(
    model: Model,
    pixels: PixelCache,
    *,
    ap: str = "standard",
    rerank: RerankOptions | None = None,
    flip: bool | None = None,
    features: np.ndarray | None = None,
    progress: Progress | None = None,
) -> RankingMetrics:
    """The ranking's figures, those of each query among them.

    Arguments are those of :func:`evaluate_cached`, and ``features``: embeddings of the crops, where they are known.
    """
    return _ranked(model, pixels, ap, rerank, flip, progress, features)[1]


def _ranked(
    model: Model,
    pixels: PixelCache,
    ap: str,
    rerank: RerankOptions | None,
    flip: bool | None,
    progress: Progress | None,
    features: np.ndarray | None = None,
    debias: Debias = "none",
    tracks: bool = False,
) -> tuple[np.ndarray, RankingMetrics]:
    """Embeddings of the crops, and the figures of their ranking, or of that of their tracks."""
    instance("model", model, Model, "resight.load gives one")
    tested = instance("pixels", pixels, PixelCache, "Model.open_cache makes it").table
    one_of("ap, the convention for average precision,", ap, AP_CONVENTIONS)
    if rerank is not None:
        instance("rerank", rerank, RerankOptions, "RerankOptions() has the defaults")
    one_of("debias", debias, DEBIAS_FORMS)
    if debias != "none":
        tested.require("camera", f"debias={debias}")
    features = model.embed_cached(pixels, flip, progress) if features is None else features
    compared = debias_by_camera(features, tested.camera, form=debias, reference=tested.split == GALLERY)
    ranked = (compared, tested.identity, tested.camera, tested.split)
    return features, evaluate_splits(
        *(_as_tracks(compared, tested) if tracks else ranked),
        ap=ap,
        rerank=rerank,
        device=str(model.device),
    )


def _as_tracks(features: np.ndarray, tested: CropTable) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, identities, cameras and splits of tracks; one that is a query and in the gallery is there twice."""
    identity, split = tested.require("identity", "Scoring"), tested.require("split", "Scoring")
    tracks = tracks_of(tested)
    means = tracks.means(features, tested.quality)
    pairs, counts = np.unique(np.stack([tracks.of_crop, identity], axis=1), axis=0, return_counts=True)
    order = np.lexsort((-pairs[:, 1], counts, pairs[:, 0]))  # the last of a track: most crops, then the lowest number
    names = np.zeros(len(tracks), np.int64)
    names[pairs[order, 0]] = pairs[order, 1]
    rows = [np.unique(tracks.of_crop[split == name]) for name in (QUERY, GALLERY)]
    both = np.concatenate(rows)
    assert tracks.camera is not None
    return means[both], names[both], tracks.camera[both], np.repeat([QUERY, GALLERY], [len(found) for found in rows])


def can_be_scored(table: CropTable) -> bool:
    """Whether a table has queries and a gallery, and identities of all of them."""
    return (
        table.identity is not None
        and table.split is not None
        and bool((table.split == QUERY).any() and (table.split == GALLERY).any())
        and bool((table.identity[table.split != TRAIN] != UNLABELLED).all())
    )


def labelled_test_crops(table: CropTable) -> CropTable:
    """The ``query`` and ``gallery`` crops of a labelled table.

    Raises:
        ResightError: there are no labels to score against, or no split.
    """
    if instance("table", table, CropTable, "read_crops makes one").identity is None:
        raise ResightError(
            f"There are no labels to score against: the crops in {table.root} (read as '{table.source}') have no "
            "identities. 'resight cluster' groups them, 'resight embed' writes their embeddings."
        )
    if table.split is None:
        raise ResightError(
            f"The crops in {table.root} are not divided into query and gallery: give --train-identities N to hold out "
            "the other identities, or a 'split' column."
        )
    return table.select(table.split != TRAIN)


def save_evaluation(run: RunFolder, scores: dict[str, Any]) -> dict[str, Any]:
    """Writes the last epoch's scores to ``evaluation.json``, with what they depend on.

    Args:
        run: The run folder.
        scores: Figures of :func:`evaluate`.

    Returns:
        What was written: the scores, the facts of the run (:meth:`RunFolder.facts`), and ``best_epoch``, the epoch with
        the largest mAP on the same test crops, or ``None`` where fewer than two epochs were scored. The best epoch is
        chosen by the test figures themselves: it serves comparison with papers that do so, and is not the result.
    """
    scored = [record for record in run.read_metrics() if "test_mAP" in record]
    best = max(scored, key=lambda record: record["test_mAP"], default=None)
    result = scores | {
        **run.facts(),
        "best_epoch": None
        if best is None or len(scored) < 2
        else {"epoch": best["epoch"], "mAP": best["test_mAP"], "rank1": best["test_rank1"]},
    }
    write_aside(run.evaluation_file, lambda file: file.write_text(json.dumps(result, indent=1), encoding="utf-8"))
    return result
