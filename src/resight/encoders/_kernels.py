"""Compiled inner loops of training on a CPU in float32 (numba).

Import this module only inside functions. Arrays are in channels-last order. A loop works on a range of images or of
positions and releases the interpreter lock, so that ranges can run on threads
(:func:`resight.common.kernels.map_rows`). What is summed over ranges is returned and added by the caller in order:
results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np

from resight.common.kernels import jit

#: Positions that are summed in float32 before the sum is added to a float64 total.
_BLOCK = 64
_FUSED = {"contract"}  # multiply and add in one instruction; NaN and infinity keep their meaning


@jit(fastmath=_FUSED)
def depthwise_weight_gradient(
    images: np.ndarray, grad: np.ndarray, size: int, stride: int, before: int, start: int, stop: int
) -> np.ndarray:
    """Gradient of a depthwise convolution with respect to its kernels, from images ``start`` to ``stop``.

    Args:
        images: ``(B, H, W, C)`` float32 input of the convolution.
        grad: ``(B, h, w, C)`` float32 gradient of its output.
        size: Side of a kernel.
        stride: Stride of the convolution.
        before: Pixels of padding at the top and at the left. What is missing below and right is padding, too.
        start: First image.
        stop: One past the last image.

    Returns:
        ``(size, size, C)`` float32.
    """
    _, height, width, channels = images.shape
    _, rows, columns, _ = grad.shape
    padded = np.zeros((stride * (rows - 1) + size, stride * (columns - 1) + size, channels), np.float32)
    bottom, right = min(height, padded.shape[0] - before), min(width, padded.shape[1] - before)
    total = np.zeros((size, size, channels), np.float32)
    for n in range(start, stop):
        padded[before : before + bottom, before : before + right] = images[n, :bottom, :right]
        for i in range(rows):
            for a in range(size):
                for b in range(size):
                    for j in range(columns):
                        for c in range(channels):
                            total[a, b, c] += grad[n, i, j, c] * padded[stride * i + a, stride * j + b, c]
    return total


@jit(fastmath=_FUSED)
def depthwise_input_gradient(
    grad: np.ndarray, weight: np.ndarray, stride: int, before: int, out: np.ndarray, start: int, stop: int
) -> None:
    """Gradient of a depthwise convolution with respect to its input, of images ``start`` to ``stop``.

    Args:
        grad: ``(B, h, w, C)`` float32 gradient of the output.
        weight: ``(size, size, C)`` float32 kernels.
        stride: Stride of the convolution.
        before: Pixels of padding at the top and at the left.
        out: ``(B, H, W, C)`` float32, written.
        start: First image.
        stop: One past the last image.
    """
    _, rows, columns, channels = grad.shape
    _, height, width, _ = out.shape
    size = weight.shape[0]
    reach = (max(stride * (rows - 1) + size, before + height), max(stride * (columns - 1) + size, before + width))
    padded = np.empty((*reach, channels), np.float32)
    for n in range(start, stop):
        padded[:] = 0
        for i in range(rows):
            for a in range(size):
                for b in range(size):
                    for j in range(columns):
                        for c in range(channels):
                            padded[stride * i + a, stride * j + b, c] += grad[n, i, j, c] * weight[a, b, c]
        out[n] = padded[before : before + height, before : before + width]


@jit(fastmath=_FUSED)
def channel_moments(x: np.ndarray, shift: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Sums over positions of x − shift and of its square, for each channel.

    Args:
        x: ``(P, C)`` float32.
        shift: ``(C,)`` float32, a value near the mean, so that no digits are lost in the square.
        start: First position.
        stop: One past the last position.

    Returns:
        ``(2, C)`` float64: sums, and sums of squares.
    """
    channels = x.shape[1]
    total = np.zeros((2, channels))
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for block in range(start, stop, _BLOCK):
        first[:] = 0
        second[:] = 0
        for p in range(block, min(block + _BLOCK, stop)):
            for c in range(channels):
                value = x[p, c] - shift[c]
                first[c] += value
                second[c] += value * value
        total[0] += first
        total[1] += second
    return total


@jit(fastmath=_FUSED)
def scaled_relu6(x: np.ndarray, scale: np.ndarray, offset: np.ndarray, out: np.ndarray, start: int, stop: int) -> None:
    """Writes min(max(scale · x + offset, 0), 6) at positions ``start`` to ``stop``; NaN stays NaN.

    Args:
        x: ``(P, C)`` float32.
        scale: ``(C,)`` float32.
        offset: ``(C,)`` float32.
        out: ``(P, C)`` float32, written.
        start: First position.
        stop: One past the last position.
    """
    six, zero = np.float32(6), np.float32(0)
    for p in range(start, stop):
        for c in range(x.shape[1]):
            value = x[p, c] * scale[c] + offset[c]
            out[p, c] = zero if value < zero else (six if value > six else value)


@jit(fastmath=_FUSED)
def scaled_relu6_moments(
    x: np.ndarray,
    grad: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    mean: np.ndarray,
    start: int,
    stop: int,
) -> np.ndarray:
    """Sums over positions of the gradient before the ReLU6, and of its product with x − mean.

    Args:
        x: ``(P, C)`` float32 input of :func:`scaled_relu6`.
        grad: ``(P, C)`` float32 gradient of its output.
        scale: ``(C,)`` float32.
        offset: ``(C,)`` float32.
        mean: ``(C,)`` float32.
        start: First position.
        stop: One past the last position.

    Returns:
        ``(2, C)`` float64.
    """
    channels = x.shape[1]
    six, zero = np.float32(6), np.float32(0)
    total = np.zeros((2, channels))
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for block in range(start, stop, _BLOCK):
        first[:] = 0
        second[:] = 0
        for p in range(block, min(block + _BLOCK, stop)):
            for c in range(channels):
                value = x[p, c] * scale[c] + offset[c]
                passed = grad[p, c] if (value > zero) & (value < six) else zero
                first[c] += passed
                second[c] += passed * (x[p, c] - mean[c])
        total[0] += first
        total[1] += second
    return total


@jit(fastmath=_FUSED)
def scaled_relu6_gradient(
    x: np.ndarray,
    grad: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    slope: np.ndarray,
    level: np.ndarray,
    out: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes scale · g − slope · x − level, where g is the gradient before the ReLU6.

    With a slope and level of 0 this is the gradient for a constant scale and offset. Those of a batch norm make the
    gradient of its statistics part of it.

    Args:
        x: ``(P, C)`` float32 input of :func:`scaled_relu6`.
        grad: ``(P, C)`` float32 gradient of its output.
        scale: ``(C,)`` float32.
        offset: ``(C,)`` float32.
        slope: ``(C,)`` float32.
        level: ``(C,)`` float32.
        out: ``(P, C)`` float32, written.
        start: First position.
        stop: One past the last position.
    """
    six, zero = np.float32(6), np.float32(0)
    for p in range(start, stop):
        for c in range(x.shape[1]):
            value = x[p, c] * scale[c] + offset[c]
            passed = grad[p, c] if (value > zero) & (value < six) else zero
            out[p, c] = scale[c] * passed - slope[c] * x[p, c] - level[c]
