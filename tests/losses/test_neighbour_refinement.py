"""Targets refined by neighbours, and their cross-entropy, against the formula."""

from __future__ import annotations

import math

import pytest
import torch

from resight.losses import neighbour_refinement, neighbour_targets

INF = math.inf
LABELS = torch.tensor([0, 0, 1, 2])
DISTANCES = torch.tensor([[0, 0.1, 0.19, INF], [0.1, 0, 0.2, INF], [0.19, 0.2, 0, 0.7], [INF, INF, 0.7, 0]])


def some_logits() -> torch.Tensor:
    return 3 * torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def slow_targets(logits: torch.Tensor, alpha: float, reach: float, tau: float) -> list[list[float]]:
    rows = []
    for i in range(4):
        near = [j for j in range(4) if DISTANCES[i, j] < reach]
        weight = {j: math.exp(-float(DISTANCES[i, j]) / tau) for j in near}
        row = [alpha * (k == int(LABELS[i])) for k in range(3)]
        for j in near:
            power = [math.exp(float(z)) for z in logits[j]]
            for k in range(3):
                row[k] += (1 - alpha) * weight[j] / sum(weight.values()) * power[k] / sum(power)
        rows.append(row)
    return rows


@pytest.mark.parametrize(("alpha", "reach", "tau"), [(0.1, 0.2, 0.05), (0.6, 0.15, 1.0), (0.0, 0.8, 0.3)])
def test_equals_the_formula_and_no_gradient_flows_through_the_targets(alpha: float, reach: float, tau: float) -> None:
    logits = some_logits().requires_grad_()
    options = {"alpha": alpha, "reach": reach, "temperature": tau}
    expected = torch.tensor(slow_targets(logits.detach(), alpha, reach, tau), dtype=torch.float64)
    torch.testing.assert_close(neighbour_targets(logits, LABELS, DISTANCES, **options), expected, rtol=1e-6, atol=1e-7)
    loss = neighbour_refinement(logits, LABELS, DISTANCES, **options)
    log_q = logits.detach().log_softmax(1)
    by_hand = -sum(float(expected[i, k]) * float(log_q[i, k]) for i in range(4) for k in range(3)) / 4
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad, (log_q.exp() - expected) / 4, rtol=1e-6, atol=1e-7)


def test_with_alpha_1_it_is_the_cross_entropy() -> None:
    logits = some_logits()
    expected = torch.nn.functional.cross_entropy(logits, LABELS)
    assert neighbour_refinement(logits, LABELS, DISTANCES, alpha=1.0).item() == pytest.approx(expected.item())


def test_a_nearer_neighbour_weighs_more() -> None:
    logits = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]])
    target = neighbour_targets(logits, LABELS, DISTANCES, alpha=0.0)[0]
    assert target[0] > target[1]  # crop 1 at 0.1 names cluster 0, crop 2 at 0.19 cluster 1
