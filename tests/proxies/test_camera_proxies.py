"""Camera-aware proxies: the normalised mean of each pair of cluster and camera that has crops."""

from __future__ import annotations

import torch

from resight.proxies import CameraProxies

LABELS = [1, 0, -1, 1, 0, 1, 2, -1, 1, 0]
CAMERA = [3, 0, 0, 7, 0, 3, 7, 3, 3, 7]


def features_of(rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))


def reset(labels: list[int], camera: list[int], features: torch.Tensor) -> CameraProxies:
    proxies = CameraProxies()
    proxies.reset(features, torch.tensor(labels), torch.tensor(camera))
    return proxies


def test_one_normalised_mean_for_each_pair_that_has_crops() -> None:
    features = features_of(10)
    found = reset(LABELS, CAMERA, features)
    pairs = sorted({pair for pair in zip(LABELS, CAMERA, strict=True) if pair[0] >= 0})
    assert list(zip(found.cluster.tolist(), found.camera.tolist(), strict=True)) == pairs
    assert len(found.proxies) == len(pairs) == 5
    for proxy, pair in zip(found.proxies, pairs, strict=True):
        own = [f for f, *of in zip(features, LABELS, CAMERA, strict=True) if tuple(of) == pair]
        mean = sum(own) / len(own)
        torch.testing.assert_close(proxy, mean / mean.norm())


def test_outliers_leave_no_trace() -> None:
    features = features_of(10)
    changed = features.clone()
    changed[torch.tensor(LABELS) < 0] = 1e6
    assert torch.equal(reset(LABELS, CAMERA, features).proxies, reset(LABELS, CAMERA, changed).proxies)


def test_reset_begins_anew() -> None:
    proxies = reset(LABELS, CAMERA, features_of(10))
    proxies.reset(features_of(2), torch.tensor([0, 0]), torch.tensor([5, 5]))
    assert proxies.proxies.shape == (1, 4)
    assert (proxies.cluster.tolist(), proxies.camera.tolist()) == ([0], [5])


def test_only_outliers_give_no_proxies() -> None:
    proxies = reset([-1, -1], [0, 1], features_of(2))
    assert proxies.proxies.shape == (0, 4)
    assert len(proxies.cluster) == len(proxies.camera) == 0


def test_checkpoints_do_not_hold_them() -> None:
    assert reset(LABELS, CAMERA, features_of(10)).state_dict() == {}


def test_no_gradient_flows_into_them() -> None:
    assert not reset(LABELS, CAMERA, features_of(10).requires_grad_()).proxies.requires_grad


def test_each_crop_knows_its_proxy() -> None:
    found = reset(LABELS, CAMERA, features_of(10))
    for own, label, camera in zip(found.own.tolist(), LABELS, CAMERA, strict=True):
        if label < 0:
            assert own == -1
        else:
            assert (found.cluster[own].item(), found.camera[own].item()) == (label, camera)


def test_crops_of_a_batch_move_their_proxy_one_after_another() -> None:
    found = reset(LABELS, CAMERA, features_of(10))
    expected = [proxy.clone() for proxy in found.proxies]
    batch = torch.nn.functional.normalize(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    own = [2, 0, 2, 2]
    for crop, proxy in zip(batch, own, strict=True):
        moved = 0.2 * expected[proxy] + 0.8 * crop
        expected[proxy] = moved / moved.norm()
    found.update(batch, torch.tensor(own), 0.2)
    torch.testing.assert_close(found.proxies, torch.stack(expected))
