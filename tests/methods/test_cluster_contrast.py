from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, EncoderConfig, Features
from resight.errors import ResightError
from resight.methods import Batch, ClusterContrast, EpochData
from resight.methods.cluster_contrast import ClusterContrastOptions, distances_among

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, -1, 0])
CAMERA = torch.tensor([1, 2, 1, 2, 1, 1, 2, 3])


def method(**options: object) -> ClusterContrast:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return ClusterContrast(ClusterContrastOptions(**options), ClusteringConfig(), encoder)  # type: ignore[arg-type]


def unit(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)))


def epoch_of(features: Tensor, camera: Tensor | None = None) -> EpochData:
    table = CropTable(
        paths=[f"{i}.png" for i in range(len(features))],
        root=Path("."),
        camera=None if camera is None else camera.numpy(),
    )
    return EpochData(table, torch.device("cpu"), features=features.numpy())


def batch_of(rows: list[int], embedding: Tensor) -> Batch:
    index = torch.tensor(rows)
    view = Features(embedding, embedding, torch.empty(0))
    return Batch(index, LABELS[index], CAMERA[index], epoch=0, views=(view,))


def test_the_loss_is_that_of_the_cluster_means() -> None:
    everything, embedding = unit(8, 0), unit(4, 1)
    learner = method(temperature=0.1)
    learner.start_epoch(epoch_of(everything), LABELS)
    terms = learner.loss(batch_of([0, 1, 2, 4], embedding))
    means = torch.stack([F.normalize(everything[LABELS.eq(cluster)].mean(0), dim=0) for cluster in range(3)])
    expected = 0.0
    for row, own in zip(embedding, [0, 0, 1, 2], strict=True):
        scores = [float(torch.exp(row @ mean / 0.1)) for mean in means]
        expected -= np.log(scores[own] / sum(scores)) / 4
    assert list(terms) == ["contrast"]
    assert float(terms["contrast"]) == pytest.approx(expected, rel=1e-5)


def test_proxies_move_after_the_step_and_not_before() -> None:
    learner = method(momentum=0.5)
    learner.start_epoch(epoch_of(unit(8, 0)), LABELS)
    before = learner.memory.centroids.clone()
    batch = batch_of([0, 2], unit(2, 2))
    learner.loss(batch)
    assert torch.equal(learner.memory.centroids, before)
    learner.after_step(batch)
    for cluster, row in ((0, 0), (1, 1)):
        expected = F.normalize((before[cluster] + batch.features.embedding[row]) / 2, dim=0)
        assert torch.allclose(learner.memory.centroids[cluster], expected, atol=1e-6)
    assert torch.equal(learner.memory.centroids[2], before[2])


def test_the_camera_term_is_weighted_and_declared() -> None:
    batch, terms = batch_of([0, 1, 2, 4], unit(4, 1)), {}
    for weight in (0.0, 0.5, 1.0):
        learner = method(camera_weight=weight)
        learner.start_epoch(epoch_of(unit(8, 0), CAMERA), LABELS)
        terms[weight] = learner.loss(batch)
        assert learner.needs(learner.options).cameras == (("method.camera_weight",) if weight else ())
    assert "camera" not in terms[0.0]
    assert float(terms[1.0]["camera"]) == pytest.approx(2 * float(terms[0.5]["camera"]))
    assert float(terms[1.0]["camera"]) > 0


ASSOCIATIONS = ("offline", "online", "intra")


def test_the_losses_of_proxy_association_are_weighted_and_declared() -> None:
    batch = batch_of([0, 1, 2, 4], unit(4, 1))
    for name in ASSOCIATIONS:
        values = []
        for weight in (0.5, 1.0):
            learner = method(contrast_weight=0, **{f"{name}_weight": weight})
            learner.start_epoch(epoch_of(unit(8, 0), CAMERA), LABELS)
            terms = learner.loss(batch)
            assert list(terms) == [name]
            values.append(float(terms[name]))
            assert learner.needs(learner.options).cameras == (f"method.{name}_weight",)
        assert values[1] == pytest.approx(2 * values[0])
        assert values[0] > 0


def test_moving_proxies_move_after_the_step_and_leave_those_of_the_inter_camera_loss_alone() -> None:
    learner = method(camera_weight=1, online_weight=1)
    learner.start_epoch(epoch_of(unit(8, 0), CAMERA), LABELS)
    before, batch = learner.moving_proxies.proxies.clone(), batch_of([0, 2], unit(2, 2))
    learner.loss(batch)
    assert torch.equal(learner.moving_proxies.proxies, before)
    learner.after_step(batch)
    assert torch.equal(learner.camera_proxies.proxies, before)
    moved = (learner.moving_proxies.proxies != before).any(1)
    assert set(moved.nonzero()[:, 0].tolist()) == set(learner.moving_proxies.own[[0, 2]].tolist())
    expected = F.normalize(0.2 * before[learner.moving_proxies.own[0]] + 0.8 * batch.features.embedding[0], dim=0)
    assert torch.allclose(learner.moving_proxies.proxies[learner.moving_proxies.own[0]], expected, atol=1e-6)


def test_without_a_loss_there_is_nothing_to_learn() -> None:
    with pytest.raises(ResightError, match="contrast_weight=1"):
        method(contrast_weight=0)


def test_distances_among_a_batch_are_those_of_the_matrix() -> None:
    rng = np.random.default_rng(0)
    dense = np.triu(rng.uniform(0.01, 1, (9, 9)), 1)
    dense = np.where((dense + dense.T) < 0.5, dense + dense.T, 0).astype(np.float32)
    matrix = sp.csr_matrix(dense)
    crops = [4, 1, 8, 4, 0]
    found = distances_among(matrix, torch.tensor(crops))
    for a, i in enumerate(crops):
        for b, j in enumerate(crops):
            expected = 0 if i == j else dense[i, j] or np.inf
            assert float(found[a, b]) == expected


def test_the_neighbours_are_those_of_the_labelling() -> None:
    features = F.normalize(unit(40, 0) + 3 * unit(5, 1).repeat_interleave(8, 0))
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    options = ClusterContrastOptions(neighbour_weight=0.5, neighbour_reach=0.4)
    learner = ClusterContrast(options, ClusteringConfig(k1=8, k2=3, eps=0.5), encoder)
    data = epoch_of(features)
    plain = ClusterContrast(ClusterContrastOptions(), learner.clustering, encoder).label(data)
    assert np.array_equal(learner.label(data).labels, plain.labels)
    assert learner.distances is not None
    assert learner.distances.data.max() < 0.4
    labels = torch.from_numpy(plain.labels)
    learner.start_epoch(data, labels)
    index = torch.arange(0, 40, 5)[labels[::5] >= 0]
    view = Features(unit(len(index), 2), unit(len(index), 2), torch.empty(0))
    terms = learner.loss(Batch(index, labels[index], None, epoch=0, views=(view,)))
    assert list(terms) == ["contrast", "neighbours"]
    assert float(terms["neighbours"]) > 0
