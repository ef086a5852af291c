"""Statistics of each camera against torch, camera by camera."""

from __future__ import annotations

import pytest
import torch

from resight.common.statistics import camera_statistics


def test_each_camera() -> None:
    values, camera = torch.randn(8, 3), torch.tensor([3, 0, 0, 3, 1, 0, 3, 3])
    mean, std, enough = camera_statistics(values, camera, 4)
    assert enough.tolist() == [True, False, False, True]
    for number in (0, 3):
        rows = values[camera == number]
        assert torch.allclose(mean[number], rows.mean(0), atol=1e-6)
        assert torch.allclose(std[number], rows.std(0), atol=1e-6)


def test_the_gradient_is_0_where_a_deviation_is() -> None:
    values = torch.tensor([[1.0, 2.0], [1.0, 5.0]], requires_grad=True)
    camera_statistics(values, torch.tensor([0, 0]), 1)[1].sum().backward()
    assert values.grad is not None
    assert values.grad[:, 0].tolist() == [0, 0]
    assert values.grad[:, 1].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
