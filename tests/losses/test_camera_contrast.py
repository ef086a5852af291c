"""The inter-camera contrastive loss against its formula, crop by crop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from resight.losses import camera_contrast

#: (cluster, camera) of each proxy.
PROXIES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (3, 0), (3, 1)]
#: (cluster, camera) of each crop. Cluster 2 was seen by camera 1 alone: its crop has no positive.
CROPS = [(0, 1), (1, 2), (2, 1), (3, 0), (0, 0), (1, 0)]


def some(rows: int, seed: int, dim: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def pairs(rows: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    clusters, cameras = zip(*rows, strict=True)
    return torch.tensor(clusters), torch.tensor(cameras)


def loss_of(
    features: torch.Tensor,
    crops: list[tuple[int, int]],
    proxies: torch.Tensor,
    pairs_of_proxies: list[tuple[int, int]],
    **options: float,
) -> torch.Tensor:
    return camera_contrast(features, *pairs(crops), proxies, *pairs(pairs_of_proxies), **options)  # type: ignore[arg-type]


def by_the_formula(
    features: torch.Tensor,
    crops: list[tuple[int, int]],
    proxies: torch.Tensor,
    pairs_of_proxies: list[tuple[int, int]],
    temperature: float,
    negatives: int,
) -> float:
    losses = []
    for feature, (cluster, camera) in zip(features, crops, strict=True):
        power = [math.exp((feature @ proxy).item() / temperature) for proxy in proxies]
        positives = [power[j] for j, (a, b) in enumerate(pairs_of_proxies) if a == cluster and b != camera]
        others = sorted((power[j] for j, (a, _) in enumerate(pairs_of_proxies) if a != cluster), reverse=True)
        nearest = sum(others[:negatives])
        if positives:
            losses.append(-sum(math.log(p / (p + nearest)) for p in positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("negatives", [1, 3, 50])  # 50: more than there are
def test_equals_the_formula(temperature: float, negatives: int) -> None:
    features, proxies = some(len(CROPS), 0), some(len(PROXIES), 1)
    found = loss_of(features, CROPS, proxies, PROXIES, temperature=temperature, negatives=negatives)
    expected = by_the_formula(features, CROPS, proxies, PROXIES, temperature, negatives)
    assert expected > 0
    assert found.item() == pytest.approx(expected)


def test_defaults_are_the_papers() -> None:
    clusters = [(cluster, camera) for cluster in range(35) for camera in range(2)]
    features, proxies = some(len(CROPS), 0, dim=100), some(len(clusters), 1, dim=100)
    found = loss_of(features, CROPS, proxies, clusters)
    assert found.item() == pytest.approx(by_the_formula(features, CROPS, proxies, clusters, 0.07, 50))
    assert found.item() != pytest.approx(by_the_formula(features, CROPS, proxies, clusters, 0.07, 68))


def test_gradcheck() -> None:
    proxies, features = some(len(PROXIES), 1), some(len(CROPS), 0).requires_grad_()
    for negatives in (2, 50):
        assert torch.autograd.gradcheck(
            lambda x, n=negatives: loss_of(x, CROPS, proxies, PROXIES, temperature=0.3, negatives=n), features
        )


def test_no_gradient_into_the_proxies() -> None:
    features, proxies = some(len(CROPS), 0).requires_grad_(), some(len(PROXIES), 1).requires_grad_()
    loss_of(features, CROPS, proxies, PROXIES).backward()
    assert proxies.grad is None
    assert features.grad is not None
    assert (features.grad.abs().sum(1) > 0).tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    "proxies",
    [
        pytest.param([(0, 0), (1, 0), (2, 0)], id="every cluster in one camera"),
        pytest.param([(0, 0)], id="one proxy"),
    ],
)
def test_no_positive_anywhere_is_zero_with_a_zero_gradient(proxies: list[tuple[int, int]]) -> None:
    features = some(2, 0).requires_grad_()
    loss = loss_of(features, [(0, 0), (0, 0)], some(len(proxies), 1), proxies)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_one_cluster_has_no_negatives_and_nothing_to_learn() -> None:
    features = some(3, 0).requires_grad_()
    loss = loss_of(features, [(0, 0), (0, 1), (0, 1)], some(2, 1), [(0, 0), (0, 1)])
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_far_proxies_do_not_overflow() -> None:
    features = torch.tensor([[1.0, 0.0]], requires_grad=True)
    proxies = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    loss = loss_of(features, [(0, 0)], proxies, [(0, 1), (1, 0)], temperature=0.001)
    loss.backward()
    assert loss.item() == pytest.approx(2000)
    assert features.grad.isfinite().all()
