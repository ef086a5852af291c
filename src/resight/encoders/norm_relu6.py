"""Batch norm followed by ReLU6, in as few passes over memory as possible on a CPU.

On a CPU such layers are bound by memory. PyTorch reads and writes every activation about ten times for the pair;
here it is five times. The result is the same to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.encoders.layout import channels_last_array

#: Positions that one thread works on at a time.
_CHUNK = 8192


def _positions(x: Tensor) -> np.ndarray:
    return channels_last_array(x).reshape(-1, x.shape[1])


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _summed(work: Callable[[int, int], np.ndarray], positions: int) -> np.ndarray:
    """The sum of what ``work(start, stop)`` returns for ranges of positions, taken in order."""
    from resight.common.kernels import map_rows

    first, *others = map_rows(work, positions, chunk=_CHUNK)
    for part in others:
        first += part
    return first


class _NormReLU6(torch.autograd.Function):
    """relu6(scale · (x − mean) + bias), with scale = weight / √(variance + eps)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse_std: Tensor, own_statistics: bool
    ) -> Tensor:
        from resight.common.kernels import run_rows
        from resight.encoders import _kernels

        scale = weight * inverse_std
        offset = bias - mean * scale
        ctx.save_for_backward(x, scale, offset, mean, inverse_std)
        ctx.own_statistics = own_statistics
        out = torch.empty_like(x, memory_format=torch.channels_last)
        source, target, s, o = _positions(x), _positions(out), scale.numpy(), offset.numpy()

        def part(start: int, stop: int) -> None:
            _kernels.scaled_relu6(source, s, o, target, start, stop)

        run_rows(part, len(source), chunk=_CHUNK)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from resight.common.kernels import run_rows
        from resight.encoders import _kernels

        x, scale, offset, mean, inverse_std = ctx.saved_tensors
        source, grad = _positions(x), _positions(grads[0])
        s, o, m, inverse = scale.numpy(), offset.numpy(), mean.numpy(), inverse_std.numpy()

        def sums(start: int, stop: int) -> np.ndarray:
            found: np.ndarray = _kernels.scaled_relu6_moments(source, grad, s, o, m, start, stop)
            return found

        first, second = _summed(sums, len(source))
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x, memory_format=torch.channels_last)
            target = _positions(grad_x)
            slope, level = np.zeros_like(s), np.zeros_like(s)
            if ctx.own_statistics:  # the mean and the variance depend on x, too
                exact = s * inverse.astype(np.float64) ** 2 * second / len(source)
                slope, level = _float32(exact), _float32(s * first / len(source) - exact * m)

            def part(start: int, stop: int) -> None:
                _kernels.scaled_relu6_gradient(source, grad, s, o, slope, level, target, start, stop)

            run_rows(part, len(source), chunk=_CHUNK)
        grad_weight, grad_bias = torch.from_numpy(_float32(second * inverse)), torch.from_numpy(_float32(first))
        return grad_x, grad_weight, grad_bias, None, None, None


def _batch_statistics(norm: nn.BatchNorm2d, x: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over a batch; moves the running statistics as PyTorch does."""
    from resight.encoders import _kernels

    source = _positions(x)
    shift, count = source[0].copy(), len(source)

    def sums(start: int, stop: int) -> np.ndarray:
        found: np.ndarray = _kernels.channel_moments(source, shift, start, stop)
        return found

    first, second = _summed(sums, count) / count
    variance = np.maximum(second - first**2, 0)
    mean, unbiased = (
        torch.from_numpy(_float32(shift + first)),
        torch.from_numpy(_float32(variance * count / (count - 1))),
    )
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        assert running is not None
        running.lerp_(new, momentum)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return mean, torch.from_numpy(_float32(variance))


def norm_relu6(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """``relu6(norm(x))``; a batch norm's running statistics move as if it had been called.

    Compiled loops do it in training on a CPU in float32. Everything else is PyTorch's.

    Args:
        norm: A batch norm with weight, bias and running statistics.
        x: ``(B, C, H, W)``.

    Returns:
        ``(B, C, H, W)``.
    """
    mean, variance = norm.running_mean, norm.running_var
    plain = type(norm) is not nn.BatchNorm2d or norm.momentum is None or mean is None or variance is None
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_grad_enabled()
    if plain or not on_cpu or x[:, 0].numel() < 2:
        return F.relu6(norm(x), inplace=True)
    assert mean is not None
    assert variance is not None
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        if norm.training:
            mean, variance = _batch_statistics(norm, x, norm.momentum or 0.0)
        inverse_std = (variance + norm.eps).rsqrt()
    out: Tensor = _NormReLU6.apply(x, norm.weight, norm.bias, mean.clone(), inverse_std, norm.training)
    return out
