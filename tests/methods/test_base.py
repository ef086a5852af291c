"""What holds for every method, and what a method gets without asking for it."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from resight import methods
from resight.clustering import cluster_crops
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, EncoderConfig
from resight.methods import METHODS, Batch, EpochData, EpochPlan, Method, MethodOptions, Needs
from resight.training.config import build_config, recipes


def test_every_method_of_the_package_can_be_chosen_by_its_name() -> None:
    modules = [import_module(f"{methods.__name__}.{found.name}") for found in pkgutil.iter_modules(methods.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    assert {kind for kind in kinds if issubclass(kind, Method) and kind is not Method} == set(METHODS.values())
    assert set(recipes()) == set(METHODS)
    for name, kind in METHODS.items():
        assert kind.name == name
        config = build_config(name)
        assert type(config.method) is kind.Options
        assert config.method.name == name
        with pytest.raises(ValidationError):
            kind.Options(name="another")
        assert kind.summary.strip()
        assert "\n" not in kind.summary
    assert len({kind.Options for kind in METHODS.values()}) == len(METHODS)
    assert len({kind.summary for kind in METHODS.values()}) == len(METHODS)


class Plainest(Method[MethodOptions]):
    """A method that leaves everything but its loss as it is."""

    name = "plainest"
    summary = "nothing"
    Options = MethodOptions

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"nothing": batch.features.embedding.sum()}


def test_by_default_a_method_clusters_the_features_of_each_epoch() -> None:
    options, clustering = MethodOptions(name="plainest"), ClusteringConfig(k1=8, k2=3, eps=0.5, centre_cameras=True)
    assert Plainest.needs(options) == Needs(settings=("clustering",))
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    learner = Plainest(options, clustering, encoder)
    assert learner.plan(7) == EpochPlan(embed=True, teacher=False, schedule_length=None, finished=False)
    assert learner.extension() is None
    rng = np.random.default_rng(0)
    camera = np.arange(60) % 2
    features = (rng.normal(size=(5, 8)).repeat(12, axis=0) + 0.3 * rng.normal(size=(60, 8))).astype(np.float32)
    features += 3 * camera[:, None].astype(np.float32)
    table = CropTable(paths=[f"{n}.png" for n in range(60)], root=Path("."), camera=camera)
    found = learner.label(EpochData(table, torch.device("cpu"), features=features))
    expected = cluster_crops(features, k1=8, k2=3, eps=0.5, camera=camera, centre_cameras=True)
    assert np.array_equal(found.labels, expected.labels)
    assert found.num_clusters > 1
