from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder, EncoderConfig, Features
from resight.methods import METHODS, Batch, ClusterContrast
from resight.methods.cluster_contrast import ClusterContrastOptions

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, -1, 0])
CAMERA = torch.tensor([1, 2, 1, 2, 1, 1, 2, 3])


def method(**options: object) -> ClusterContrast:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return ClusterContrast(ClusterContrastOptions(**options), ClusteringConfig(), encoder)  # type: ignore[arg-type]


def unit(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)))


def batch_of(rows: list[int]) -> Batch:
    index = torch.tensor(rows)
    return Batch(index, LABELS[index], CAMERA[index], epoch=0)


def features_of(embedding: Tensor) -> Features:
    return Features(embedding, embedding, torch.empty(0))


def test_the_loss_is_that_of_the_cluster_means() -> None:
    everything, embedding = unit(8, 0), unit(4, 1)
    learner = method(temperature=0.1)
    learner.start_epoch(everything, LABELS, None)
    terms = learner.loss(batch_of([0, 1, 2, 4]), features_of(embedding))
    means = torch.stack([F.normalize(everything[LABELS.eq(cluster)].mean(0), dim=0) for cluster in range(3)])
    expected = 0.0
    for row, own in zip(embedding, [0, 0, 1, 2], strict=True):
        scores = [float(torch.exp(row @ mean / 0.1)) for mean in means]
        expected -= np.log(scores[own] / sum(scores)) / 4
    assert list(terms) == ["contrast"]
    assert float(terms["contrast"]) == pytest.approx(expected, rel=1e-5)


def test_proxies_move_after_the_step_and_not_before() -> None:
    learner = method(momentum=0.5)
    learner.start_epoch(unit(8, 0), LABELS, None)
    before = learner.memory.centroids.clone()
    batch, features = batch_of([0, 2]), features_of(unit(2, 2))
    learner.loss(batch, features)
    assert torch.equal(learner.memory.centroids, before)
    learner.after_step(batch, features)
    for cluster, row in ((0, 0), (1, 1)):
        expected = F.normalize((before[cluster] + features.embedding[row]) / 2, dim=0)
        assert torch.allclose(learner.memory.centroids[cluster], expected, atol=1e-6)
    assert torch.equal(learner.memory.centroids[2], before[2])


def test_the_camera_term_is_weighted_and_declared() -> None:
    embedding, batch = features_of(unit(4, 1)), batch_of([0, 1, 2, 4])
    terms = {}
    for weight in (0.0, 0.5, 1.0):
        learner = method(camera_weight=weight)
        learner.start_epoch(unit(8, 0), LABELS, CAMERA)
        terms[weight] = learner.loss(batch, embedding)
        assert learner.camera_use == (("method.camera_weight",) if weight else ())
    assert "camera" not in terms[0.0]
    assert float(terms[1.0]["camera"]) == pytest.approx(2 * float(terms[0.5]["camera"]))
    assert float(terms[1.0]["camera"]) > 0


def test_every_method_has_a_name_a_summary_and_options() -> None:
    for name, kind in METHODS.items():
        assert kind.name == name
        assert kind.summary
        assert kind.Options(name=name).name == name
