"""The batch-hard triplet loss against its definition, anchor by anchor."""

from __future__ import annotations

import math

import pytest
import torch

from resight.losses import batch_hard_triplet

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def some(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_definition(features: torch.Tensor, labels: list[int], margin: float | None) -> float:
    terms = []
    for a, label in enumerate(labels):
        distance = [math.dist(features[a].tolist(), other.tolist()) for other in features]
        positive = [distance[i] for i in range(len(labels)) if labels[i] == label and i != a]
        negative = [distance[i] for i in range(len(labels)) if labels[i] != label]
        if positive and negative:
            gap = max(positive) - min(negative)
            terms.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("margin", [0.3, 2.0, None])
def test_equals_the_definition(margin: float | None) -> None:
    features = some(6)
    found = batch_hard_triplet(features, LABELS, margin)
    assert found.item() == pytest.approx(by_definition(features, LABELS.tolist(), margin), rel=1e-9)


@pytest.mark.parametrize("margin", [5.0, None])
def test_gradcheck(margin: float | None) -> None:
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet(x, LABELS, margin), some(6, 3).requires_grad_())


def test_a_crop_drawn_twice_has_a_finite_gradient() -> None:
    features = some(4, 1)
    features[1] = features[0]
    features.requires_grad_()
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 5.0).backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().sum() > 0


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_without_a_triplet_the_loss_is_0(labels: list[int]) -> None:
    features = some(3).requires_grad_()
    loss = batch_hard_triplet(features, torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()
