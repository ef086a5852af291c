"""The depthwise convolution against F.conv2d of an explicitly padded image."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.encoders.depthwise import DepthwiseConv2d


def plain(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """TensorFlow's ``SAME`` of an even-sized image: k − stride pixels in all, the odd one after."""
    total = weight.shape[2] - stride
    before, after = total // 2, total - total // 2
    return F.conv2d(F.pad(images, (before, after, before, after)), weight, stride=stride, groups=len(weight))


def gradients(output: Tensor, towards: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, towards)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "size"), [*itertools.product((3, 5, 7), (1, 2), ((8, 6), (9, 7), (8, 7), (7, 10)))]
)
def test_forward_and_gradients_equal_plain_convolution(
    kernel_size: int, stride: int, size: tuple[int, int], kind: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(4, kernel_size, stride).to(kind)
    images = torch.randn(9, 4, *size, dtype=kind, requires_grad=True)  # more than one thread's share
    found, expected = layer(images), plain(images, layer.weight, stride)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    for own, reference in zip(
        gradients(found, towards, images, layer.weight),
        gradients(expected, towards, images, layer.weight),
        strict=True,
    ):
        tolerance = {"rtol": 1e-5, "atol": 2e-5} if kind == torch.float32 else {}
        torch.testing.assert_close(own, reference, **tolerance)


def test_map_sizes() -> None:
    images = torch.zeros(1, 2, 8, 6)
    assert DepthwiseConv2d(2, 5, 1)(images).shape == (1, 2, 8, 6)
    assert DepthwiseConv2d(2, 5, 2)(images).shape == (1, 2, 4, 3)


@pytest.mark.parametrize(("kernel_size", "stride"), [*itertools.product((3, 5), (1, 2))])
def test_gradcheck(kernel_size: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(2, kernel_size, stride).double()
    images = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, _weight: layer(x), (images, layer.weight))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_autocast_is_near_float32(layout: torch.memory_format, stride: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(8, 5, stride).to(memory_format=layout)
    images = torch.randn(4, 8, 16, 8).to(memory_format=layout).requires_grad_()
    expected = plain(images, layer.weight, stride)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(images)
    assert found.dtype == torch.bfloat16
    towards = torch.randn_like(expected)
    pairs = [(found, expected)]
    pairs += zip(
        gradients(found, towards.bfloat16(), images, layer.weight),
        gradients(expected, towards, images, layer.weight),
        strict=True,
    )
    for own, reference in pairs:
        error = (own.float() - reference).norm() / reference.norm()
        assert error < 0.01
    assert all(own.dtype == torch.float32 for own, _ in pairs[1:])


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (5, 2)])
def test_only_the_gradient_that_is_needed(kernel_size: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(3, kernel_size, stride).double()
    images = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    wanted = torch.autograd.grad(plain(images, layer.weight, stride).square().sum(), layer.weight)
    torch.testing.assert_close(torch.autograd.grad(layer(images).square().sum(), layer.weight), wanted)
    layer.requires_grad_(False)
    images.requires_grad_()
    wanted = torch.autograd.grad(plain(images, layer.weight, stride).square().sum(), images)
    torch.testing.assert_close(torch.autograd.grad(layer(images).square().sum(), images), wanted)
    assert layer.weight.grad is None
