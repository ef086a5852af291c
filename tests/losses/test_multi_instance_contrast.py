"""The instance contrastive loss against its definition, crop by crop and proxy by proxy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses import multi_instance_contrast
from resight.losses.multi_instance_contrast import Hardness, Mining

CLUSTERS, SIZE = 5, 4
LABELS = [2, 0, 2, 3, 1, 4, 2]
HARDNESS: tuple[Hardness, ...] = ("hardest", "semi-hard", "easiest")
MINING: tuple[Mining, ...] = ("global", "per_cluster")


def some(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(values, dim=-1)


def memory(spread: float = 0.3, seed: int = 1, clusters: int = CLUSTERS, size: int = SIZE) -> Tensor:
    """Proxies about a centre each, so that some crops have semi-hard ones and some do not."""
    return F.normalize(some(clusters, 1, 6, seed=seed) + spread * some(clusters, size, 6, seed=seed + 50), dim=-1)


def crop_by_crop(
    features: Tensor, proxies: Tensor, labels: list[int], temperature: float, negatives: int, mining: str, hardness: str
) -> float:
    total = 0.0
    for feature, label in zip(features, labels, strict=True):
        own = [(feature @ proxy).item() for proxy in proxies[label]]
        others = {c: [(feature @ proxy).item() for proxy in cluster] for c, cluster in enumerate(proxies) if c != label}
        if hardness == "hardest":
            positive = min(own)
        elif hardness == "easiest":
            positive = max(own)
        else:
            nearest = max((s for found in others.values() for s in found), default=-math.inf)
            positive = min([s for s in own if s > nearest] or [max(own)])
            others = {c: [s for s in found if s < positive] for c, found in others.items()}
        if mining == "global":
            ordered = sorted((s for found in others.values() for s in found), reverse=hardness != "easiest")
            chosen = ordered[:negatives]
        else:
            chosen = [min(found) if hardness == "easiest" else max(found) for found in others.values() if found]
        top = math.exp(positive / temperature)
        total -= math.log(top / (top + sum(math.exp(s / temperature) for s in chosen)))
    return total / len(labels)


@pytest.mark.parametrize("hardness", HARDNESS)
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("negatives", [1, 3, 16, 50])  # there are 16
@pytest.mark.parametrize("spread", [0.05, 0.5, 3.0])
def test_equals_the_definition(hardness: Hardness, mining: Mining, negatives: int, spread: float) -> None:
    proxies, labels = memory(spread), torch.tensor(LABELS)
    features = F.normalize(proxies[labels, 1] + 0.5 * some(len(LABELS), 6, seed=9), dim=1)
    found = multi_instance_contrast(
        features, proxies, labels, temperature=0.3, negatives=negatives, mining=mining, hardness=hardness
    )
    expected = crop_by_crop(features, proxies, LABELS, 0.3, negatives, mining, hardness)
    assert expected > 0
    assert found.item() == pytest.approx(expected)


def test_defaults() -> None:
    proxies, features = memory(clusters=9, size=16), some(7, 6)
    found = multi_instance_contrast(features, proxies, torch.tensor(LABELS))
    assert found.item() == pytest.approx(crop_by_crop(features, proxies, LABELS, 0.05, 50, "global", "hardest"))
    assert found.item() != pytest.approx(crop_by_crop(features, proxies, LABELS, 0.05, 128, "global", "hardest"))


@pytest.mark.parametrize("hardness", HARDNESS)
@pytest.mark.parametrize("mining", MINING)
def test_gradcheck(hardness: Hardness, mining: Mining) -> None:
    proxies, labels = memory(), torch.tensor(LABELS)

    def loss(x: Tensor) -> Tensor:
        return multi_instance_contrast(
            x, proxies, labels, temperature=0.3, negatives=3, mining=mining, hardness=hardness
        )

    assert torch.autograd.gradcheck(loss, some(len(LABELS), 6, seed=4).requires_grad_())


def test_harder_ones_have_the_greater_loss() -> None:
    features, proxies, labels = some(7, 6, seed=2), memory(), torch.tensor(LABELS)
    hardest, between, easiest = (
        multi_instance_contrast(features, proxies, labels, negatives=3, hardness=hardness).item()
        for hardness in HARDNESS
    )
    assert hardest > between > easiest


@pytest.mark.parametrize("hardness", HARDNESS)
@pytest.mark.parametrize("mining", MINING)
def test_one_cluster_has_nothing_to_learn(hardness: Hardness, mining: Mining) -> None:
    features: Any = some(3, 6).requires_grad_()
    proxies = memory(clusters=1).requires_grad_()
    loss = multi_instance_contrast(
        features, proxies, torch.zeros(3, dtype=torch.int64), mining=mining, hardness=hardness
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert proxies.grad is None


@pytest.mark.parametrize("mining", MINING)
def test_a_crop_whose_every_negative_is_too_hard_is_left_out_of_semi_hard(mining: Mining) -> None:
    proxies = torch.tensor([[[1.0, 0.0], [0.8, 0.6]], [[0.0, 1.0], [-0.6, 0.8]]], dtype=torch.float64)
    features: Any = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0])
    loss = multi_instance_contrast(features, proxies, labels, temperature=1.0, mining=mining, hardness="semi-hard")
    loss.backward()
    # the first crop is nearer to both of cluster 1 than to its own; the second has 0.8 as positive
    assert torch.equal(features.grad[0], torch.zeros(2, dtype=torch.float64))
    assert features.grad[1].any()
    negatives = math.exp(0) + math.exp(-0.6) if mining == "global" else math.exp(0)
    assert loss.item() == pytest.approx(math.log(1 + negatives / math.exp(0.8)) / 2)


def test_far_proxies_do_not_overflow() -> None:
    features: Any = torch.tensor([[1.0, 0.0]], requires_grad=True)
    proxies = torch.tensor([[[-1.0, 0.0]], [[1.0, 0.0]]])
    loss = multi_instance_contrast(features, proxies, torch.tensor([0]), temperature=0.001)
    loss.backward()
    assert loss.item() == pytest.approx(2000)
    assert features.grad.isfinite().all()
