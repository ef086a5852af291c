"""A method that the package does not know, written in this file alone: it trains, resumes after a kill and loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import resight
from resight.clustering import PseudoLabels, cluster_crops
from resight.crops import CropTable, read_crops
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.methods import METHODS, Batch, EpochData, EpochPlan, Method, MethodData, MethodOptions, Needs
from resight.proxies import cluster_means
from resight.training.config import build_config, describe_settings
from resight.training.loop import fit
from resight.training.reporting import Reporter
from resight.training.run import RunFolder


class CameraGuessOptions(MethodOptions):
    name: Literal["camera_guess"] = "camera_guess"
    weight: float = Field(0.1, ge=0, description="weight of the camera classifier")
    every: int = Field(2, ge=1, description="epochs between two labellings")


class CameraPrototypes(nn.Module):
    """Says which camera a crop is most like."""

    prototypes: Tensor

    def __init__(self, prototypes: Tensor, names: tuple[str, ...]) -> None:
        super().__init__()
        self.register_buffer("prototypes", prototypes)
        self.names = names

    def guess(self, features: np.ndarray) -> list[str]:
        return [self.names[n] for n in (torch.from_numpy(features) @ self.prototypes.T).argmax(1).tolist()]


class CameraGuess(Method[CameraGuessOptions]):
    """Two views of a crop agree, clusters are told apart, and prototypes of the cameras are learnt beside them."""

    name = "camera_guess"
    summary = "a method of a test"
    Options = CameraGuessOptions
    prototypes: nn.Parameter

    def __init__(self, options: CameraGuessOptions, clustering: Any, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.dim = encoder.dim
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @classmethod
    def needs(cls, options: CameraGuessOptions) -> Needs:
        settings = ("clustering.k1", "clustering.k2", "clustering.eps")
        return Needs(views=2, cameras=("method.weight",) if options.weight else (), settings=settings)

    def plan(self, epoch: int) -> EpochPlan:
        return EpochPlan(schedule_length=self.options.every)

    def setup(self, data: MethodData) -> None:
        assert data.table.identity is None  # only a method that needs identities sees them
        cameras = np.unique(data.table.require("camera", self.name))
        self.codes = torch.from_numpy(cameras)
        self.prototypes = nn.Parameter(torch.zeros(len(cameras), self.dim))

    def label(self, data: EpochData) -> PseudoLabels:
        clustering = self.clustering
        found = cluster_crops(data.features, k1=clustering.k1, k2=clustering.k2, eps=clustering.eps)
        length = np.linalg.norm(data.features, axis=1)
        facts = {"steps_so_far": int(self.seen)}
        sentence = f"{int(self.seen)} steps so far"
        return PseudoLabels(found.labels, facts, {"length": length.astype(np.float32)}, (sentence,))

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        features, camera = data.on_device(data.features), data.camera
        assert camera is not None
        self.proxies = F.normalize(cluster_means(features, labels, int(labels.max()) + 1))
        if data.epoch == 0:
            index = torch.searchsorted(self.codes, camera)
            self.prototypes.data = F.normalize(cluster_means(features, index, len(self.codes)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (view.embedding for view in batch.views)
        assert batch.camera is not None
        cameras = torch.searchsorted(self.codes, batch.camera)
        return {
            "cluster": F.cross_entropy(first @ self.proxies.T / 0.1, batch.labels),
            "views": (first - second).square().sum(1).mean(),
            "camera": self.options.weight * F.cross_entropy(first.detach() @ self.prototypes.T / 0.1, cameras),
        }

    def after_step(self, batch: Batch) -> None:
        self.seen += 1

    def extension(self) -> CameraPrototypes:
        return CameraPrototypes(F.normalize(self.prototypes.detach()), ())

    @classmethod
    def load_extension(
        cls, options: CameraGuessOptions, state: Mapping[str, Tensor], data: Mapping[str, Any]
    ) -> CameraPrototypes:
        return CameraPrototypes(state["prototypes"], tuple(f"camera {n + 1}" for n in range(len(state["prototypes"]))))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, CameraGuess.name, CameraGuess)


def train(crops: Path, recipe: Path, out: Path, **options: Any) -> RunFolder:
    return fit(build_config(CameraGuess.name, recipe), read_crops(crops), out, **options)


@pytest.fixture
def recipe(tiny: dict[str, object], tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(tiny | {"epochs": 3}))  # JSON is YAML
    return file


def test_it_trains_resumes_after_a_kill_and_loads(painted: Path, recipe: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    class Listen(Reporter):
        def epoch(self, record: dict[str, Any], epochs: int, sentences: Any = ()) -> None:
            heard.extend(sentences)

    whole = train(painted, recipe, tmp_path / "whole", reporter=Listen())
    assert heard == ["0 steps so far", "6 steps so far", "12 steps so far"]
    assert [record["steps_so_far"] for record in whole.read_metrics()] == [0, 6, 12]
    assert whole.read_data()["camera_use"] == ["method.weight"]
    assert np.load(whole.path / "length" / "0003.npz")["length"] == pytest.approx(np.ones(96), abs=1e-5)

    command = [sys.executable, __file__, str(painted), str(recipe), str(tmp_path / "cut")]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["epoch"] == 1
    resumed = train(painted, recipe, tmp_path / "cut", resume=True)
    for file in ("metrics.jsonl", "model.safetensors"):
        assert (resumed.path / file).read_bytes() == (whole.path / file).read_bytes()

    model = resight.load(whole.path)
    assert isinstance(model.extension, CameraPrototypes)
    table = read_crops(painted)
    guesses = model.extension.guess(model.embed(table))
    assert table.camera is not None
    assert np.mean([guess == f"camera {camera}" for guess, camera in zip(guesses, table.camera, strict=True)]) > 0.6


def test_what_it_needs_is_checked_and_what_it_reads_is_listed(painted: Path, recipe: Path, tmp_path: Path) -> None:
    table = read_crops(painted)
    with pytest.raises(ResightError, match=r"camera_guess with method\.weight set needs the column 'camera'"):
        fit(build_config(CameraGuess.name, recipe), CropTable(table.root, table.paths), tmp_path / "run")
    listed = {setting.name for setting in describe_settings(CameraGuess.name, recipe)}
    assert {"method.weight", "method.every", "clustering.eps"} <= listed
    assert not {"clustering.min_samples", "sampling.source_crops"} & listed


class _Die(Reporter):
    def progress(self, what: str, done: int, total: int) -> None:
        if what == "epoch 2" and done == 3:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":  # the process that the test kills
    METHODS[CameraGuess.name] = CameraGuess
    train(*map(Path, sys.argv[1:]), reporter=_Die())
