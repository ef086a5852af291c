"""The instance discriminative loss against its formula, pair by pair."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import instance_discrimination
from resight.losses.instance_discrimination import log_one_minus_softmax

Form = Literal["paper", "symmetric"]


def some(rows: int, seed: int, dim: int = 6) -> Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def paper_formula(features: list[list[float]], views: list[list[float]], temperature: float) -> float:
    """Equations 4 to 6, over the number of crops."""

    def probability(i: int, x: list[float]) -> float:
        powers = [math.exp(dot(f, x) / temperature) for f in features]
        return powers[i] / sum(powers)

    total = 0.0
    for i in range(len(features)):
        total -= math.log(probability(i, views[i]))
        for j in range(len(features)):
            if j != i:
                total -= math.log(1 - probability(i, features[j]))
    return total / len(features)


def symmetric_formula(features: list[list[float]], views: list[list[float]], temperature: float) -> float:
    """2B instances, each with its other view as positive and without itself in its softmax."""
    both = features + views
    size = len(both)
    total = 0.0
    for j in range(size):
        powers = {k: math.exp(dot(both[j], both[k]) / temperature) for k in range(size) if k != j}
        partner = (j + len(features)) % size
        total -= math.log(powers[partner] / sum(powers.values()))
        for k, power in powers.items():
            if k != partner:
                total -= math.log(1 - power / sum(powers.values()))
    return total / size


FORMULAS = {"paper": paper_formula, "symmetric": symmetric_formula}


@pytest.mark.parametrize("form", FORMULAS)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_equals_the_formula(form: Form, temperature: float, size: int) -> None:
    features, views = some(size, 0), some(size, 1)
    found = instance_discrimination(features, views, temperature, form)
    assert found.item() == pytest.approx(FORMULAS[form](features.tolist(), views.tolist(), temperature))


def test_default_temperature_and_form_are_the_papers() -> None:
    features, views = some(4, 0), some(4, 1)
    expected = paper_formula(features.tolist(), views.tolist(), 0.1)
    assert instance_discrimination(features, views).item() == pytest.approx(expected)


@pytest.mark.parametrize("form", FORMULAS)
def test_gradcheck(form: Form) -> None:
    inputs = some(4, 0).requires_grad_(), some(4, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: instance_discrimination(x, y, 0.3, form), inputs)


@pytest.mark.parametrize("form", FORMULAS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.1, 0.01])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_finite_at_similarities_of_one_and_minus_one(
    form: Form, kind: torch.dtype, temperature: float, sign: float
) -> None:
    axis = torch.tensor([1.0, 0.0, 0.0], dtype=kind)
    features = torch.stack([axis, sign * axis, axis, -axis]).requires_grad_()
    views = torch.stack([-axis, axis, sign * axis, axis]).requires_grad_()
    loss = instance_discrimination(features, views, temperature, form)
    loss.backward()
    assert torch.isfinite(loss)
    for tensor in (features, views):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("form", FORMULAS)
def test_a_single_crop_has_nothing_to_be_told_from(form: Form) -> None:
    features, views = some(1, 0).requires_grad_(), some(1, 1).requires_grad_()
    loss = instance_discrimination(features, views, form=form)
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("gap", [0.0, 1e-6, 1.0, 20.0, 200.0, 2000.0])
def test_log_one_minus_softmax_where_a_probability_is_nearly_one(gap: float) -> None:
    logits = torch.tensor([[gap, 0.0, -1.0]])
    found = log_one_minus_softmax(logits)[0].tolist()
    # 1 − P is a sum of the other probabilities; their logarithms are exact at any gap
    total = gap + math.log1p(math.exp(-gap) + math.exp(-gap - 1))
    expected = [math.log(1 + math.exp(-1)) - total]
    for other in (-1.0, 0.0):
        expected.append(gap + math.log1p(math.exp(other - gap)) - total)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_learning_by_it_makes_views_alike_and_crops_different() -> None:
    features, views = some(6, 0).requires_grad_(), some(6, 1).requires_grad_()
    optimizer = torch.optim.SGD([features, views], lr=0.5)
    for _ in range(200):
        f, v = F.normalize(features), F.normalize(views)
        optimizer.zero_grad()
        instance_discrimination(f, v).backward()
        optimizer.step()
    similarity = F.normalize(views) @ F.normalize(features).T
    assert (similarity.argmax(dim=1) == torch.arange(6)).all()
    others = similarity[~torch.eye(6, dtype=torch.bool)]
    assert similarity.diagonal().min() > others.max() + 0.3
