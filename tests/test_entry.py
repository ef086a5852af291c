"""Training from Python: settings, devices, and that the model returned is the one that was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import resight
from resight import ResightError
from resight.crops.cache import open_pixel_cache
from resight.encoders import Encoder, embed_images
from resight.entry import resolve_config
from resight.training.config import build_config
from resight.training.loop import fit
from resight.training.reporting import Reporter


def test_a_loaded_model_embeds_as_the_encoder_that_was_trained(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table = resight.read_crops(painted)
    pixels = open_pixel_cache(table, 32, 16, tmp_path / "pixels")
    trained: list[np.ndarray] = []

    def embed(encoder: Encoder) -> dict[str, float]:
        trained.append(embed_images(encoder, pixels.images))
        return {}

    config = build_config("cluster_contrast", None, tiny | {"epochs": 2, "evaluate_every": 1})
    run = fit(config, table, tmp_path / "run", evaluate=embed)
    assert len(trained) == 3  # before training, and after each of two epochs
    assert np.array_equal(resight.load(run.path).embed_cached(pixels), trained[-1])
    assert not np.array_equal(trained[-2], trained[-1])


def test_training_scores_on_the_test_crops_and_keeps_the_scores(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table = resight.read_crops(painted, train_identities=8)
    model = resight.train("cluster_contrast", table, tmp_path / "run", settings=tiny | {"epochs": 1})
    assert model.run is not None
    scores = resight.evaluate(model, table)
    saved = json.loads(model.run.evaluation_file.read_text())
    assert {name: saved[name] for name in scores} == scores
    assert model.run.read_metrics()[-1]["test_mAP"] == scores["mAP"]
    unlabelled = resight.train(
        "cluster_contrast", table.without_labels(), tmp_path / "2", settings=tiny | {"epochs": 1}
    )
    assert unlabelled.run is not None
    assert not unlabelled.run.evaluation_file.exists()


def test_a_finished_run_that_is_resumed_is_scored_again(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = resight.read_crops(painted, train_identities=8)
    run = resight.train("cluster_contrast", table, tmp_path / "run", settings=tiny | {"epochs": 1}).run
    assert run is not None
    before = run.evaluation_file.read_bytes()
    run.evaluation_file.unlink()
    resight.train("cluster_contrast", table, tmp_path / "run", resume=True)
    assert run.evaluation_file.read_bytes() == before


def test_the_device_goes_to_training_and_to_the_model(
    painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[object] = []
    honest_fit, honest_load = fit, resight.load

    def watched_fit(*args: object, device: object, **options: object) -> object:
        used.append(device)
        return honest_fit(*args, device="cpu", **options)  # type: ignore[arg-type]

    def watched_load(run: Path, device: object) -> object:
        used.append(device)
        return honest_load(run, "cpu")

    monkeypatch.setattr("resight.entry.fit", watched_fit)
    monkeypatch.setattr("resight.entry.load", watched_load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    resight.train("cluster_contrast", painted, tmp_path / "1", settings=tiny | {"epochs": 1}, device="cuda:1")
    resight.train("cluster_contrast", painted, tmp_path / "2", settings=tiny | {"epochs": 1})
    assert used == [torch.device("cuda:1")] * 2 + [torch.device("cuda")] * 2


def test_a_device_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="There is no device 'tpu'"):
        resight.train("cluster_contrast", "/nowhere", tmp_path / "run", device="tpu")


def test_a_number_of_source_identities_needs_a_source(painted: Path, tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="but no source: name it with --source PATH"):
        resight.train("mar", painted, tmp_path / "run", source_identities=3)


def test_a_resumed_run_has_its_own_settings(
    painted: Path, tiny: dict[str, object], tmp_path: Path, stop_at: Callable[[str], Reporter]
) -> None:
    run, settings = tmp_path / "run", tiny | {"epochs": 2, "seed": 7}
    with pytest.raises(KeyboardInterrupt):
        resight.train("cluster_contrast", painted, run, settings=settings, reporter=stop_at("after epoch 1"))
    expected = build_config("cluster_contrast", None, settings)
    assert resolve_config("cluster_contrast", None, (), resume=run) == expected
    assert resolve_config("cluster_contrast", None, (), resume=tmp_path / "none") == build_config("cluster_contrast")
    assert resolve_config("cluster_contrast", None, ["seed=1"], resume=run).seed == 1
    with pytest.raises(ResightError, match="is a run of cluster_contrast, not of pplr"):
        resolve_config("pplr", None, (), resume=run)
    model = resight.train("cluster_contrast", painted, run, resume=True)
    assert model.config == expected
    assert model.run is not None
    assert [record["epoch"] for record in model.run.read_metrics()] == [1, 2]
