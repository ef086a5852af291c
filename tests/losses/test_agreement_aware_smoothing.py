"""Agreement-aware label smoothing against its formula, crop by crop and part by part."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import agreement_aware_smoothing

B, P, C = 5, 3, 4
LABELS = torch.tensor([2, 0, 3, 3, 1])


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def agreement_of(seed: int = 2) -> Tensor:
    return torch.rand(B, P, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_the_formula(parts: Tensor, agreement: Tensor) -> float:
    total = 0.0
    for n in range(P):
        for i in range(B):
            powers = [math.exp(value) for value in parts[i, n].tolist()]
            q = [power / sum(powers) for power in powers]
            certain = -math.log(q[int(LABELS[i])])
            uniform = sum(1 / C * math.log(1 / C / value) for value in q)
            score = float(agreement[i, n])
            total += (score * certain + (1 - score) * uniform) / B
    return total / P


def test_equals_the_formula() -> None:
    parts, agreement = some(B, P, C), agreement_of()
    found = agreement_aware_smoothing(parts, LABELS, agreement)
    assert found.item() == pytest.approx(by_the_formula(parts, agreement), rel=1e-9)


def test_gradcheck() -> None:
    agreement = agreement_of()
    assert torch.autograd.gradcheck(
        lambda x: agreement_aware_smoothing(x, LABELS, agreement), some(B, P, C).requires_grad_()
    )


def test_full_agreement_is_cross_entropy_to_the_bit() -> None:
    plain, smoothed = (some(B, P, C).float().requires_grad_() for _ in range(2))
    loss = agreement_aware_smoothing(smoothed, LABELS, torch.ones(B, P))
    expected = F.cross_entropy(plain.flatten(0, 1), LABELS.repeat_interleave(P), reduction="none").mean()
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(plain.grad, smoothed.grad)


def test_without_agreement_the_best_prediction_is_none() -> None:
    loss = agreement_aware_smoothing(torch.zeros(B, P, C), LABELS, torch.zeros(B, P))
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert agreement_aware_smoothing(some(B, P, C), LABELS, torch.zeros(B, P)) > 0.1


def test_finite_for_certain_predictions() -> None:
    parts = (1000 * some(B, P, C).float()).requires_grad_()
    loss = agreement_aware_smoothing(parts, LABELS, agreement_of().float())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(parts.grad).all()
