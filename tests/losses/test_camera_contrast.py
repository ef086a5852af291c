"""The inter-camera contrastive loss against its formula, crop by crop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resight.losses import CameraForm, camera_contrast

FORMS: tuple[CameraForm, ...] = ("joint", "separate")
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
    **options: object,
) -> torch.Tensor:
    return camera_contrast(features, *pairs(crops), proxies, *pairs(pairs_of_proxies), **options)  # type: ignore[arg-type]


def by_the_formula(
    features: torch.Tensor,
    crops: list[tuple[int, int]],
    proxies: torch.Tensor,
    pairs_of_proxies: list[tuple[int, int]],
    temperature: float,
    negatives: int,
    form: CameraForm,
) -> torch.Tensor:
    losses = []
    for feature, (cluster, camera) in zip(features, crops, strict=True):
        power = [torch.exp(feature @ proxy / temperature) for proxy in proxies]
        positives = [power[j] for j, (a, b) in enumerate(pairs_of_proxies) if a == cluster and b != camera]
        others = sorted((power[j] for j, (a, _) in enumerate(pairs_of_proxies) if a != cluster), reverse=True)
        nearest = sum(others[:negatives], torch.zeros(()))
        if positives and form == "joint":
            total = sum(positives, nearest)
            losses.append(-sum(torch.log(p / total) for p in positives) / len(positives))
        elif positives:
            losses.append(-sum(torch.log(p / (p + nearest)) for p in positives) / len(positives))
        elif form == "joint":
            losses.append(0.0 * feature.sum())
    return torch.stack(losses).sum() / len(losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("negatives", [1, 3, 50])  # 50: more than there are
def test_equals_the_formula_and_so_does_its_gradient(form: CameraForm, temperature: float, negatives: int) -> None:
    features, slow = some(len(CROPS), 0).requires_grad_(), some(len(CROPS), 0).requires_grad_()
    proxies = some(len(PROXIES), 1)
    found = loss_of(features, CROPS, proxies, PROXIES, temperature=temperature, negatives=negatives, form=form)
    expected = by_the_formula(slow, CROPS, proxies, PROXIES, temperature, negatives, form)
    assert expected.item() > 0
    assert found.item() == pytest.approx(expected.item())
    found.backward()
    expected.backward()
    torch.testing.assert_close(features.grad, slow.grad)


def test_the_published_form_pulls_the_farthest_positive_where_all_positives_beat_the_negatives() -> None:
    cosines = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5] + [0.2] * 50, dtype=torch.float64)
    apart = torch.eye(1 + len(cosines), dtype=torch.float64)[1:]  # remainders at right angles to each other
    apart *= (1 - cosines**2).sqrt()[:, None]
    apart[:, 0] = cosines
    clusters = [(0, camera) for camera in range(1, 6)] + [(cluster, 0) for cluster in range(1, 51)]
    losses, norms, pulls = {}, {}, {}
    for form in FORMS:
        feature = torch.eye(1, 1 + len(cosines), dtype=torch.float64).requires_grad_()
        loss = loss_of(feature, [(0, 0)], apart, clusters, form=form)
        loss.backward()
        assert feature.grad is not None
        losses[form], norms[form] = loss.item(), feature.grad.norm().item()
        pulls[form] = (-feature.grad[0, 1:6] / apart.diagonal(1)[:5]).tolist()
    assert losses == {"joint": pytest.approx(3.13, abs=0.005), "separate": pytest.approx(0.145, abs=0.0005)}
    assert norms == {"joint": pytest.approx(5.58, abs=0.005), "separate": pytest.approx(1.24, abs=0.005)}
    # the nearest positive is held back in favour of the others
    assert pulls["joint"][0] < -7
    assert pulls["joint"][4] > 2
    assert 0 < min(pulls["separate"]) < max(pulls["separate"]) < 1.3


def test_crops_without_a_positive_count_as_zero_in_the_published_form_alone() -> None:
    features, proxies = some(len(CROPS), 0), some(len(PROXIES), 1)
    with_positive = [0, 1, 3, 4, 5]
    kept = [CROPS[n] for n in with_positive]
    for form, share in (("joint", 5 / 6), ("separate", 1.0)):
        every = loss_of(features, CROPS, proxies, PROXIES, form=form)
        assert every.item() == pytest.approx(
            share * loss_of(features[with_positive], kept, proxies, PROXIES, form=form).item()
        )


def test_defaults_are_the_papers() -> None:
    clusters = [(cluster, camera) for cluster in range(35) for camera in range(2)]
    features, proxies = some(len(CROPS), 0, dim=100), some(len(clusters), 1, dim=100)
    found = loss_of(features, CROPS, proxies, clusters)
    expected = {n: by_the_formula(features, CROPS, proxies, clusters, 0.07, n, "joint").item() for n in (50, 68)}
    assert found.item() == pytest.approx(expected[50])
    assert found.item() != pytest.approx(expected[68])


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: CameraForm) -> None:
    proxies, features = some(len(PROXIES), 1), some(len(CROPS), 0).requires_grad_()
    for negatives in (2, 50):
        assert torch.autograd.gradcheck(
            lambda x, n=negatives: loss_of(x, CROPS, proxies, PROXIES, temperature=0.3, negatives=n, form=form),
            features,
        )


@pytest.mark.parametrize("form", FORMS)
def test_no_gradient_into_the_proxies(form: CameraForm) -> None:
    features, proxies = some(len(CROPS), 0).requires_grad_(), some(len(PROXIES), 1).requires_grad_()
    loss_of(features, CROPS, proxies, PROXIES, form=form).backward()
    assert proxies.grad is None
    assert features.grad is not None
    assert (features.grad.abs().sum(1) > 0).tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "proxies",
    [
        pytest.param([(0, 0), (1, 0), (2, 0)], id="every cluster in one camera"),
        pytest.param([(0, 0)], id="one proxy"),
    ],
)
def test_no_positive_anywhere_is_zero_with_a_zero_gradient(proxies: list[tuple[int, int]], form: CameraForm) -> None:
    features = some(2, 0).requires_grad_()
    loss = loss_of(features, [(0, 0), (0, 0)], some(len(proxies), 1), proxies, form=form)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("form", FORMS)
def test_one_cluster_has_no_negatives_and_nothing_to_learn(form: CameraForm) -> None:
    features = some(3, 0).requires_grad_()
    loss = loss_of(features, [(0, 0), (0, 1), (0, 1)], some(2, 1), [(0, 0), (0, 1)], form=form)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("form", FORMS)
def test_far_proxies_do_not_overflow(form: CameraForm) -> None:
    features = torch.tensor([[1.0, 0.0]], requires_grad=True)
    proxies = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    loss = loss_of(features, [(0, 0)], proxies, [(0, 1), (1, 0)], temperature=0.001, form=form)
    loss.backward()
    assert loss.item() == pytest.approx(2000)
    assert features.grad.isfinite().all()
