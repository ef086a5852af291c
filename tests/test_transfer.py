"""The report on transfer: which model is scored on which data, in which order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import resight
from resight.model import Model
from resight.transfer import transfer_report


@pytest.fixture(scope="module")
def models(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    out = tmp_path_factory.mktemp("transfer")
    settings = [tiny | {"epochs": 1, "seed": seed} for seed in range(2)]
    return [resight.train("cluster_contrast", painted, out / str(s["seed"]), settings=s) for s in settings]


def test_rows_are_the_source_model_at_home_and_away_then_the_adapted_models(
    models: list[Model], painted: Path, paint_crops: Callable[..., Path], tmp_path: Path
) -> None:
    home = resight.read_crops(painted, train_identities=8)
    away = resight.read_crops(paint_crops(tmp_path / "away", identities=9, shots=2), train_identities=3)
    rows = transfer_report(models[0], home, away, models[1:], cache=tmp_path / "pixels")
    expected = [
        (models[0], "source", home, False),
        (models[0], "target", away, False),
        (models[1], "target", away, True),
    ]
    assert len(rows) == len(expected)
    for row, (model, data, table, adapted) in zip(rows, expected, strict=True):
        assert model.run is not None
        facts = {"model": str(model.run.path), "data": data, "adapted": adapted}
        assert row == facts | resight.evaluate(model, table)
    assert len({row["mAP"] for row in rows}) == 3
    assert transfer_report(models[0], home, away) == rows[:2]
