"""Batch norm and ReLU6 in one, against PyTorch's two layers."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.encoders.norm_relu6 import norm_relu6


def layers(channels: int, training: bool) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3).train(training)
    for values, low, high in (
        (norm.weight.data, -0.5, 2),
        (norm.bias.data, -1, 6),
        (norm.running_mean, 5, 8),
        (norm.running_var, 4, 16),
    ):
        assert values is not None
        values.uniform_(low, high)
    return norm


def plain(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.relu6(norm(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_gradients_and_statistics_are_those_of_two_layers(training: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    norm = layers(6, training)
    reference = copy.deepcopy(norm).double()
    # Two chunks of positions, and a mean that is large beside the deviation.
    x = (torch.randn(70, 6, 16, 16) * 3 + 7).to(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    for _ in range(2):
        found, expected = norm_relu6(norm, x), plain(reference, exact)
    towards = torch.randn_like(found)
    found.backward(towards)
    expected.backward(towards.double())
    assert (found == 0).any()
    assert (found == 6).any()
    for own, other in (
        (found, expected),
        (x.grad, exact.grad),
        (norm.weight.grad, reference.weight.grad),
        (norm.bias.grad, reference.bias.grad),
        (norm.running_mean, reference.running_mean),
        (norm.running_var, reference.running_var),
    ):
        assert own is not None
        assert other is not None
        scale = other.abs().max()
        torch.testing.assert_close(own.double() / scale, other / scale, rtol=0, atol=2e-6)
    assert norm.num_batches_tracked == reference.num_batches_tracked == 2 * training


def test_a_far_mean_costs_no_digits() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3, 8, 8) + 1000
    norm = nn.BatchNorm2d(3)
    found = norm_relu6(norm, x)
    expected = plain(nn.BatchNorm2d(3).double(), x.double())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)


def test_nan_is_not_hidden() -> None:
    x = torch.randn(4, 2, 3, 3)
    x[0, 1, 0, 0] = torch.nan
    found = norm_relu6(nn.BatchNorm2d(2), x)
    assert found[:, 1].isnan().all()
    assert not found[:, 0].isnan().any()


def test_without_gradients_and_in_other_precisions_it_is_the_two_layers() -> None:
    torch.manual_seed(0)
    norm = layers(2, False)
    x = torch.randn(4, 2, 3, 3) * 5 + 6
    with torch.no_grad():
        assert torch.equal(norm_relu6(norm, x), plain(norm, x))
    double = copy.deepcopy(norm).double()
    assert torch.equal(norm_relu6(double, x.double()), plain(double, x.double()))


def test_frozen_statistics_stay() -> None:
    norm = layers(2, False)
    before = copy.deepcopy(norm.state_dict())
    norm_relu6(norm, torch.randn(4, 2, 3, 3, requires_grad=True)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
