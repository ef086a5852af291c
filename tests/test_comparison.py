"""Runs compared on the same queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resight
from resight import ResightError
from resight.evaluation import evaluate_splits, paired_bootstrap


@pytest.fixture(scope="module")
def runs(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("comparison")
    for seed in range(3):
        settings = tiny | {"epochs": 1, "seed": seed}
        resight.train("cluster_contrast", painted, folder / f"run-{seed}", settings=settings)
    return [folder / f"run-{seed}" for seed in range(3)]


def test_groups_are_averaged_per_query_before_the_draws(runs: list[Path], painted: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    found = resight.compare({"one": runs[0], "two": runs[1:]}, table, draws=500, seed=3)
    tested = table.select(table.split != "train")
    of_runs = []
    for run in runs:
        features = resight.load(run, "cpu").embed(tested)
        of_runs.append(evaluate_splits(features, tested.identity, tested.camera, tested.split))
    queries = [metrics.queries for metrics in of_runs]
    for measure, of in (
        ("mAP", lambda query: query.average_precision),
        ("rank1", lambda query: query.first_rank == 1),
    ):
        first, *rest = [of(query).astype(float) for query in queries]
        mean = (rest[0] + rest[1]) / 2
        expected = paired_bootstrap(first, mean[None], draws=500, seed=3)[0]
        one, two = found["groups"]
        assert one[measure] == pytest.approx(first.mean())
        assert two[measure] == pytest.approx(mean.mean())
        assert two[f"{measure}_difference"] == pytest.approx(vars(expected))
        assert f"{measure}_difference" not in one
        assert [run[measure] for run in two["runs"]] == [getattr(metrics, measure) for metrics in of_runs[1:]]
    assert (found["baseline"], found["draws"], found["seed"], found["scored_queries"]) == ("one", 500, 3, 16)
    turned = resight.compare({"one": runs[0], "two": runs[1:]}, table, baseline="two", draws=500, seed=3)
    difference = turned["groups"][0]["mAP_difference"]
    assert difference["difference"] == pytest.approx(-found["groups"][1]["mAP_difference"]["difference"])
    assert np.isclose(difference["low"], -found["groups"][1]["mAP_difference"]["high"])


def test_runs_are_named_by_their_folders(runs: list[Path], painted: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    model = resight.load(runs[1], "cpu")
    found = resight.compare([runs[0], model], table, draws=10)
    assert [group["name"] for group in found["groups"]] == [str(runs[0]), str(runs[1])]


def test_what_cannot_be_compared(runs: list[Path], painted: Path, tmp_path: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    for wrong, words in (
        ([runs[0]], "At least two runs"),
        ([runs[0], runs[0]], "named twice"),
        ({"a": runs[0], "b": []}, "'b' has no run"),
        ({"a": runs[0], 5: runs[1]}, "named by texts"),
        ([runs[0], tmp_path], "run folder"),
        ("runs", "list of run folders"),
    ):
        with pytest.raises(ResightError, match=words):
            resight.compare(wrong, table)  # type: ignore[arg-type]
    with pytest.raises(ResightError, match="choose one of a, b"):
        resight.compare({"a": runs[0], "b": runs[1]}, table, baseline="c")
    with pytest.raises(ResightError, match="draws"):
        resight.compare(runs, table, draws=0)
    with pytest.raises(ResightError, match="--train-identities"):
        resight.compare(runs, resight.read_crops(painted))
