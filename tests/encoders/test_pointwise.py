"""The 1×1 convolution against F.conv2d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resight.encoders.pointwise import PointwiseConv2d


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_forward_and_gradients_equal_plain_convolution(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv2d(5, 7).double()
    x = torch.randn(3, 5, 4, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    found, expected = layer(x), F.conv2d(x, layer.weight)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    for own, reference in zip(
        torch.autograd.grad(found, (x, layer.weight), towards),
        torch.autograd.grad(expected, (x, layer.weight), towards),
        strict=True,
    ):
        torch.testing.assert_close(own, reference)
    assert torch.autograd.gradcheck(lambda x, _weight: layer(x), (x[:1], layer.weight))
