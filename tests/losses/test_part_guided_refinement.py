"""Part-guided label refinement against its formula, crop by crop and class by class."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import part_guided_refinement, refined_targets

B, P, C = 5, 3, 4
LABELS = torch.tensor([2, 0, 3, 3, 1])


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def agreement_of(seed: int = 2) -> Tensor:
    return torch.rand(B, P, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def targets_by_the_formula(parts: Tensor, agreement: Tensor, beta: float) -> list[list[float]]:
    result = []
    for i in range(B):
        weights = softmax(agreement[i].tolist())
        predictions = [softmax(parts[i, n].tolist()) for n in range(P)]
        mixed = [sum(w * q[c] for w, q in zip(weights, predictions, strict=True)) for c in range(C)]
        result.append([beta * (c == int(LABELS[i])) + (1 - beta) * mixed[c] for c in range(C)])
    return result


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_equals_the_formula(beta: float) -> None:
    logits, parts, agreement = some(B, C), some(B, P, C, seed=1), agreement_of()
    targets = targets_by_the_formula(parts, agreement, beta)
    torch.testing.assert_close(refined_targets(LABELS, parts, agreement, beta), torch.tensor(targets).double())
    expected = 0.0
    for i in range(B):
        predicted = softmax(logits[i].tolist())
        expected -= sum(y * math.log(q) for y, q in zip(targets[i], predicted, strict=True)) / B
    assert part_guided_refinement(logits, parts, LABELS, agreement, beta).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_refined_targets_sum_to_one(beta: float) -> None:
    targets = refined_targets(LABELS, 50 * some(B, P, C).float(), agreement_of().float(), beta)
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(B))


def test_a_part_that_agrees_more_weighs_more() -> None:
    parts = torch.full((1, 2, 3), -9.0)
    parts[0, 0, 1] = parts[0, 1, 2] = 9.0
    targets = refined_targets(torch.tensor([0]), parts, torch.tensor([[1.0, 0.0]]))
    assert targets[0].tolist() == pytest.approx([0.5, 0.5 * math.e / (1 + math.e), 0.5 / (1 + math.e)], rel=1e-5)


def test_beta_1_is_cross_entropy_to_the_bit() -> None:
    plain, refined = (some(B, C).float().requires_grad_() for _ in range(2))
    loss = part_guided_refinement(refined, 30 * some(B, P, C).float(), LABELS, agreement_of().float(), 1.0)
    expected = F.cross_entropy(plain, LABELS, reduction="none").mean()
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(plain.grad, refined.grad)


def test_gradcheck_and_no_gradient_into_the_parts() -> None:
    parts, agreement = some(B, P, C, seed=1).requires_grad_(), agreement_of()
    logits = some(B, C).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: part_guided_refinement(x, parts, LABELS, agreement), logits)
    part_guided_refinement(logits, parts, LABELS, agreement).backward()
    assert parts.grad is None
