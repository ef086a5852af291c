"""The losses of proxy association against their formulas, crop by crop and camera by camera."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resight.losses import intra_camera_contrast, offline_association, online_association, sum_over_cameras

#: (cluster, camera) of each proxy.
PROXIES = [(0, 0), (0, 1), (0, 4), (1, 0), (1, 4), (2, 1), (3, 0), (3, 1)]
#: (cluster, camera) of each crop: three of camera 0, two of camera 1, one of camera 4.
CROPS = [(0, 0), (1, 0), (3, 0), (2, 1), (0, 1), (1, 4)]
LABELS, CAMERA = (torch.tensor(column) for column in zip(*CROPS, strict=True))
CLUSTER_OF, CAMERA_OF = (torch.tensor(column) for column in zip(*PROXIES, strict=True))
OWN = torch.tensor([PROXIES.index(pair) for pair in CROPS])


def some(rows: int, seed: int, dim: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def soft(
    feature: torch.Tensor, proxies: torch.Tensor, positives: list[int], others: list[int], tau: float
) -> torch.Tensor:
    power = {j: torch.exp(feature @ proxies[j] / tau) for j in positives + others}
    return -sum(torch.log(power[j] / sum(power.values())) for j in positives) / len(positives)  # type: ignore[return-value]


def by_camera(losses: list[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for camera in {camera for _, camera in CROPS}:
        own = [loss for loss, (_, of) in zip(losses, CROPS, strict=True) if of == camera]
        total = total + sum(own) / len(own)
    return total


def slow_offline(features: torch.Tensor, proxies: torch.Tensor, tau: float, negatives: int) -> torch.Tensor:
    losses = []
    for feature, (cluster, _) in zip(features, CROPS, strict=True):
        positives = [j for j, (of, _) in enumerate(PROXIES) if of == cluster]
        others = sorted(
            (j for j in range(len(PROXIES)) if j not in positives), key=lambda j: -float(feature.detach() @ proxies[j])
        )
        losses.append(soft(feature, proxies, positives, others[:negatives], tau))
    return by_camera(losses)


def slow_online(
    features: torch.Tensor, proxies: torch.Tensor, tau: float, negatives: int, positives: int, mix: float
) -> torch.Tensor:
    losses = []
    for feature, pair in zip(features, CROPS, strict=True):
        own, fixed = proxies[PROXIES.index(pair)], feature.detach()
        score = [float(mix * fixed @ proxy + (1 - mix) * own @ proxy) for proxy in proxies]
        best = [
            max((j for j, (_, of) in enumerate(PROXIES) if of == camera), key=lambda j: score[j])
            for camera in sorted({camera for _, camera in PROXIES})
        ]
        near = sorted(best, key=lambda j: -score[j])[:positives]
        others = sorted((j for j in range(len(PROXIES)) if j not in near), key=lambda j: -score[j])[:negatives]
        losses.append(soft(feature, proxies, near, others, tau))
    return by_camera(losses)


def slow_intra(features: torch.Tensor, proxies: torch.Tensor, tau: float) -> torch.Tensor:
    losses = []
    for feature, pair in zip(features, CROPS, strict=True):
        own = PROXIES.index(pair)
        others = [j for j, (_, of) in enumerate(PROXIES) if of == pair[1] and j != own]
        losses.append(soft(feature, proxies, [own], others, tau))
    return by_camera(losses)


def check(found: torch.Tensor, expected: torch.Tensor, features: torch.Tensor, slow: torch.Tensor) -> None:
    assert expected.item() > 0
    assert found.item() == pytest.approx(expected.item())
    found.backward()
    expected.backward()
    torch.testing.assert_close(features.grad, slow.grad)


@pytest.mark.parametrize("negatives", [1, 3, 50])  # 50: more than there are
def test_offline_equals_the_formula_and_so_does_its_gradient(negatives: int) -> None:
    features, slow, proxies = some(6, 0).requires_grad_(), some(6, 0).requires_grad_(), some(8, 1).requires_grad_()
    options = {"temperature": 0.1, "negatives": negatives}
    found = offline_association(features, LABELS, CAMERA, proxies, CLUSTER_OF, **options)  # type: ignore[arg-type]
    check(found, slow_offline(slow, proxies.detach(), 0.1, negatives), features, slow)
    assert proxies.grad is None


@pytest.mark.parametrize(("negatives", "positives", "mix"), [(2, 3, 0.15), (50, 2, 1.0), (1, 9, 0.0)])
def test_online_equals_the_formula_and_so_does_its_gradient(negatives: int, positives: int, mix: float) -> None:
    features, slow, proxies = some(6, 0).requires_grad_(), some(6, 0).requires_grad_(), some(8, 1).requires_grad_()
    found = online_association(
        features, OWN, CAMERA, proxies, CAMERA_OF, temperature=0.1, negatives=negatives, positives=positives, mix=mix
    )
    check(found, slow_online(slow, proxies.detach(), 0.1, negatives, positives, mix), features, slow)
    assert proxies.grad is None


def test_online_joins_what_clustering_kept_apart() -> None:
    """Another cluster's proxy in another camera is a positive where it is the nearest."""
    proxies = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]))
    feature = torch.tensor([[0.8, 0.6, 0.0]], requires_grad=True)
    arguments = (torch.tensor([0]), torch.tensor([0]), proxies, torch.tensor([0, 1, 1]))
    online_association(feature, *arguments, temperature=0.5, positives=2).backward()
    assert feature.grad is not None
    assert float(feature.grad[0] @ proxies[1]) < 0  # moves towards it
    assert float(feature.grad[0] @ proxies[2]) > 0


def test_intra_equals_the_formula_and_so_does_its_gradient() -> None:
    features, slow, proxies = some(6, 0).requires_grad_(), some(6, 0).requires_grad_(), some(8, 1).requires_grad_()
    found = intra_camera_contrast(features, OWN, CAMERA, proxies, CAMERA_OF, temperature=0.1)
    check(found, slow_intra(slow, proxies.detach(), 0.1), features, slow)
    assert proxies.grad is None


def test_gradcheck() -> None:
    features, proxies = some(6, 0).requires_grad_(), some(8, 1)
    assert torch.autograd.gradcheck(
        lambda x: offline_association(x, LABELS, CAMERA, proxies, CLUSTER_OF, temperature=0.3, negatives=2), features
    )
    assert torch.autograd.gradcheck(
        lambda x: online_association(x, OWN, CAMERA, proxies, CAMERA_OF, temperature=0.3, mix=0.0), features
    )
    assert torch.autograd.gradcheck(
        lambda x: intra_camera_contrast(x, OWN, CAMERA, proxies, CAMERA_OF, temperature=0.3), features
    )


def test_one_cluster_or_one_proxy_has_nothing_to_tell_apart() -> None:
    features, zero = some(2, 0).requires_grad_(), torch.zeros(2, dtype=torch.int64)
    proxies, one = some(1, 1), torch.zeros(1, dtype=torch.int64)
    for loss in (
        offline_association(features, zero, zero, proxies, one),
        online_association(features, zero, zero, proxies, one),
        intra_camera_contrast(features, zero, zero, proxies, one),
    ):
        (gradient,) = torch.autograd.grad(loss, features)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_a_camera_counts_once_however_many_crops_it_has() -> None:
    losses = torch.tensor([1.0, 3.0, 5.0])
    assert sum_over_cameras(losses, torch.tensor([4, 4, 9])).item() == pytest.approx(2 + 5)
