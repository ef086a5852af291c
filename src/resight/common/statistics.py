"""Mean and standard deviation of groups of rows."""

from __future__ import annotations

import torch
from torch import Tensor


def camera_statistics(values: Tensor, camera: Tensor, cameras: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and standard deviation of the rows of each camera.

    Args:
        values: ``(B, P)`` float.
        camera: ``(B,)`` int64 camera of each row, 0…V−1.
        cameras: V, the number of cameras.

    Returns:
        ``(V, P)`` means; ``(V, P)`` standard deviations (divided by n − 1), with a gradient of 0 where a deviation is
        0; and ``(V,)`` bool: whether the camera has the two rows that a deviation needs.
    """
    # sums as products: no shape depends on the cameras, and a GPU adds in the same order each time
    inside = (camera == torch.arange(cameras, device=camera.device)[:, None]).to(values.dtype)
    count = inside.sum(1, keepdim=True)
    mean = inside @ values / count.clamp(min=1)
    variance = inside @ (values - inside.T @ mean).square() / (count - 1).clamp(min=1)
    spread = variance > 0
    return mean, torch.where(spread, variance, 1.0).sqrt() * spread, (count > 1).squeeze(1)
