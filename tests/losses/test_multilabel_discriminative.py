"""The discriminative loss on mined pairs against loops over all pairs."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import agreement_quantile, multilabel_discriminative, pair_agreement


def some(rows: int, seed: int, dim: int = 5) -> Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def multilabels(rows: int, seed: int) -> Tensor:
    return (4 * some(rows, seed, 7)).softmax(dim=1)


def by_pairs(features: Tensor, labels: Tensor, threshold: float, ratio: float) -> Tensor:
    pairs = []
    for i, j in combinations(range(len(features)), 2):
        agreement = 1 - sum(abs(a - b) for a, b in zip(labels[i].tolist(), labels[j].tolist(), strict=True)) / 2
        pairs.append(((features[i] - features[j]).square().sum(), agreement))
    pairs.sort(key=lambda pair: pair[0].item())
    taken = pairs[: max(1, int(len(pairs) * ratio))]
    near = [torch.exp(-distance) for distance, agreement in taken if agreement > threshold]
    far = [torch.exp(-distance) for distance, agreement in taken if agreement <= threshold]
    negative = torch.stack(far).mean() if far else torch.tensor(0.5)
    if not near:
        return torch.log(1 + negative)
    positive = torch.stack(near).mean()
    return -torch.log(positive / (positive + negative))


@pytest.mark.parametrize("ratio", [0.001, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("threshold", [-1.0, 0.6, 0.75, 2.0])
def test_equals_the_loops_with_their_gradient(ratio: float, threshold: float) -> None:
    """Thresholds below and above all agreements leave no negative and no positive pair."""
    features: Any = some(9, 0).requires_grad_()
    labels = multilabels(9, 1)
    fast = multilabel_discriminative(features, pair_agreement(labels), threshold, ratio)
    slow = by_pairs(features, labels, threshold, ratio)
    assert fast.item() == pytest.approx(slow.item())
    gradients = [torch.autograd.grad(loss, features)[0] for loss in (fast, slow)]
    assert torch.allclose(*gradients)


def test_both_kinds_of_pairs_are_there_in_the_comparison() -> None:
    agreement = pair_agreement(multilabels(9, 1))
    assert 0 < (agreement > 0.75).sum() < len(agreement)


@pytest.mark.parametrize("threshold", [-1.0, 0.7, 2.0])
def test_gradcheck(threshold: float) -> None:
    agreement = pair_agreement(multilabels(8, 1))
    assert torch.autograd.gradcheck(
        lambda x: multilabel_discriminative(x, agreement, threshold, 0.4), some(8, 0).requires_grad_()
    )


def test_no_positive_and_no_negative_pair() -> None:
    features: Any = torch.stack([some(1, 0)[0], some(1, 1)[0]]).requires_grad_()
    likeness = math.exp(-(features[0] - features[1]).square().sum().item())
    agreement = torch.tensor([0.5])
    for threshold, expected in ((0.5, math.log(1 + likeness)), (0.4, -math.log(likeness / (likeness + 0.5)))):
        loss = multilabel_discriminative(features, agreement, threshold)
        assert loss.item() == pytest.approx(expected)
        # a negative pair is driven apart, a positive one together
        gradient = torch.autograd.grad(loss, features)[0]
        apart = (gradient[0] * (features[0] - features[1]).detach()).sum()
        assert (apart < 0) == (threshold == 0.5)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_without_a_pair_is_0(rows: int) -> None:
    features: Any = some(rows, 0).requires_grad_()
    loss = multilabel_discriminative(features, pair_agreement(multilabels(rows, 1)), 0.5)
    loss.backward()
    assert loss.item() == 0


def test_agreement_of_equal_and_of_strange_crops() -> None:
    labels = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0.5, 0.5]])
    assert pair_agreement(labels).tolist() == [1, 0, 0]


@pytest.mark.parametrize(("ratio", "place"), [(0.005, 5), (0.0001, 1), (1.0, 1000), (0.25, 250)])
def test_the_quantile_is_reached_by_that_share_of_the_pairs(ratio: float, place: int) -> None:
    values = np.random.default_rng(0).permutation(1000).astype(np.float32)
    assert agreement_quantile(torch.from_numpy(values), ratio).item() == np.sort(values)[-place]
