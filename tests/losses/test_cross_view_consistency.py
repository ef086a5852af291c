"""The cross-view consistency loss against statistics taken camera by camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from resight.losses import cross_view_consistency

CAMERA = torch.tensor([0, 2, 0, 1, 2, 2, 0])


def some(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 5


def by_cameras(values: Tensor, camera: Tensor, mean: Tensor, std: Tensor) -> float:
    terms = []
    for number in set(camera.tolist()):
        rows = values[camera == number].detach().numpy()
        if len(rows) > 1:
            terms.append(np.square(rows.mean(0) - mean.numpy()).sum())
            terms.append(np.square(rows.std(0, ddof=1) - std.numpy()).sum())
    return float(np.mean(terms)) if terms else 0.0


@pytest.mark.parametrize("camera", [CAMERA, CAMERA * 0, torch.tensor([0, 0, 1, 1, 2, 2, 2])], ids=str)
def test_equals_the_statistics_of_each_camera(camera: Tensor) -> None:
    """Camera 1 has a single crop in the first, there is one camera alone in the second."""
    values, mean, std = some(7, 0), some(1, 1)[0], some(1, 2)[0].abs()
    found = cross_view_consistency(values, camera, 4, mean, std)
    assert found.item() == pytest.approx(by_cameras(values, camera, mean, std))
    assert found.item() > 0


def test_gradcheck() -> None:
    mean, std = some(1, 1)[0], some(1, 2)[0].abs()
    assert torch.autograd.gradcheck(
        lambda x: cross_view_consistency(x, CAMERA, 3, mean, std), some(7, 0).requires_grad_()
    )


def test_a_camera_with_one_crop_is_left_out() -> None:
    values: Any = some(7, 0).requires_grad_()
    cross_view_consistency(values, CAMERA, 3, some(1, 1)[0], some(1, 2)[0]).backward()
    assert not values.grad[3].any()
    assert values.grad[[0, 1, 2, 4, 5, 6]].any(1).all()


def test_no_camera_with_two_crops_is_0_and_equal_crops_have_a_gradient() -> None:
    values: Any = some(3, 0).requires_grad_()
    loss = cross_view_consistency(values, torch.arange(3), 3, some(1, 1)[0], some(1, 2)[0])
    loss.backward()
    assert loss.item() == 0
    assert not values.grad.any()
    twins: Any = some(1, 0).expand(2, -1).clone().requires_grad_()
    cross_view_consistency(twins, torch.zeros(2, dtype=torch.int64), 1, some(1, 1)[0], some(1, 2)[0]).backward()
    assert torch.isfinite(twins.grad).all()
    assert twins.grad.any()
