"""Agent learning against its formula, crop by crop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import agent_learning


def some(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_equals_the_formula(scale: float) -> None:
    features, agents, labels = some(5, 0), some(4, 1), [2, 0, 2, 3, 1]
    expected = 0.0
    for feature, label in zip(features, labels, strict=True):
        scores = [math.exp(scale * (feature @ agent).item()) for agent in agents]
        expected -= math.log(scores[label] / sum(scores)) / len(labels)
    assert agent_learning(features, agents, torch.tensor(labels), scale).item() == pytest.approx(expected)


def test_moves_features_and_agents() -> None:
    labels = torch.tensor([2, 0, 2])
    inputs = some(3, 0).requires_grad_(), some(4, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, a: agent_learning(f, a, labels, 3.0), inputs)
