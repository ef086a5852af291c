"""The cluster contrastive loss against its formula, crop by crop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from resight.losses import cluster_contrast


def some(rows: int, seed: int, dim: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def by_the_formula(features: torch.Tensor, centroids: torch.Tensor, labels: list[int], temperature: float) -> float:
    total = 0.0
    for feature, label in zip(features.tolist(), labels, strict=True):
        powers = [
            math.exp(sum(f * c for f, c in zip(feature, centroid, strict=True)) / temperature)
            for centroid in centroids.tolist()
        ]
        total -= math.log(powers[label] / sum(powers))
    return total / len(labels)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_equals_the_formula(temperature: float) -> None:
    features, centroids, labels = some(5, 0), some(4, 1), [2, 0, 2, 3, 1]
    found = cluster_contrast(features, centroids, torch.tensor(labels), temperature)
    assert found.item() == pytest.approx(by_the_formula(features, centroids, labels, temperature))


def test_default_temperature_is_the_papers() -> None:
    features, centroids, labels = some(5, 0), some(4, 1), [2, 0, 2, 3, 1]
    found = cluster_contrast(features, centroids, torch.tensor(labels))
    assert found.item() == pytest.approx(by_the_formula(features, centroids, labels, 0.05))


def test_gradcheck() -> None:
    labels, centroids = torch.tensor([1, 0, 1, 3]), some(4, 1)
    features = some(4, 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cluster_contrast(x, centroids, labels, 0.3), features)


def test_no_gradient_into_the_proxies() -> None:
    features, centroids = some(4, 0).requires_grad_(), some(3, 1).requires_grad_()
    cluster_contrast(features, centroids, torch.tensor([0, 1, 2, 0])).backward()
    assert centroids.grad is None
    assert features.grad is not None
    assert features.grad.abs().max() > 0


def test_one_cluster_has_nothing_to_learn() -> None:
    features = some(3, 0).requires_grad_()
    loss = cluster_contrast(features, some(1, 1), torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_far_proxies_do_not_overflow() -> None:
    features = torch.tensor([[1.0, 0.0]])
    loss = cluster_contrast(features, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([0]), temperature=0.001)
    assert loss.item() == pytest.approx(2000)
