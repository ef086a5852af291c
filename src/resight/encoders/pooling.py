"""From a feature map to one vector per crop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AveragePooling(nn.Module):
    """Mean over positions: ``(B, C, H, W)`` to ``(B, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean((2, 3))


class MaxPooling(nn.Module):
    """Maximum over positions: ``(B, C, H, W)`` to ``(B, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().amax((2, 3))


class GeMPooling(nn.Module):
    """Generalised mean (Radenović et al. 2019, eq. 3): (mean x^p)^(1/p), with p learned.

    p = 1 is the average; as p grows it nears the maximum.

    Args:
        p: The exponent to start from.
        eps: Activations below it are raised to it, so that the power is defined.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.float().clamp(min=self.eps).pow(self.p), x.shape[2:]).flatten(1).pow(1 / self.p)


def stripes(x: Tensor, parts: int) -> list[Tensor]:
    """Divides a feature map into horizontal stripes, from top to bottom.

    The borders are those of adaptive pooling: if P does not divide H, neighbouring stripes share a row.

    Args:
        x: ``(B, C, H, W)``.
        parts: P, at most H.

    Returns:
        P views of the map, ``(B, C, h, W)`` each.
    """
    height = x.shape[2]
    return [x[:, :, n * height // parts : -(-(n + 1) * height // parts)] for n in range(parts)]


POOLING = {"avg": AveragePooling, "max": MaxPooling, "gem": GeMPooling}
