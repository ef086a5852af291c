"""Depthwise convolution whose backward pass is fast on CPUs.

PyTorch's CPU library has quick kernels for the forward pass of depthwise convolutions and for the weight gradient of
3×3 ones, and slow reference ones for the rest (``benchmarks/step.py`` prints the ratio). In float32 the weight
gradient, and the input gradient at stride 2, are loops compiled here. In bfloat16, and in float64 for tests, both are
written in terms of the quick kernels:

* input gradient: the output gradient, spread out by the stride, convolved with the flipped kernel;
* weight gradient: a k×k kernel is covered by 3×3 kernels, each the weight gradient over a shifted crop.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.encoders.layout import channels_last_array

#: Images that one thread works on at a time.
_CHUNK = 8


def _pad(images: Tensor, before: int, after: int) -> Tensor:
    return F.pad(images, (before, after, before, after)) if before or after else images


def _weight_gradient(images: Tensor, grad: Tensor, size: int, stride: int, before: int) -> Tensor:
    """The gradient of the kernels, ``(C, 1, size, size)``, by compiled loops; float32."""
    from resight.common.kernels import map_rows
    from resight.encoders import _kernels

    x, g = channels_last_array(images), channels_last_array(grad)

    def part(start: int, stop: int) -> Any:
        return _kernels.depthwise_weight_gradient(x, g, size, stride, before, start, stop)

    total = sum(map_rows(part, len(x), chunk=_CHUNK))
    return torch.from_numpy(total).permute(2, 0, 1).unsqueeze(1).contiguous()


def _input_gradient(images: Tensor, weight: Tensor, grad: Tensor, stride: int, before: int) -> Tensor:
    """The gradient of the images, in their shape, by compiled loops; float32."""
    from resight.common.kernels import run_rows
    from resight.encoders import _kernels

    out = torch.empty_like(images, memory_format=torch.channels_last)
    g, target = channels_last_array(grad), channels_last_array(out)
    kernels = weight[:, 0].permute(1, 2, 0).contiguous().numpy()

    def part(start: int, stop: int) -> None:
        _kernels.depthwise_input_gradient(g, kernels, stride, before, target, start, stop)

    run_rows(part, len(images), chunk=_CHUNK)
    return out


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, before: int, after: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry = stride, before, after
        if before == after:
            return F.conv2d(images, weight, stride=stride, padding=before, groups=weight.shape[0])
        return F.conv2d(_pad(images, before, after), weight, stride=stride, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        images, weight = ctx.saved_tensors
        stride, before, after = ctx.geometry
        channels, _, size, _ = weight.shape
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_images = grad_weight = None
        compiled = grad.dtype == images.dtype == torch.float32
        if ctx.needs_input_grad[0]:
            first = size - 1 - before
            if stride == 1 and first == size - 1 - after:
                grad_images = F.conv2d(grad, weight.flip(2, 3), padding=first, groups=channels)
            elif compiled:
                grad_images = _input_gradient(images, weight, grad, stride, before)
            else:
                batch, _, height, width = images.shape
                spread = grad.new_zeros(batch, height + size - 1, width + size - 1, channels).permute(0, 3, 1, 2)
                spread[:, :, first::stride, first::stride][:, :, : grad.shape[2], : grad.shape[3]] = grad
                grad_images = F.conv2d(spread, weight.flip(2, 3), groups=channels)
        if ctx.needs_input_grad[1] and compiled:
            grad_weight = _weight_gradient(images, grad, size, stride, before)
        elif ctx.needs_input_grad[1]:
            padded = _pad(images, before, after)
            rows, columns = (stride * (n - 1) + 3 for n in grad.shape[2:])
            grad_weight = torch.empty_like(weight)
            for top in range(0, size - 2, 2):
                for left in range(0, size - 2, 2):
                    crop = padded[:, :, top : top + rows, left : left + columns]
                    grad_weight[:, :, top : top + 3, left : left + 3] = torch.ops.aten.convolution_backward(
                        grad,
                        crop.contiguous(memory_format=torch.channels_last),
                        weight[:, :, :3, :3].contiguous(),
                        None,
                        (stride, stride),
                        (0, 0),
                        (1, 1),
                        False,
                        (0, 0),
                        channels,
                        (False, True, False),
                    )[1]
        return grad_images, grad_weight, None, None, None


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of odd size, padded as TensorFlow's ``same`` pads an image of even size.

    At stride 1 the padding is symmetric. At stride 2 it has one pixel more at the bottom and right. As in the published
    EfficientNet-Lite, it does not depend on the size of the image, so the half of an odd size is rounded down.

    Args:
        channels: Number of channels; each has its own kernel.
        kernel_size: 3, 5, 7, …
        stride: 1 or 2.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel_size, stride=stride, groups=channels, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        size, stride = self.kernel_size[0], self.stride[0]
        before, after = (size - stride) // 2, (size - stride + 1) // 2
        if images.device.type != "cpu":
            return F.conv2d(_pad(images, before, after), self.weight, stride=stride, groups=self.groups)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            images, weight = images.to(dtype), weight.to(dtype)
        return _DepthwiseConvolution.apply(images, weight, stride, before, after)
