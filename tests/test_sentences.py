"""Scores and runs in words."""

from __future__ import annotations

import pytest

from resight.sentences import (
    RATES,
    clustering_rows,
    describe_best_epoch,
    describe_model,
    describe_scores,
    describe_start,
    describe_transfer,
    percent,
)

SCORES = {
    "scored_queries": 8, "skipped_queries": 1, "gallery_size": 24, "gallery_junk": 0, "ap": "standard",
}  # fmt: skip
START = {"run": "runs/source", "root": "world", "identity_use": True, "camera_use": []}
FACTS = {"epoch": 3, "camera_use_in_training": [], "identity_use_in_training": False, "started_from": []}


def test_rates_are_in_per_cent() -> None:
    assert list(RATES.values()) == ["mAP", "rank-1", "rank-5", "rank-10", "mINP"]
    assert [percent(rate) for rate in (0, 0.12345, 1)] == ["0.0", "12.3", "100.0"]


def test_scores_alone() -> None:
    assert describe_scores(SCORES) == (
        "8 queries scored, 1 without a right answer skipped; 24 gallery crops; AP standard; "
        "camera labels in training: none."
    )


def test_scores_with_everything_that_can_be_said() -> None:
    everything = {
        "gallery_junk": 2,
        "rerank": {"k1": 4, "k2": 6, "lam": 0.3},
        "flip": True,
        "unreadable": 5,
        "epoch": 3,
        "identity_use_in_training": True,
        "camera_use_in_training": ["clustering.centre_cameras", "method.camera_weight"],
        "started_from": [START, START | {"run": "runs/first", "identity_use": False}],
        "source_in_training": {"root": "source", "crops": 28, "people": 7},
    }
    assert describe_scores(SCORES | everything) == (
        "epoch 3; 8 queries scored, 1 without a right answer skipped; 24 gallery crops, 2 of them junk; AP standard; "
        "re-ranked with k1=4, k2=6, lam=0.3; mirror images added; 5 unreadable crops left out; "
        "identities in training: yes, this is a supervised model; "
        "camera labels in training: clustering.centre_cameras, method.camera_weight; "
        "started from runs/source, trained with identities on world; "
        "started from runs/first, trained without identities on world; "
        "labels of another set in training: 28 crops of 7 identities in source."
    )


@pytest.mark.parametrize("scores", [{}, {"best_epoch": None}])
def test_no_best_epoch_is_no_sentence(scores: dict[str, object]) -> None:
    assert describe_best_epoch(scores) == ""


def test_the_best_epoch_is_not_the_result() -> None:
    assert describe_best_epoch({"best_epoch": {"epoch": 2, "mAP": 0.6, "rank1": 0.5}}) == (
        "Best epoch by these same figures, 2 (not to be quoted as the result): mAP 60.0, rank-1 50.0."
    )


def test_how_a_model_came_about() -> None:
    assert describe_model("runs/a", "adtc", "none", FACTS) == (
        "runs/a: adtc, epoch 3; started from weights none; camera labels in training: none."
    )
    facts = FACTS | {"started_from": [START], "identity_use_in_training": True, "camera_use_in_training": ["x"]}
    assert describe_model("runs/a", "supervised", "runs/source", facts) == (
        f"runs/a: supervised, epoch 3; {describe_start(START)}; camera labels in training: x; "
        "identities in training: yes."
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"data": "source", "adapted": False}, "duke"),
        ({"data": "target", "adapted": False}, "duke to market, before adaptation"),
        ({"data": "target", "adapted": True}, "duke to market, after adaptation"),
    ],
)
def test_rows_of_a_transfer(row: dict[str, object], said: str) -> None:
    assert describe_transfer(row, "duke", "market") == said


def test_measures_of_a_clustering() -> None:
    names = ("ari", "ami", "fowlkes_mallows", "v_measure", "homogeneity", "completeness")
    quality = {name: 0.1 * place for place, name in enumerate(names)}
    quality |= {f"all_{name}": 0.01 * place for place, name in enumerate(names)}
    assert clustering_rows(quality) == [
        ("ARI", "0.000", "0.000"),
        ("AMI", "0.100", "0.010"),
        ("fowlkes-mallows", "0.200", "0.020"),
        ("v-measure", "0.300", "0.030"),
        ("homogeneity", "0.400", "0.040"),
        ("completeness", "0.500", "0.050"),
    ]
