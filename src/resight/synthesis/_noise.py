"""Compiled loop of the sensor noise of video frames (numba); import this module only inside functions."""

from __future__ import annotations

import numpy as np

from resight.synthesis._kernels import hash01, jit


@jit()
def add_noise(frame: np.ndarray, noise: float, seed: int, out: np.ndarray) -> None:
    """Adds the noise that :func:`resight.synthesis._kernels.develop` adds to crops.

    Args:
        frame: ``(H, W, 3)`` uint8 picture without noise.
        noise: σ as a share of white.
        seed: Seed of the noise.
        out: ``(H, W, 3)`` uint8 picture, written.
    """
    height, width, _ = frame.shape
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                value = frame[row, column, channel] / 255.0
                k = (row * width + column) * 3 + channel
                bell = hash01(k, 1, seed) + hash01(k, 2, seed) + hash01(k, 3, seed) - 1.5
                value += 2.0 * bell * noise * (1.2 - 0.4 * value)
                out[row, column, channel] = np.uint8(255.0 * min(1.0, max(0.0, value)) + 0.5)
