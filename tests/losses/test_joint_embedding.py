"""The joint embedding loss against loops over crops and agents."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import joint_embedding

LABELS = torch.tensor([2, 0, 2, 3])


def some(rows: int, seed: int, dim: int = 3) -> Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def by_loops(source: Tensor, labels: Tensor, target: Tensor, agents: Tensor, margin: float) -> Tensor:
    terms = []
    for feature, label in zip(source, labels.tolist(), strict=True):
        terms.append((feature - agents[label]).square().sum())
    for crop, feature in enumerate([*source, *target]):
        hinges = []
        for person, agent in enumerate(agents):
            own = crop < len(source) and person == labels[crop]
            if not own and feature @ agent > 1 - margin / 2:
                hinges.append((margin - (feature - agent).square().sum()).clamp(min=0))
        if hinges:
            terms.append(torch.stack(hinges).mean())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("margin", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_loops_with_their_gradient(margin: float, seed: int) -> None:
    raw: Any = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    agents = some(5, seed + 10)
    found = []
    for function in (joint_embedding, by_loops):
        unit = F.normalize(raw)
        loss = function(unit[:4], LABELS, unit[4:], agents, margin)
        found.append((loss, torch.autograd.grad(loss, raw)[0]))
    assert found[0][0].item() == pytest.approx(found[1][0].item())
    assert torch.allclose(found[0][1], found[1][1], atol=1e-12)


def test_gradcheck() -> None:
    agents = some(5, 3)
    assert torch.autograd.gradcheck(
        lambda s, t: joint_embedding(s, LABELS, t, agents), (some(4, 0).requires_grad_(), some(3, 1).requires_grad_())
    )


def test_crops_without_hard_agents_add_no_term() -> None:
    agents = torch.eye(4, dtype=torch.float64)
    source = agents[[2, 0]]
    away = -agents[:3]
    labels = torch.tensor([2, 0])
    assert joint_embedding(source, labels, away, agents).item() == 0
    # a target crop on an agent: one term of the full margin among two of 0
    assert joint_embedding(source, labels, agents[1:2], agents).item() == pytest.approx(1 / 3)
    assert joint_embedding(source, labels, torch.cat([agents[1:2], away]), agents).item() == pytest.approx(1 / 3)


def test_the_own_agent_is_never_hard_and_no_gradient_reaches_agents() -> None:
    agents = some(5, 3).requires_grad_()
    features: Any = agents.detach()[LABELS].clone().requires_grad_()
    loss = joint_embedding(features, LABELS, features[:0], agents, margin=0.01)
    assert loss.item() == pytest.approx(0)
    loss.backward()
    assert agents.grad is None
