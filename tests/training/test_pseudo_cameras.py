"""Groups found from the crops in place of cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resight import read_crops
from resight.clustering import pseudo_cameras
from resight.crops.cache import open_pixel_cache
from resight.encoders import Encoder, EncoderConfig, early_statistics
from resight.model import load
from resight.training.config import build_config
from resight.training.loop import fit
from resight.training.reporting import Reporter
from resight.training.run import RunFolder

USE = {
    "clustering.centre_cameras": True,
    "sampling.cameras": "spread",
    "method.camera_weight": 0.5,
    "pseudo_cameras": 2,
    "clustering.one_camera": "leave_out",
    "clustering.one_camera_ramp": 2,
}


class Heard(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture(scope="module")
def strange(paint_crops: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops whose cameras differ much."""
    return paint_crops(tmp_path_factory.mktemp("strange") / "crops", cast=0.9)


@pytest.fixture(scope="module")
def whole(strange: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on crops without cameras and identities."""
    table = replace(read_crops(strange), camera=None, camera_names=None).without_labels()
    config = build_config("cluster_contrast", None, tiny | USE)
    return fit(config, table, tmp_path_factory.mktemp("runs") / "whole")


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_statistics_are_means_and_deviations_of_the_early_map(backbone: str) -> None:
    encoder = Encoder(EncoderConfig(backbone=backbone, weights="none", height=64, width=32))  # type: ignore[arg-type]
    encoder.eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 64, 32), np.uint8)
    found = early_statistics(encoder, images, batch=2)
    with torch.no_grad():
        early = encoder.backbone.early(encoder.preprocess(torch.from_numpy(images)))
    expected = []
    for one in early.double().numpy():
        expected.append([channel.mean() for channel in one] + [channel.std() for channel in one])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_groups_are_found_by_the_first_weights(strange: Path, whole: RunFolder, tmp_path: Path) -> None:
    config = whole.read_config()
    torch.manual_seed(config.seed)
    encoder = Encoder(config.encoder)
    images = open_pixel_cache(read_crops(strange), 32, 16, tmp_path).images
    expected = pseudo_cameras(early_statistics(encoder, images), 2, seed=config.seed)
    state = torch.load(whole.checkpoint_file, weights_only=True)
    assert (state["pseudo_cameras"].numpy() == expected).all()
    assert len(np.unique(expected)) == 2


def test_a_run_without_cameras_uses_groups_and_says_so(whole: RunFolder) -> None:
    data = whole.read_data()
    assert data["camera_use"] == []
    assert sum(data["pseudo_cameras"]) == data["crops"]
    records = whole.read_metrics()
    assert "camera" in records[-1]  # the term of the inter-camera loss
    assert records[0]["one_camera_clusters"] == 0  # the ramp begins
    for record in records:
        labels = np.load(whole.path / "labels" / f"{record['epoch']:04d}.npz")["labels"]
        assert record["outliers"] == (labels < 0).sum() >= record["one_camera_crops"] * len(labels) - 1e-6
    assert records[-1]["one_camera_clusters"] > 0


def test_known_cameras_are_not_looked_at(
    strange: Path, whole: RunFolder, tiny: dict[str, object], tmp_path: Path
) -> None:
    same = fit(build_config("cluster_contrast", None, tiny | USE), read_crops(strange), tmp_path / "run")
    assert same.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert same.read_data()["camera_use"] == []


def test_a_resumed_run_keeps_its_groups(
    strange: Path, whole: RunFolder, tiny: dict[str, object], stop_at: Callable[[str], Reporter], tmp_path: Path
) -> None:
    table = replace(read_crops(strange), camera=None, camera_names=None).without_labels()
    config = build_config("cluster_contrast", None, tiny | USE)
    with pytest.raises(KeyboardInterrupt):
        fit(config, table, tmp_path / "cut", reporter=stop_at("in epoch 2"))
    resumed = fit(config, table, tmp_path / "cut", resume=True)
    for name in ("metrics_file", "weights_file"):
        assert getattr(resumed, name).read_bytes() == getattr(whole, name).read_bytes()


def test_the_trained_model_clusters_crops_without_cameras(strange: Path, whole: RunFolder, tmp_path: Path) -> None:
    model, table = load(whole.path), replace(read_crops(strange), camera=None)
    pixels = open_pixel_cache(table, 32, 16, tmp_path)
    assert len(model.cluster(model.embed_cached(pixels), pixels.table)) == len(table)


def test_groups_that_nothing_uses_are_remarked_on(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    heard = Heard()
    config = build_config("cluster_contrast", None, tiny | {"pseudo_cameras": 2, "epochs": 1})
    fit(config, read_crops(painted), tmp_path / "run", reporter=heard)
    assert any("pseudo_cameras=2 has no effect on training" in sentence for sentence in heard.said)
