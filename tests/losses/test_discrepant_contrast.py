"""The discrepant cluster contrastive loss against its two forms, crop by crop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import cluster_contrast, discrepant_contrast
from resight.losses.discrepant_contrast import DiscrepantForm

LABELS = [2, 0, 2, 3, 1]
FORMS: tuple[DiscrepantForm, ...] = ("hardest", "sum", "sum_discrepant")


def some(rows: int, seed: int, dim: int = 6) -> Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def cross_entropy(scores: list[float], own: int) -> float:
    return -math.log(math.exp(scores[own]) / sum(math.exp(score) for score in scores))


def by_the_formula(
    features: Tensor, mean: Tensor, discrepant: Tensor, labels: list[int], temperature: float, form: str, margin: float
) -> float:
    hardest, near, far = [], [], []
    for feature, label in zip(features, labels, strict=True):
        pairs = [
            ((feature @ a).item() / temperature, (feature @ b).item() / temperature)
            for a, b in zip(mean, discrepant, strict=True)
        ]
        hardest.append(cross_entropy([min(pair) if c == label else max(pair) for c, pair in enumerate(pairs)], label))
        near.append(cross_entropy([pair[0] for pair in pairs], label))
        far.append(cross_entropy([pair[1] for pair in pairs], label))
    if form == "hardest":
        return sum(hardest) / len(labels)
    if form == "sum_discrepant":
        near, far = far, near
    return (sum(far) / len(labels) + max(0.0, sum(near) / len(labels) - margin)) / 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.9])
def test_equals_the_formula(form: DiscrepantForm, temperature: float, margin: float) -> None:
    features, mean, discrepant = some(5, 0), some(4, 1), some(4, 2)
    found = discrepant_contrast(features, mean, discrepant, torch.tensor(LABELS), temperature, form, margin)
    expected = by_the_formula(features, mean, discrepant, LABELS, temperature, form, margin)
    assert found.item() == pytest.approx(expected)


def test_defaults() -> None:
    features, mean, discrepant = some(5, 0), some(4, 1), some(4, 2)
    found = discrepant_contrast(features, mean, discrepant, torch.tensor(LABELS))
    assert found.item() == pytest.approx(by_the_formula(features, mean, discrepant, LABELS, 0.05, "hardest", 0.2))


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: DiscrepantForm) -> None:
    mean, discrepant, labels = some(4, 1), some(4, 2), torch.tensor(LABELS)
    assert torch.autograd.gradcheck(
        lambda x: discrepant_contrast(x, mean, discrepant, labels, 0.3, form), some(5, 0).requires_grad_()
    )


def test_two_equal_proxies_are_one() -> None:
    features, proxies, labels = some(5, 0), some(4, 1), torch.tensor(LABELS)
    one = cluster_contrast(features, proxies, labels)
    assert torch.equal(discrepant_contrast(features, proxies, proxies, labels), one)
    for form in FORMS:
        assert torch.equal(discrepant_contrast(features, proxies, proxies, labels, form=form, margin=0.0), one)


@pytest.mark.parametrize("form", ["sum", "sum_discrepant"])
def test_a_sum_leaves_the_proxies_alone_that_are_within_the_margin(form: DiscrepantForm) -> None:
    features: Any = some(5, 0).requires_grad_()
    close, discrepant = features.detach()[[1, 4, 0, 3]], some(4, 2)
    labels = torch.tensor([2, 0, 2, 3, 1])
    small = cluster_contrast(features, close, labels, 0.5).item()
    mean, other = (close, discrepant) if form == "sum" else (discrepant, close)
    discrepant_contrast(features, mean, other, labels, 0.5, form, small + 0.1).backward()
    alone = features.detach().clone().requires_grad_()
    (cluster_contrast(alone, discrepant, labels, 0.5) / 2).backward()
    assert torch.equal(features.grad, alone.grad)


@pytest.mark.parametrize("form", FORMS)
def test_no_gradient_into_the_proxies_and_one_cluster_has_nothing_to_learn(form: DiscrepantForm) -> None:
    features: Any = some(3, 0).requires_grad_()
    mean, discrepant = some(1, 1).requires_grad_(), some(1, 2).requires_grad_()
    loss = discrepant_contrast(features, mean, discrepant, torch.zeros(3, dtype=torch.int64), form=form)
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()
    assert mean.grad is None
    assert discrepant.grad is None
