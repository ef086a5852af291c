"""Calls of every public function of ``resight``, its rooms for arrays and crops, and ``Model`` and ``Gallery``."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from torture_case import EITHER, FINE, SENTENCE, Case
from torture_stage import TINY, Stage
from torture_values import (
    NO_CHOICE,
    NO_DEVICE,
    NO_FLAG,
    NO_NUMBER,
    NO_PATH,
    NO_WHOLE,
    Named,
    bad_features,
    bad_integers,
    good_features,
    good_integers,
    plain_features,
)

import resight
from resight import clustering, crops, evaluation
from resight.clustering import Neighbours, nearest_neighbours
from resight.export import write_clusters, write_descriptions, write_embeddings
from resight.identities import build_clustering
from resight.pictures import cluster_sheet, retrieval_sheet
from resight.scoring import evaluate_cached
from resight.synthesis import world_config, write_world
from resight.transfer import transfer_report

ROWS = 12
TOO_LARGE = {"1e200": plain_features().astype(np.float64) * 1e200}
WHOLE = {"np.int64(3)": np.int64(3), "np.uint8(3)": np.uint8(3), "3.0": 3.0}
NEGATIVE = {"-1": -1, "-10**20": -(10**20)}
TOO_LOW = {"0": 0, **NEGATIVE}
CLIPPED = {"10**20": 10**20}
FROM_ONE = NO_WHOLE | TOO_LOW | {"None": None}
SEEDS = NO_WHOLE | {"-1": -1, "10**20": 10**20, "None": None}
SEARCH = {"search": NO_CHOICE | {"None": None}, "recall": NO_NUMBER | {"None": None, "0": 0, "-1": -1, "1.01": 1.01}}
FLAG = NO_FLAG | {"None": None}


def vary(
    label: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    bad: Mapping[str, Named],
    good: Mapping[str, Named] | None = None,
    *,
    same: Callable[[Any], Any] | None = None,
    right: Callable[[Any], bool] | None = None,
    open: Mapping[str, str] | str = "",
    pairs: int = 20,
) -> Iterator[Case]:
    """Calls a function with right arguments, and with each of the given values in place of one or two of them.

    Args:
        label: What the function is called.
        function: Called with keywords.
        arguments: Arguments that it must take.
        bad: Per argument the values that it must refuse.
        good: Per argument the values that it must take.
        same: If given: what must be the same in the result for all good values as for the right arguments.
        right: Whether a result is right.
        open: The point of an issue that is not mended yet: of all bad cases, or of a case by argument and value.
        pairs: Calls with two arguments wrong at once, drawn from all of them.
    """

    def call(changed: Named) -> Any:
        return function(**{**arguments, **changed})

    @functools.cache
    def expected() -> Any:
        return same(call({})) if same else None

    def is_right(result: Any) -> bool:
        return (right is None or right(result)) and (same is None or _same(same(result), expected()))

    def point(name: str, value: str) -> str:
        return open if isinstance(open, str) else open.get(f"{name}={value}", open.get(name, ""))

    yield Case(f"{label}()", lambda: call({}), FINE, is_right)
    for name, values in (good or {}).items():
        for text, value in values.items():
            yield Case(f"{label}({name}={text})", functools.partial(call, {name: value}), FINE, is_right)
    for name, values in bad.items():
        for text, value in values.items():
            yield Case(
                f"{label}({name}={text})", functools.partial(call, {name: value}), SENTENCE, open=point(name, text)
            )
    every = [(name, text) for name, values in bad.items() for text in values if "generator" not in text]
    rng = np.random.default_rng(sum(label.encode()))
    done = set()
    for _ in range(pairs if len(bad) > 1 else 0):
        (one, first), (other, second) = (every[number] for number in rng.choice(len(every), 2, replace=False).tolist())
        wrong = f"{label}({one}={first}, {other}={second})"
        if one != other and wrong not in done:
            done.add(wrong)
            changed = {one: bad[one][first], other: bad[other][second]}
            mark = point(one, first) or point(other, second)
            yield Case(wrong, functools.partial(call, changed), SENTENCE, open=mark)


def _settings(values: Named) -> Named:
    """Of values that are no number those that are no setting: a setting may be the text of a number, as YAML has it."""
    return {name: value for name, value in values.items() if name not in ("'3'", "'0.5'")}


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def api_cases(stage: Stage) -> Iterator[Case]:
    """All calls of functions."""
    return itertools.chain(
        _clustering(),
        _evaluation(),
        _crops(stage),
        _model(stage),
        _compared(stage),
        _runs(stage),
        _files(stage),
        _worlds(stage),
        _gallery(stage),
    )


def _clustering() -> Iterator[Case]:
    features, bad, good = plain_features(), bad_features(), good_features() | TOO_LARGE
    camera = np.arange(ROWS) % 2
    cameras = {name: value for name, value in bad_integers(ROWS).items() if name not in ("float", "2**63")}
    cameras |= {"NaN texts": np.array([None] * ROWS), "2-D": np.stack([camera, camera])}
    yield from vary(
        "unit_rows", clustering.unit_rows, {"features": features}, {"features": bad},
        {"features": good}, same=lambda rows: rows.take(slice(None)),
    )  # fmt: skip
    yield from vary(
        "nearest_neighbours", clustering.nearest_neighbours, {"features": features, "k": 3},
        {"features": bad, "k": FROM_ONE, **SEARCH, "device": NO_DEVICE, "memory": NO_WHOLE | NEGATIVE, "furthest": FLAG},
        {"features": good, "k": WHOLE, "memory": {"1": 1, "10**20": 10**20, "None": None}, "device": {"'cpu'": "cpu"}},
        same=lambda found: found.indices, right=lambda found: found.indices.shape == (ROWS, 3),
    )  # fmt: skip
    yield from vary(
        "nearest_neighbours of all", clustering.nearest_neighbours, {"features": features, "k": ROWS}, {},
        {"k": CLIPPED}, same=lambda found: found.indices,
    )  # fmt: skip
    yield from vary(
        "find_neighbours", clustering.find_neighbours,
        {"features": features, "k": 3, "camera": camera, "centre_cameras": True},
        {
            "features": bad, "k": FROM_ONE, "camera": cameras | {"None": None}, "centre_cameras": FLAG,
            "scale_cameras": FLAG, **SEARCH,
        },
        {"features": good, "camera": good_integers(camera) | {"texts": np.array(["a", "b"] * (ROWS // 2))}},
        same=lambda found: found.indices,
    )  # fmt: skip
    yield from vary(
        "centre_by_camera", clustering.centre_by_camera, {"features": features, "camera": camera},
        {"features": bad, "camera": cameras | {"None": None}, "scale": FLAG},
        {"features": good, "camera": good_integers(camera)}, same=lambda moved: moved,
    )  # fmt: skip
    yield from vary(
        "leave_out_one_camera", clustering.leave_out_one_camera, {"labels": camera, "camera": camera},
        {
            "labels": bad_integers(ROWS) | {"None": None, "-2": np.full(ROWS, -2)}, "camera": cameras | {"None": None},
            "share": NO_NUMBER | {"None": None, "-1": -1, "1.1": 1.1}, "least": NO_NUMBER | {"0": 0, "1.1": 1.1},
        },
        {"camera": good_integers(camera)}, same=lambda found: found.labels,
    )  # fmt: skip
    yield from vary(
        "pseudo_cameras", clustering.pseudo_cameras, {"statistics": features, "groups": 3},
        {
            "statistics": {
                "None": None, "a text": "abc", "one row": features[:1], "flat": features[0], "no columns": features[:, :0],
                "NaN": np.full_like(features, np.nan), "texts": features.astype(str),
            },
            "groups": FROM_ONE | {"1": 1, "10**20": 10**20}, "seed": {"-1": -1, "10**20": 10**20, "a text": "a"},
        },
        {"groups": {"np.int32(3)": np.int32(3)}}, same=lambda found: found, right=lambda found: len(found) == ROWS,
    )  # fmt: skip
    yield from vary(
        "cluster_crops", clustering.cluster_crops,
        {"features": features, "k1": 4, "k2": 2, "eps": 0.7, "min_samples": 2},
        {
            "features": bad, "k1": FROM_ONE, "k2": FROM_ONE | {"5": 5, "10**20": 10**20},
            "eps": NO_NUMBER | {"None": None, "0": 0, "-1": -1, "1": 1, "1e300": 1e300}, "min_samples": FROM_ONE,
            "centre_cameras": FLAG, "scale_cameras": FLAG, "camera_jaccard": FLAG, "clusterer": NO_CHOICE, "device": NO_DEVICE, **SEARCH,
        },
        {"features": good, "k1": {"np.int32(4)": np.int32(4), "4.0": 4.0}, "k2": {"np.int32(2)": np.int32(2)}},
        same=lambda found: found.labels, right=lambda found: len(found) == ROWS,
    )  # fmt: skip
    yield from vary(
        "cluster_crops across cameras", clustering.cluster_crops,
        {
            "features": features, "eps": 0.9, "min_samples": 2, "camera": np.arange(ROWS) % 3, "camera_jaccard": True,
            "intra_k1": 3, "inter_k1": 4,
        },
        {
            "features": bad, "camera": cameras | {"None": None}, "intra_k1": FROM_ONE, "inter_k1": FROM_ONE,
            "intra_k2": FROM_ONE, "inter_k2": NO_WHOLE | {"-1": -1, "None": None}, **SEARCH,
        },
        {"features": good}, same=lambda found: found.labels,
    )  # fmt: skip
    yield from vary(
        "jaccard_distance", clustering.jaccard_distance, {"features_or_neighbours": features, "k1": 4, "k2": 2},
        {
            "features_or_neighbours": bad, "k1": FROM_ONE, "k2": FROM_ONE | {"5": 5},
            "max_distance": {**NO_NUMBER, "None": None, "-1": -1},
        },
        {"features_or_neighbours": good}, same=lambda found: found.toarray(),
    )  # fmt: skip
    near = nearest_neighbours(features, 4)
    no_neighbours = _wrong_neighbours(near)
    yield from vary(
        "jaccard_distance of neighbours", clustering.jaccard_distance,
        {"features_or_neighbours": near, "k1": 4, "k2": 2}, {"features_or_neighbours": no_neighbours},
    )  # fmt: skip
    yield from vary(
        "cluster_crops of neighbours", clustering.cluster_crops,
        {"features": near, "k1": 4, "k2": 2, "eps": 0.7, "min_samples": 2}, {"features": no_neighbours},
    )  # fmt: skip
    yield from vary(
        "neighbour_weights", clustering.neighbour_weights, {"neighbours": near, "depth": 4, "half_depth": 3, "k2": 2},
        {
            "neighbours": no_neighbours | {"None": None, "features": features}, "depth": FROM_ONE,
            "half_depth": FROM_ONE, "k2": FROM_ONE,
            "scale": {"[]": [], "zeros": np.zeros(ROWS, np.float32), "NaN": np.full(ROWS, np.nan), "'a'": "a",
                      "too short": np.ones(3, np.float32), "objects": np.full(ROWS, None)},
        },
    )  # fmt: skip
    yield from vary(
        "cluster_crops, settings chosen", clustering.cluster_crops,
        {"features": nearest_neighbours(features, ROWS), "k1": "auto", "k2": 2, "eps": "auto", "min_samples": 2},
        {"features": no_neighbours, "k2": TOO_LOW, "min_samples": FROM_ONE},
    )  # fmt: skip
    yield from vary(
        "examine_settings", clustering.examine_settings,
        {"neighbours": near, "k1": (3, 4), "eps": (0.5, 0.7), "k2": 2, "min_samples": 2, "camera": camera},
        {
            "neighbours": no_neighbours | {"None": None, "features": features}, "k1": {"None": None, "()": (), "5": 5},
            "eps": {"None": None, "()": (), "(0,)": (0,), "(1,)": (1,), "('a',)": ("a",)}, "k2": FROM_ONE,
            "min_samples": FROM_ONE, "camera": cameras, "clusterer": NO_CHOICE,
        },
    )  # fmt: skip
    yield from vary(
        "camera_neighbours", clustering.camera_neighbours,
        {"features": features, "camera": camera, "intra_k1": 2, "inter_k1": 3},
        {"features": bad, "camera": cameras | {"None": None}, "intra_k1": FROM_ONE, "inter_k1": FROM_ONE, **SEARCH},
        {"features": good, "camera": good_integers(camera)}, same=lambda found: found.across,
    )  # fmt: skip
    yield from vary(
        "camera_jaccard", clustering.camera_jaccard,
        {"neighbours": clustering.camera_neighbours(features, camera, intra_k1=2, inter_k1=3)},
        {
            "neighbours": {"None": None, "features": features, "plain": near}, "intra_k2": FROM_ONE,
            "inter_k2": NO_WHOLE | {"-1": -1, "None": None}, "max_distance": {**NO_NUMBER, "None": None, "-1": -1},
        },
    )  # fmt: skip
    distances = clustering.jaccard_distance(features, 4, 2)
    dense = distances.toarray()
    matrices: Named = {
        "None": None, "5": 5, "dense": dense, "list": dense.tolist(), "N×2": distances[:, :2],
        "NaN": distances * np.nan, "negative": -distances, "0×0": sp.csr_matrix((0, 0)),
        "complex": distances.astype(complex), "inf": distances * np.inf,
    }  # fmt: skip
    # the package has no release for Python 3.10
    second = [clustering.infomap] if importlib.util.find_spec("infomap") else []
    for cluster in (clustering.dbscan, *second):
        yield from vary(
            cluster.__name__, cluster, {"distances": distances, "eps": 0.7, "min_samples": 2},
            {
                "distances": matrices, "eps": {**NO_NUMBER, "None": None, "0": 0, "-1": -1}, "min_samples": FROM_ONE,
                **({"seed": SEEDS} if cluster is clustering.infomap else {}),
            },
            {"distances": {"float64": distances.astype(np.float64), "csc": distances.tocsc(), "coo": distances.tocoo()}},
            same=lambda labels: labels,
        )  # fmt: skip
    yield from vary(
        "two_stage", clustering.two_stage, {"features": features, "clusters": 3, "k1": 4, "k2": 2, "keep": 4},
        {
            "features": bad, "clusters": FROM_ONE | {"1": 1, "13": 13, "10**20": 10**20},
            "keep": NO_WHOLE | TOO_LOW, "components": FROM_ONE, "k1": FROM_ONE, "k2": FROM_ONE,
            "contested": NO_CHOICE | {"None": None}, "unwanted": NO_CHOICE | {"None": None}, "seed": SEEDS,
            "centre_cameras": FLAG, **SEARCH,
        },
        {"features": good, "clusters": WHOLE, "components": CLIPPED, "seed": {"np.int64(0)": np.int64(0)}},
        same=lambda found: found.labels,
    )  # fmt: skip
    yield from vary(
        "bottom_up", clustering.bottom_up, {"features": features, "clusters": 3},
        {
            "features": bad, "clusters": FROM_ONE | {"13": 13, "10**20": 10**20},
            "share": NO_NUMBER | {"None": None, "0": 0, "-1": -1, "1.01": 1.01},
            "size_penalty": NO_NUMBER | {"None": None, "-1": -1}, "k": FROM_ONE, "memory": NO_WHOLE | NEGATIVE,
            "device": NO_DEVICE, **SEARCH, "nonsense": {"1": 1},
        },
        {"features": good, "clusters": WHOLE, "k": CLIPPED}, same=lambda found: found.labels,
    )  # fmt: skip
    alone = np.arange(ROWS)
    yield from vary(
        "merge_clusters", clustering.merge_clusters, {"features": features, "labels": alone, "merges": 3},
        {
            "features": bad, "labels": bad_integers(ROWS, 0) | {"None": None, "gaps": 2 * alone, "-2": alone - 2},
            "merges": NO_WHOLE | {"-1": -1, "12": ROWS, "10**20": 10**20, "None": None},
            "size_penalty": NO_NUMBER | {"None": None, "-1": -1}, "camera": cameras, "squared": FLAG,
            "k": FROM_ONE, "device": NO_DEVICE, **SEARCH,
        },
        {"features": good, "labels": good_integers(alone), "merges": WHOLE}, same=lambda found: found.labels,
    )  # fmt: skip
    number, weight = np.arange(ROWS) // 2, np.linspace(0, 1, ROWS)
    no_weight = {"'a'": "a", "too short": weight[1:], "negative": -weight, "NaN": weight * np.nan, "5": 5,
                 "objects": np.full(ROWS, None)}  # fmt: skip
    whole_numbers = {name: value for name, value in bad_integers(ROWS).items() if name not in ("float", "2**63")}
    yield from vary(
        "Tracks.of", clustering.Tracks.of, {"track": number, "camera": camera, "time": weight},
        {"track": bad_integers(ROWS) | {"None": None}, "camera": whole_numbers,
         "time": {"too short": weight[1:], "5": 5, "texts": np.array(["a"] * ROWS), "objects": np.full(ROWS, "a", object)},
         "until": {"too short": weight[1:], "'a'": "a"}},
        {"track": good_integers(number), "until": {"later": weight + 1}}, same=lambda found: found.of_crop,
    )  # fmt: skip
    tracks = clustering.Tracks.of(number, camera, weight)
    yield from vary(
        "tracks.means", tracks.means, {"features": features, "weight": weight}, {"features": bad, "weight": no_weight},
        {"features": good, "weight": {"ints": np.arange(ROWS), "a list": weight.tolist()}},
        right=lambda found: found.shape == (len(tracks), features.shape[1]),
    )  # fmt: skip
    yield from vary(
        "respect_tracks", clustering.respect_tracks,
        {"labels": number // 2, "features": features, "tracks": tracks},
        {"labels": bad_integers(ROWS) | {"None": None}, "features": bad}, {"labels": good_integers(number // 2)},
        same=lambda found: found,
    )  # fmt: skip
    yield from vary(
        "track_conflicts", clustering.track_conflicts, {"labels": number // 2, "tracks": tracks},
        {"labels": bad_integers(ROWS) | {"None": None}}, {"labels": good_integers(number // 2)},
        same=lambda found: found["tracks_divided"],
    )  # fmt: skip
    labels, identity = np.arange(ROWS) % 3, np.arange(ROWS) % 3 + 1
    yield from vary(
        "clustering_quality", clustering.clustering_quality, {"labels": labels, "identity": identity},
        {"labels": bad_integers(ROWS) | {"None": None}, "identity": bad_integers(ROWS) | {"None": None}},
        {"labels": good_integers(labels), "identity": good_integers(identity)}, same=lambda found: found["ari"],
    )  # fmt: skip
    yield from vary(
        "label_agreement", clustering.label_agreement, {"labels": labels, "others": identity},
        {"labels": bad_integers(ROWS) | {"None": None}, "others": bad_integers(ROWS) | {"None": None}},
        {"labels": good_integers(labels)}, same=lambda found: found,
    )  # fmt: skip
    yield from vary(
        "PseudoLabels", clustering.PseudoLabels, {"labels": labels},
        {"labels": {name: value for name, value in bad_integers(ROWS, -1).items()
                    if name not in ("too short", "too long", "[]")} | {"None": None, "gaps": labels * 2}},
        {"labels": good_integers(labels)}, same=lambda found: found.labels,
    )  # fmt: skip
    lists = near.indices
    no_lists = {"None": None, "5": 5, "[]": [], "vector": lists[0], "float": lists + 0.5,
    "objects": lists.astype(object),
                "out of range": lists + 10**6, "negative": -lists - 1, "narrow": lists[:, :1]}  # fmt: skip
    yield from vary(
        "cross_agreement", clustering.cross_agreement, {"whole": lists, "parts": [lists, lists], "k": 3},
        {
            "whole": no_lists, "k": FROM_ONE,
            "parts": {f"[{name}]": [value] for name, value in no_lists.items()} | {"None": None, "5": 5},
        },
        {"whole": {"int64": lists.astype(np.int64), "list": lists.tolist()}}, same=lambda found: found,
    )  # fmt: skip


def _wrong_neighbours(near: Neighbours) -> Named:
    def changed(**values: Any) -> Neighbours:
        return Neighbours(**{"indices": near.indices, "distances": near.distances, "features": near.features} | values)

    return {
        "indices out of range": changed(indices=near.indices + 10**6),
        "negative indices": changed(indices=-near.indices - 5),
        "float indices": changed(indices=near.indices + 0.5),
        "no indices": changed(indices=None),
        "vector": changed(indices=near.indices[0]),
        "distances of another shape": changed(distances=near.distances[:, :1]),
        "NaN distances": changed(distances=near.distances * np.nan),
        "no features": changed(features=None),
        "features as an array": changed(features=plain_features()),
        "features of other crops": changed(features=clustering.unit_rows(plain_features(5))),
    }


def _evaluation() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    query, gallery = plain_features(4), plain_features(10)
    identity, of_gallery = np.arange(4) % 3 + 1, np.arange(10) % 3 + 1
    camera, gallery_camera = np.ones(4, int), np.full(10, 2)
    labels = {"query_identity": identity, "gallery_identity": of_gallery}
    both = labels | {"query_camera": camera, "gallery_camera": gallery_camera}
    no_labels = {
        "query_identity": bad_integers(4, 1) | {"None": None},
        "gallery_identity": bad_integers(10, -1) | {"None": None},
        "query_camera": bad_integers(4) | {"None": None},
        "gallery_camera": bad_integers(10) | {"None": None},
    }
    good_labels = {
        "query_identity": good_integers(identity),
        "gallery_identity": good_integers(of_gallery),
        "query_camera": good_integers(camera),
        "gallery_camera": good_integers(gallery_camera),
    }
    options = {
        "ap": NO_CHOICE | {"None": None},
        "max_rank": FROM_ONE | {"10**20": 10**20},
        "block": NO_WHOLE | TOO_LOW,
    }
    takes = {"max_rank": WHOLE, "block": WHOLE | CLIPPED | {"None": None}}
    reranks = {name: value for name, value in NO_CHOICE.items()} | {"{'k1': 20}": {"k1": 20}}
    figures = {"same": lambda found: [found.mAP, found.rank1, found.mINP]}
    yield from vary(
        "evaluate_retrieval", evaluation.evaluate_retrieval,
        {"query_features": query, "gallery_features": gallery} | both,
        {"query_features": bad_features(4), "gallery_features": bad_features(10), "device": NO_DEVICE,
         "rerank": reranks, **no_labels, **options},
        {"query_features": good_features(4), "gallery_features": good_features(10), **good_labels, **takes},
        pairs=60, **figures,
    )  # fmt: skip
    yield from vary(
        "evaluate_distances", evaluation.evaluate_distances,
        {"distances": rng.random((4, 10)).round(2)} | both,
        {"distances": {name: value for name, value in bad_features(4, 10).items()
                       if name not in ("row of zeros", "all zeros", "bool")}, **no_labels, **options},
        {**good_labels, **takes}, pairs=60, **figures,
    )  # fmt: skip
    yield from vary(
        "rerank_distances", evaluation.rerank_distances, {"query_features": query, "gallery_features": gallery},
        {"query_features": bad_features(4), "gallery_features": bad_features(10), "k1": FROM_ONE | CLIPPED,
        "k2": FROM_ONE,
         "lam": NO_NUMBER | {"None": None, "-0.1": -0.1, "1.1": 1.1}},
        {"query_features": good_features(4), "gallery_features": good_features(10), "k1": {"20.0": 20.0}},
        same=lambda found: found,
    )  # fmt: skip
    yield from vary(
        "RerankOptions", evaluation.RerankOptions, {},
        {"k1": FROM_ONE, "k2": FROM_ONE, "lam": NO_NUMBER | {"None": None, "-0.1": -0.1, "1.1": 1.1},
         "cameras": FLAG, "intra_k1": FROM_ONE, "inter_k2": NO_WHOLE | {"-1": -1, "None": None}},
        {"k1": WHOLE, "lam": {"0": 0, "1": 1}},
    )  # fmt: skip
    split = np.array(["query"] * 4 + ["gallery"] * 10)
    yield from vary(
        "debias_by_camera", evaluation.debias_by_camera, {"features": gallery, "camera": np.arange(len(gallery)) % 2},
        {
            "features": {"None": None, "a text": "abc", "flat": gallery[0]},
            "camera": {"None": None, "too short": [1], "a text": "abc"},
            "form": {"None": None, "5": 5, "another": "mean"},
            "reference": {"too short": [True], "none": np.zeros(len(gallery), bool), "numbers": np.ones(len(gallery))},
        },
        {"camera": {"texts": np.array(["a", "b"] * len(gallery))[: len(gallery)]}}, same=lambda found: found,
    )  # fmt: skip
    yield from vary(
        "evaluate_splits", evaluation.evaluate_splits,
        {"features": np.concatenate([query, gallery]), "identity": np.concatenate([identity, of_gallery]),
         "camera": np.concatenate([camera, gallery_camera]), "split": split},
        {
            "features": bad_features(14), "identity": bad_integers(14, -1) | {"None": None}, "camera": bad_integers(14),
            "split": {"None": None, "5": 5, "[]": [], "numbers": np.arange(14), "no query": np.full(14, "gallery"),
                      "no gallery": np.full(14, "query"), "too short": split[:-1], "objects": np.full(14, None),
                      "a typing error": np.where(split == "query", "Query", split)},
            "nonsense": {"1": 1}, "device": NO_DEVICE, "rerank": reranks, **options,
        },
        takes, pairs=40, **figures,
    )  # fmt: skip


def _crops(stage: Stage) -> Iterator[Case]:
    table = stage.table
    size = len(table)
    paths = table.paths
    columns = {"camera": table.camera, "identity": table.identity, "track": np.arange(size), "time": np.arange(size)}
    numbers = {name: value for name, value in bad_integers(size).items() if name != "bool"}
    times = {name: value for name, value in numbers.items() if name not in ("1.5", "float", "2**63", "NaN")}
    yield from vary(
        "CropTable", crops.CropTable, {"root": stage.crops, "paths": paths, **columns},
        {
            "root": NO_PATH | {"None": None},
            "paths": {"None": None, "5": 5, "'a.jpg'": "a.jpg", "[5]": [5] * size, "[None]": [None] * size,
                      "too short": paths[:-1], "NUL": ["a\0b", *paths[1:]],
                      "bytes": [path.encode() for path in paths]},
            "camera": numbers, "identity": numbers, "track": numbers, "time": times,
            "split": {"5": 5, "'train'": "train", "[]": [], "a word": ["val"] * size, "numbers": np.arange(size),
                      "None in a list": [None] * size, "too short": ["train"] * (size - 1)},
            "camera_names": {"5": 5, "'a'": "a", "[]": ["a"], "{'a': 'b'}": {"a": "b"}, "{1: 5}": {1: 5}},
            "identity_names": {"5": 5, "'a'": "a", "{'a': 'b'}": {"a": "b"}, "{1: None}": {1: None}},
        },
        {"camera": good_integers(table.camera), "identity": good_integers(table.identity),
         "time": {"float": np.arange(size) + 0.5}, "root": {"text": str(stage.crops)}, "paths": {"list": list(paths)}},
        right=lambda made: len(made) == size,
    )  # fmt: skip
    no_rows = {"None": None, "'a'": "a", "['a']": ["a"], "[1.5]": [1.5], "[nan]": [float("nan")], "[10**6]": [10**6],
               "[-1]": [-1], "[2**63]": [2**63], "[None]": [None], "mask too short": np.ones(3, bool),
               "mask too long": np.ones(size + 1, bool), "2-D": [[0, 1]], "2-D mask": np.ones((size, 1), bool),
               "5": 5, "objects": np.array([0, 1], object)}  # fmt: skip
    yield from vary(
        "table.select", table.select, {"rows": [1, 0]}, {"rows": no_rows},
        {"rows": {"int8": np.array([1, 0], np.int8), "tuple": (1, 0)}}, same=lambda found: found.paths,
    )  # fmt: skip
    yield Case("table.select([])", lambda: table.select([]), FINE, lambda found: len(found) == 0)
    for name, wrong in (NO_CHOICE | {"None": None}).items():
        yield Case(f"table.subset({name})", functools.partial(table.subset, wrong), SENTENCE)
        yield Case(f"table.require({name}, 'A test')", functools.partial(table.require, wrong, "A test"), SENTENCE)
        yield Case(f"detect_format({name})", functools.partial(crops.detect_format, wrong), SENTENCE)
    for name, wrong in {"'a'": "a", "None": None, "1.5": 1.5, "10**6": 10**6, "-1": -1, "[0]": [0]}.items():
        yield Case(f"table.file({name})", functools.partial(table.file, wrong), SENTENCE)
    no_table = {"None": None, "5": 5, "'path'": str(stage.crops), "[]": [], "DataFrame": {"path": list(paths)}}
    unlabelled = resight.read_crops(stage.plain)
    for label, function, arguments, bad in (
        ("identity_split", crops.identity_split, {"train": 3}, {"train": FROM_ONE | {"6": 6, "10**20": 10**20}}),
        ("unbalanced_subset", crops.unbalanced_subset, {"seed": 1}, {"seed": SEEDS}),
        ("balanced_subset", crops.balanced_subset, {"crops": 3, "seed": 1},
         {"crops": NO_WHOLE | {"-1": -1, "10**20": 10**20, "None": None}, "seed": SEEDS}),
        ("reference_crops", crops.reference_crops, {"identities": 3}, {"identities": NO_WHOLE | TOO_LOW | {"1": 1,
        "99": 99}}),
    ):  # fmt: skip
        tables = no_table | {"no identities": unlabelled, "no crops": table.select([])}
        yield from vary(
            label, function, {"table": table, **arguments}, {"table": tables, **bad}, {next(iter(arguments)): WHOLE}
        )
    yield from vary("check_crops", crops.check_crops, {"table": table}, {"table": no_table})
    yield from vary(
        "read_crops", crops.read_crops, {"path": stage.crops},
        {"path": NO_PATH | {"None": None, "missing": stage.root / "missing", "text": stage.text, "empty": stage.empty},
         "format": NO_CHOICE | {"None": None, "market1501 but csv": "csv", "veri776": "veri776"},
         "train_identities": NO_WHOLE | TOO_LOW | {"6": 6, "10**20": 10**20}},
        {"path": {"as text": str(stage.crops)}, "train_identities": WHOLE, "format": {"'folder'": "folder"}},
        right=lambda found: len(found) == size,
    )  # fmt: skip
    for name in ("csv", "parquet"):
        file = stage.fresh(f"table.{name}")
        yield from vary(
            f"write_table to {name}", crops.write_table, {"table": table, "path": file},
            {"table": no_table, "path": NO_PATH | {"None": None, "no suffix": stage.fresh("table"),
            "a folder": stage.root,
                                                   "xlsx": stage.fresh("table.xlsx")}},
            right=lambda written: resight.read_crops(written).paths[0].endswith(paths[0]),
        )  # fmt: skip
    image = stage.crops / paths[0]
    yield from vary(
        "read_image", crops.read_image, {"path": image, "height": 8, "width": 4},
        {"path": NO_PATH | {"None": None, "a folder": stage.root, "text": stage.text},
         "height": FROM_ONE | {"10**20": 10**20}, "width": FROM_ONE | {"10**20": 10**20}},
        right=lambda found: found.shape == (3, 8, 4),
    )  # fmt: skip
    yield from vary(
        "file_digest", crops.file_digest, {"path": image}, {"path": NO_PATH | {"None": None, "a folder": stage.root}},
    )  # fmt: skip


def _model(stage: Stage) -> Iterator[Case]:
    model, table, features = stage.model, stage.table, stage.features
    size, dim = features.shape
    cache = stage.root / "pixels"
    files = [str(stage.crops / path) for path in table.paths]
    arrays = [np.full((20, 10, 3), value, np.uint8) for value in (9, 99)]
    block = np.full((2, 3, 32, 16), 9, np.uint8)
    no_images: Named = {
        "None": None, "5": 5, "'a.jpg'": "a.jpg", "Path": Path(files[0]), "one array": arrays[0],
        "0×0 array": np.empty((0, 0), np.uint8), "[0×0]": [np.empty((0, 0), np.uint8)],
        "[0×0×3]": [np.empty((0, 0, 3), np.uint8)], "[0×5×3]": [np.empty((0, 5, 3), np.uint8)],
        "[5×0×3]": [np.empty((5, 0, 3), np.uint8)], "[float]": [arrays[0] / 255], "[bool]": [arrays[0] > 5],
        "[int64]": [arrays[0].astype(np.int64)], "[grey]": [arrays[0][:, :, 0]], "[RGBA]": [np.zeros((5, 5, 4),
        np.uint8)],
        "[channels first]": [block[0]], "[None]": [None], "[5]": [5], "[1.5]": [1.5], "[[]]": [[]], "[b'a']": [b"a"],
        "['']": [""], "['a\\0b']": ["a\0b"], "[{}]": [{}], "[missing]": [stage.root / "missing.jpg"],
        "[folder]": [stage.root], "[text]": [stage.text], "[objects]": [arrays[0].astype(object)],
        "dict": {"a": arrays[0]}, "set": set(files), "float block": block / 255,
        "float16 block": block.astype(np.float16),
        "block of another size": np.zeros((2, 3, 16, 32), np.uint8), "channels last": np.zeros((2, 32, 16, 3),
        np.uint8),
        "objects": np.array([None]), "texts": np.array(files), "generator": (file for file in files),
        "NaN block": np.full((2, 3, 32, 16), np.nan), "int8 block": block.astype(np.int8), "5-D": block[None],
    }  # fmt: skip
    images = {"files": files[:2], "Paths": [Path(file) for file in files[:2]], "arrays": arrays, "block": block,
              "mixed": [files[0], arrays[1]], "1×1": [np.zeros((1, 1, 3), np.uint8)] * 2,
              "not contiguous": [array[::-1, ::2] for array in arrays], "reversed block": block[::-1],
              "Fortran": np.asfortranarray(block), "tuple": tuple(files[:2])}  # fmt: skip
    yield from vary(
        "model.embed", model.embed, {"images": files[:2]},
        {"images": no_images, "flip": NO_FLAG, "parts": FLAG | {"True": True}}, {"images": images,
        "flip": {"True": True}},
        right=lambda found: found.shape == (2, dim) and np.allclose((found**2).sum(1), 1, atol=1e-4),
    )  # fmt: skip
    yield Case("model.embed([])", lambda: model.embed([]), FINE, lambda found: found.shape == (0, dim))
    yield from vary(
        "model.embed of a table", model.embed, {"images": table, "cache": cache},
        {"cache": {name: value for name, value in NO_PATH.items()} | {"a file": stage.text,
        "below a file": stage.text / "a"}},
        right=lambda found: found.shape == (size, dim),
    )  # fmt: skip
    yield from vary(
        "model.open_cache", model.open_cache, {"table": table, "cache": cache},
        {"table": {"None": None, "5": 5, "a path": str(stage.crops), "no crops": table.select([])},
         "cache": NO_PATH, "max_unreadable": NO_NUMBER | {"-1": -1, "1.5": 1.5}},
        right=lambda found: len(found) == size,
    )  # fmt: skip
    pixels = model.open_cache(table, cache)
    yield from vary(
        "model.embed_cached", model.embed_cached, {"pixels": pixels},
        {"pixels": {"None": None, "5": 5, "a table": table, "an array": pixels.images}, "flip": NO_FLAG, "parts": FLAG},
    )  # fmt: skip
    yield from vary(
        "model.attention_maps", model.attention_maps, {"images": files[:2]}, {"images": no_images | {"[]": []}},
        {"images": images}, right=lambda found: len(found["activation"]) == 2,
    )  # fmt: skip
    few = {"k1": 6, "k2": 2, "eps": 0.7, "min_samples": 2}
    no_table = {"None": None, "5": 5, "a path": str(stage.crops), "of other crops": table.select([0, 1])}
    yield from vary(
        "model.cluster", model.cluster, {"features": features, "table": table, **few},
        {
            "features": bad_features(size, dim) | {"of other crops": features[:-1]}, "table": no_table,
            "algorithm": NO_CHOICE, "clusters": _settings(NO_WHOLE | TOO_LOW) | {"99": 99},
            "eps": _settings(NO_NUMBER) | {"0": 0, "1": 1, "-1": -1}, "k1": _settings(NO_WHOLE | TOO_LOW),
            "k2": _settings(NO_WHOLE | TOO_LOW), "min_samples": _settings(NO_WHOLE | TOO_LOW), "nonsense": {"1": 1},
            "search": NO_CHOICE, "recall": _settings(NO_NUMBER) | {"0": 0, "2": 2},
        },
        {"features": {"float16": features.astype(np.float16), "Fortran": np.asfortranarray(features)}},
        right=lambda found: len(found) == size,
    )  # fmt: skip
    for algorithm in ("two_stage", "bottom_up"):
        whole, number = _settings(NO_WHOLE | TOO_LOW), _settings(NO_NUMBER)
        wrong = {"clusters": whole | {"25": 25, "10**20": 10**20}, "nonsense": {"1": 1}, "eps": {"0.5": 0.5}}
        wrong |= {
            "two_stage": {"nearest": whole, "components": whole, "contested": NO_CHOICE,
                          "crops_per_cluster": number | {"0": 0, "1e30": 1e30}, "second_stage": NO_FLAG},
            "bottom_up": {"merge_share": number | {"0": 0, "2": 2}, "size_penalty": number | {"-1": -1},
                          "merge_cameras": NO_CHOICE, "squared_distance": NO_FLAG},
        }[algorithm]  # fmt: skip
        yield from vary(
            f"model.cluster by {algorithm}", model.cluster,
            {"features": features, "table": table, "algorithm": algorithm, "clusters": 4},
            {"features": bad_features(size, dim), "table": no_table, **wrong}, {"clusters": WHOLE},
            right=lambda found: len(found) == size,
        )  # fmt: skip
    yield from vary(
        "model.clustering", model.clustering, {},
        {"algorithm": NO_CHOICE, "changes": {"5": 5, "'eps=0.5'": "eps=0.5", "[]": ["eps"], "{5: 5}": {5: 5},
        "{'eps': {}}": {"eps": {}}}},
        {"changes": {"None": None, "{}": {}}},
    )  # fmt: skip
    yield from vary(
        "build_clustering", build_clustering, {"algorithm": "dbscan", "defaults": {}, "changes": {}},
        {"algorithm": NO_CHOICE | {"None": None}, "changes": {"{'eps': 'a'}": {"eps": "a"},
        "{'k1': True}": {"k1": True}}},
    )  # fmt: skip
    no_model = {"None": None, "5": 5, "a path": str(stage.run), "'run'": "run"}
    tables = {"None": None, "5": 5, "a path": str(stage.crops), "no labels": resight.read_crops(stage.plain),
              "no split": resight.read_crops(stage.cameras), "no crops": table.select([])}  # fmt: skip
    reranks = {name: value for name, value in NO_CHOICE.items()} | {"{'k1': 20}": {"k1": 20}}
    scored = {"ap": NO_CHOICE | {"None": None}, "rerank": reranks, "flip": NO_FLAG, "clustering": FLAG}
    yield from vary(
        "evaluate", resight.evaluate, {"model": model, "table": table, "cache": cache},
        {"model": no_model, "table": tables, "cache": NO_PATH, **scored}, {"ap": {"'trapezoidal'": "trapezoidal"}},
        right=lambda found: 0 <= found["mAP"] <= 1,
    )  # fmt: skip
    test = model.open_cache(table.select(table.split != "train"), cache)
    yield from vary(
        "evaluate_cached", evaluate_cached, {"model": model, "pixels": test},
        {"model": no_model, "pixels": {"None": None, "a table": table}, **scored},
    )  # fmt: skip
    yield from vary(
        "transfer_report", transfer_report,
        {"source": model, "source_table": table, "target_table": table, "adapted": [model], "cache": cache},
        {"source": no_model, "source_table": tables, "target_table": tables, "flip": NO_FLAG, "cache": NO_PATH,
         "adapted": {"None": None, "5": 5, "a model": model, "[None]": [None], "'run'": "run"}},
        right=lambda rows: len(rows) == 3,
    )  # fmt: skip


def _compared(stage: Stage) -> Iterator[Case]:
    def compare(**changed: Any) -> Any:
        arguments = {"runs": {"one": stage.run, "two": [stage.run, stage.model]}, "table": stage.table}
        return resight.compare(**{**arguments, "cache": stage.root / "pixels", "device": "cpu", "draws": 20, **changed})

    yield from vary(
        "compare", compare, {},
        {"runs": {"None": None, "5": 5, "[]": [], "one": [stage.run], "twice": [stage.run, stage.run], "'a'": "a",
                  "{5: run}": {5: stage.run, "a": stage.run}, "empty group": {"a": [], "b": stage.run},
                  "missing": [stage.run, stage.root / "missing"], "crops": [stage.run, stage.crops], "[None]": [None] * 2},
         "table": {"None": None, "5": 5, "no split": resight.read_crops(stage.crops),
                   "no identities": stage.table.without_labels()},
         "baseline": {"'three'": "three", "5": 5, "['one']": ["one"]}, "ap": NO_CHOICE | {"None": None},
         "rerank": {"5": 5, "True": True, "{}": {}}, "flip": NO_FLAG, "draws": FROM_ONE, "seed": SEEDS,
         "device": NO_DEVICE, "cache": NO_PATH},
        {"baseline": {"'two'": "two"}, "draws": WHOLE}, right=lambda found: len(found["groups"]) == 2,
    )  # fmt: skip
    possible = ("row of zeros", "all zeros", "bool", "0×D")
    figures = {name: value for name, value in bad_features(3, 8).items() if name not in possible}
    yield from vary(
        "paired_bootstrap", evaluation.paired_bootstrap,
        {"baseline": np.arange(8) / 8, "others": np.arange(24).reshape(3, 8) / 24, "draws": 20},
        {"baseline": {"None": None, "5": 5, "[]": [], "too short": np.ones(7), "NaN": np.full(8, np.nan), "'a'": "a"},
         "others": figures, "draws": FROM_ONE, "seed": SEEDS,
         "level": NO_NUMBER | {"None": None, "0": 0, "1": 1, "-1": -1}},
        right=lambda found: len(found) == 3,
    )  # fmt: skip


def _runs(stage: Stage) -> Iterator[Case]:
    yield from vary(
        "load", resight.load, {"run": stage.run, "device": "cpu"},
        {"run": NO_PATH | {"None": None, "missing": stage.root / "missing", "a file": stage.text, "empty": stage.empty,
                           "the weights": stage.run / "model.safetensors"},
         "device": NO_DEVICE | {"None": None}, "epoch": NO_WHOLE | TOO_LOW | {"2": 2, "10**20": 10**20}},
        {"run": {"text": str(stage.run)}, "device": {"auto": "auto"}},
    )  # fmt: skip
    few = {**TINY, "sampling.iterations": 1}
    settings = {
        "5": 5, "'epochs=5'": "epochs=5", "[5]": [5], "[None]": [None], "{5: 5}": {5: 5},
        "{'epochs': None}": {"epochs": None},
        "{'epochs': 0}": {"epochs": 0}, "{'epochs': True}": {"epochs": True}, "{'encoder': 5}": {"encoder": 5},
        "{'nonsense': 1}": {"nonsense": 1}, "{'epochs': object()}": {"epochs": object()},
        "{'epochs': []}": {"epochs": []},
        "{'optimizer.lr': nan}": {"optimizer.lr": float("nan")}, "{'seed': 10**20}": {"seed": 10**20},
        "itself": _itself(), "True": True, "1.5": 1.5, "object()": object(), "b'epochs=1'": b"epochs=1",
    }  # fmt: skip
    data = {"None": None, "5": 5, "''": "", "[]": [], "missing": stage.root / "missing", "text": stage.text, "{}": {},
            "no crops": stage.table.select([]), "b'x'": b"x"}  # fmt: skip

    def train(**changed: Any) -> Any:
        arguments = {"method": "cluster_contrast", "data": stage.table, "out": stage.fresh("run"), "settings": few}
        return resight.train(**{**arguments, "cache": stage.root / "pixels", "device": "cpu", **changed})

    yield from vary(
        "train", train, {},
        {"method": NO_CHOICE, "data": data, "out": NO_PATH | {"None": None, "a file": stage.text},
         "recipe": NO_CHOICE | {"a folder": stage.root, "text": stage.text}, "settings": settings,
         "source": {"5": 5, "''": "", "missing": stage.root / "missing", "[]": []},
         "source_identities": NO_WHOLE | TOO_LOW | {"without a source": 3}, "device": NO_DEVICE, "cache": NO_PATH,
         "resume": FLAG, "reporter": {"5": 5, "'a'": "a"}},
        {"out": {"text": str(stage.fresh("run"))}}, pairs=60,
    )  # fmt: skip
    yield Case("train(settings=None)", lambda: train(settings=None, recipe=_recipe(stage)), FINE)


def _gallery(stage: Stage) -> Iterator[Case]:
    """Calls of a gallery of all crops. What fails must not change it, so the cases share one; others make their own."""
    few = {"k1": 6, "k2": 2, "eps": 0.7, "min_samples": 2}

    @functools.cache
    def shared() -> resight.Gallery:
        gallery = fresh()
        gallery.identify(settings=few)
        return gallery

    def fresh() -> resight.Gallery:
        gallery = resight.Gallery.create(stage.fresh("gallery"), stage.run, device="cpu")
        gallery.add(stage.crops)
        return gallery

    def on(method: str, make: Callable[[], resight.Gallery] = shared) -> Callable[..., Any]:
        return lambda **given: getattr(make(), method)(**given)

    no_id = NO_WHOLE | {"0": 0, "-1": -1, "9999": 9999, "10**20": 10**20}
    no_ids = {"5.5": 5.5, "'1'": "1", "None": None, "{}": {}, "len": len} | {
        f"[{name}]": [value] for name, value in no_id.items()
    }
    no_texts = {"None": None, "5": 5, "[5]": [5], "[None]": [None], "b'1'": b"1", "{}": {}}
    no_camera = no_texts | {"'9'": "9", "['']": [""], "['a\\0b']": ["a\0b"]}
    no_image = {"[None]": [None], "[5]": [5], "[missing]": [stage.root / "missing.png"], "[text]": [stage.text],
                "[folder]": [stage.root], "[grey]": [np.zeros((9, 9), np.uint8)], "[float]": [np.zeros((9, 9, 3))]}  # fmt: skip
    no_count = FROM_ONE
    image, one = sorted(stage.crops.iterdir())[0], {"sightings": [1]}
    filters = {"cameras": no_camera, "not_cameras": no_camera, "identities": no_ids, "hidden": FLAG,
               "start": NO_NUMBER, "stop": NO_NUMBER}  # fmt: skip
    yield from vary(
        "Gallery", lambda place: resight.Gallery(place).close(), {"place": shared().name},
        {"place": NO_PATH | {"missing": stage.root / "missing", "crops": stage.crops, "text": stage.text}}, pairs=0,
    )  # fmt: skip
    yield from vary(
        "Gallery.create", lambda **given: resight.Gallery.create(**{"place": stage.fresh("g")} | given).close(),
        {"run": stage.run, "device": "cpu"},
        {"place": NO_PATH | {"crops": stage.crops, "text": stage.text, "a gallery": shared().name},
         "run": NO_PATH | {"crops": stage.crops, "missing": stage.root / "missing"}, "device": NO_DEVICE,
         "precision": NO_CHOICE | {"None": None}, "index": NO_CHOICE | {"None": None},
         "thumbnails": {"5": 5, "[]": [], "'nonsense://x'": "nonsense://x"}},
        {"precision": {"float32": "float32"}}, pairs=10,
    )  # fmt: skip
    yield from vary(
        "gallery.add", on("add"), {"data": stage.crops},
        {"data": NO_PATH | {"missing": stage.root / "missing", "empty": stage.empty, "None": None}}, pairs=0,
    )  # fmt: skip
    dim = len(stage.features[0])
    rows = np.random.default_rng(0).normal(size=(2, dim)).astype(np.float32)
    bad_rows = {"None": None, "5": 5, "'a'": "a", "1-D": rows[0], "3-D": rows[None], "NaN": rows * np.nan,
                "inf": rows * np.inf, "zeros": rows * 0, "narrow": rows[:, 1:], "objects": np.array([[None] * dim] * 2),
                "texts": np.full((2, dim), "a"), "complex": rows * 1j}  # fmt: skip
    wrong_columns = {"5": 5, "one": ["a"], "three": ["a", "b", "c"], "[None, 5]": [None, 5], "[b'a', 'b']": [b"a", "b"]}
    yield from vary(
        "gallery.add_embeddings", lambda **given: on("add_embeddings", fresh)(fingerprint=shared().info()["model"], **given)
        if "fingerprint" not in given else on("add_embeddings")(**given),
        {"embeddings": rows},
        {"embeddings": bad_rows, "fingerprint": NO_CHOICE | {"None": None}, "camera": wrong_columns,
         "digests": wrong_columns | {"[None] * 2": [None] * 2, "long": ["a" * 65, "b"]}, "track": wrong_columns,
         "source": wrong_columns, "time": {"5": 5, "one": [1.0], "texts": ["a", "b"], "nan": [np.nan, 1.0],
         "inf": [np.inf, 1.0]}},
        {"camera": {"None": [None, "c"]}, "time": {"numbers": [1, 2.5], "None": [None, 3]}}, pairs=10,
    )  # fmt: skip
    yield from vary(
        "gallery.search", on("search"), {"images": [image]},
        {"images": no_image | {"None": None, "5": 5, "[]": [], "''": ""}, "not_images": no_image | {"5": 5},
         "sightings": no_ids, "not_sightings": no_ids, "k": no_count, "rerank": FLAG, **filters},
        {"sightings": {"[1]": [1]}, "k": {"1": 1, "10**6": 10**6}, "rerank": {"True": True},
         "cameras": {"['1']": ["1"]}, "images": {"a path": image, "an array": np.zeros((9, 5, 3), np.uint8)}},
    )  # fmt: skip
    yield from vary(
        "gallery.search_many", on("search_many"), {"embeddings": rows},
        {"embeddings": bad_rows, "k": no_count, "nonsense": {"5": 5}, **filters}, pairs=10,
    )  # fmt: skip
    yield from vary("gallery.sightings", on("sightings"), {"ids": [1]}, {"ids": no_ids})
    yield from vary(
        "gallery.embeddings", on("embeddings"), one, {"sightings": no_ids, "without_cameras": FLAG}, pairs=5
    )
    for name in ("stored", "thumbnail"):
        yield from vary(f"gallery.{name}", on(name), {"sighting": 1}, {"sighting": no_id | {"None": None}})
    yield from vary(
        "gallery.identify", on("identify"), {"settings": few},
        {"again": FLAG, "algorithm": {"5": 5, "''": "", "'nonsense'": "nonsense", "[]": []},
         "settings": {"5": 5, "'a'": "a", "unknown": {"nonsense": 5}, "eps": {"eps": -1}, "[]": []}}, pairs=5,
    )  # fmt: skip
    yield from vary("gallery.members", on("members"), {"identity": 1}, {"identity": no_id | {"None": None}})
    yield from vary(
        "gallery.similar", on("similar"), {"identity": 1}, {"identity": no_id | {"None": None}, "count": no_count},
        pairs=5,
    )  # fmt: skip
    for name in ("confirm", "reject"):
        yield from vary(
            f"gallery.{name}", on(name, fresh), {"sighting": 1, "other": 2},
            {"sighting": no_id | {"None": None, "2": 2}, "other": no_id}, pairs=5,
        )  # fmt: skip
    yield from vary(
        "gallery.merge", on("merge"), {"identities": [1, 2]}, {"identities": no_ids | {"[1]": [1], "[]": []}}
    )
    yield from vary(
        "gallery.assign", on("assign", fresh), {"identity": None, "sightings": [1, 2]},
        {"identity": no_id, "sightings": no_ids | {"[]": []}}, pairs=5,
    )  # fmt: skip
    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        *(("split", {"identity": 1, "sightings": value}) for value in no_ids.values()),
        *(("split", {"identity": value, "sightings": [1]}) for value in no_id.values()),
        *(("rename", {"identity": value, "name": "x"}) for value in no_id.values()),
        *(("rename", {"identity": 1, "name": value}) for value in (5, None, b"a", "a\0b", ["a"])),
        *(("rename", {"identity": 1, "note": value}) for value in (5, b"a", "a\0b", ["a"])),
        *(("hide", {"sightings": value}) for value in no_ids.values()),
        *(("hide", {"identities": value}) for value in no_ids.values()),
        *(("hide", {"sightings": [1], "hidden": value}) for value in FLAG.values()),
        *(("delete", {"sightings": value}) for value in no_ids.values()),
        *(("delete", {"identities": value}) for value in no_ids.values()),
        *(("delete", {"cameras": value}) for value in no_texts.values()),
        *(("delete", {"before": value}) for value in NO_NUMBER.values()),
        ("delete", {}),
        *(("undo", {"decision": value}) for value in no_id.values()),
        *(("questions", {"count": value}) for value in no_count.values()),
        *(("review", {"order": value}) for value in [*NO_CHOICE.values(), None]),
        *(("review", {"seed": value}) for name, value in SEEDS.items() if name != "10**20"),
        *(("answer", {"question": value, "answer": "same"}) for value in [*NO_CHOICE.values(), None, "1-1", "1-9999"]),
        *(("answer", {"question": "1-2", "answer": value}) for value in [*NO_CHOICE.values(), None]),
        *(("export", {"to": value}) for value in [*NO_PATH.values(), None, stage.root]),
        *(("import_from", {"folder": value}) for value in [*NO_PATH.values(), None, stage.empty, stage.text]),
        *(("migrate", {"run": value}) for value in [*NO_PATH.values(), None, stage.empty, stage.crops]),
    )
    for place, (name, given) in enumerate(wrong):
        yield Case(f"gallery.{name} {place}", functools.partial(on(name), **given), SENTENCE)
    yield Case("the gallery after all wrong calls", lambda: shared().verify(), FINE, lambda found: found == [])


def _itself() -> dict[str, Any]:
    settings: dict[str, Any] = {}
    settings["encoder"] = settings
    return settings


def _recipe(stage: Stage) -> Path:
    file = stage.fresh("recipe.yaml")
    lines = [f"{name.split('.')[0]}: {{}}" for name in ()]
    groups: dict[str, list[str]] = {}
    for name, value in TINY.items():
        group, _, last = name.rpartition(".")
        groups.setdefault(group, []).append(f"{last}: {value}")
    lines += groups.pop("", [])
    lines += [f"{group}: {{{', '.join(parts)}}}" for group, parts in groups.items()]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def _files(stage: Stage) -> Iterator[Case]:
    table, features = stage.table, stage.features
    size, dim = features.shape
    labels = np.arange(size)
    no_table = {"None": None, "5": 5, "a path": str(stage.crops), "of other crops": table.select([0, 1])}
    for ending in ("parquet", "npz"):
        yield from vary(
            f"write_embeddings to {ending}", write_embeddings,
            {"file": stage.fresh(f"a.{ending}"), "table": table, "features": features},
            {"file": NO_PATH | {"None": None, "xlsx": stage.fresh("a.xlsx"),
            "no folder": stage.root / "no" / f"a.{ending}"},
             "table": no_table,
             "features": {name: value for name, value in bad_features(size, dim).items()
                          if name not in ("row of zeros", "all zeros")} | {"of other crops": features[:-1]}},
        )  # fmt: skip
    for ending in ("csv", "parquet"):
        file = {
            "file": NO_PATH
            | {"None": None, "npz": stage.fresh("a.npz"), "no folder": stage.root / "no" / f"a.{ending}"}
        }
        yield from vary(
            f"write_clusters to {ending}", write_clusters,
            {"file": stage.fresh(f"a.{ending}"), "table": table, "labels": labels},
            {**file, "table": no_table, "labels": bad_integers(size) | {"None": None}},
            {"labels": good_integers(labels)},
        )  # fmt: skip
        names, shares = np.full((size, 2), "x"), np.full((size, 2), 0.5, np.float32)
        yield from vary(
            f"write_descriptions to {ending}", write_descriptions,
            {"file": stage.fresh(f"a.{ending}"), "table": table, "names": names, "shares": shares},
            {**file, "table": no_table, "names": {"None": None, "5": 5, "too short": names[:-1], "vector": names[0]},
             "shares": {"None": None, "too short": shares[:-1], "narrow": shares[:, :1], "NaN": shares * np.nan}},
        )  # fmt: skip
    images = stage.model.open_cache(table, stage.root / "pixels").images
    sheet = {"images": images, "table": table, "features": features}
    no_sheet = {
        "images": {"None": None, "of other crops": images[:3], "float": images[:] / 255.0, "0×0": np.empty((0, 0),
        np.uint8)},
        "table": no_table, "features": bad_features(size, dim) | {"of other crops": features[:-1]},
        "shown": FROM_ONE | {"10**20": 10**20},
    }  # fmt: skip
    no_sheet["shown"].pop("10**20")
    yield from vary("retrieval_sheet", retrieval_sheet, sheet, {**no_sheet, "queries": FROM_ONE})
    yield from vary(
        "cluster_sheet", cluster_sheet, {**sheet, "labels": labels % 4},
        {**no_sheet, "labels": bad_integers(size, -1) | {"None": None}, "clusters": FROM_ONE},
    )  # fmt: skip


def _worlds(stage: Stage) -> Iterator[Case]:
    small = {"identities": 4, "cameras": 2, "crops": 14, "height": 32, "width": 16}
    whole = _settings(NO_WHOLE | TOO_LOW | {"None": None, "10**20": 10**20})
    yield from vary(
        "world_config", world_config, small,
        {
            "level": NO_CHOICE | {"None": None}, "identities": whole, "cameras": whole | {"1000": 1000}, "crops": whole,
            "seed": _settings(SEEDS), "height": whole, "width": whole, "nonsense": {"1": 1},
            **{name: _settings(NO_NUMBER) | {"None": None, "-1": -1, "1e9": 1e9} for name in
               ("train_share", "coverage", "frame_gap", "siblings", "junk", "camera_height", "blur", "noise",
               "occlusion")},
        },
    )  # fmt: skip
    yield from vary(
        "synthetic", lambda **given: resight.synthetic(**{"out": stage.fresh("world"), **small, **given}), {},
        {"out": NO_PATH | {"None": None, "a file": stage.text}, "identities": whole, "seed": _settings(SEEDS)},
    )  # fmt: skip
    yield from vary(
        "write_world", write_world, {"out": stage.fresh("world"), "config": world_config(**small)},
        {"out": NO_PATH | {"None": None, "a file": stage.text},
         "config": {"None": None, "5": 5, "{}": {}, "'medium'": "medium"}},
    )  # fmt: skip
    yield Case("import of a name that is not there", lambda: getattr(resight, "nonsense", 5), EITHER)
