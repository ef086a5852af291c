"""Attention over channels and positions, inside the blocks of a ResNet or behind any backbone.

Inside the blocks it is CBAM (Woo et al. 2018): first over channels, then over positions. With grouped convolutions it
is the grouped attention module (GAM) of Nikhal & Riggan (WACV 2021), whose equation numbers are used here. Behind a
backbone it is the voxel attention of ADTC (Ji et al., ECCV 2020), with a weight for every channel at every position.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Channels per hidden unit of the channel attention (Woo et al. 2018).
REDUCTION = 16


class ChannelAttention(nn.Module):
    """A_c: which channels matter in a crop (Nikhal & Riggan 2021, eq. 1; eq. 2 is the same after grouped convolutions).

    The mean and the maximum over positions each go through the same two linear layers without biases. Their sum goes
    through a sigmoid.

    Args:
        channels: C of the feature maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights ``(B, C, 1, 1)`` in (0, 1) for feature maps ``(B, C, H, W)``."""
        # Pooling layers instead of reductions, and channels last: on a CPU the gradients of reductions cost more than
        # those of the convolutions.
        pooled = [pool(x, x.shape[2:]).permute(0, 2, 3, 1) for pool in (F.avg_pool2d, F.max_pool2d)]
        hidden = F.relu(self.squeeze(torch.stack(pooled))).sum(0)
        # The last layer is linear: adding before it equals adding after it.
        return torch.sigmoid(self.excite(hidden)).permute(0, 3, 1, 2)


class SpatialAttention(nn.Module):
    """A_s: which positions matter in a crop (Nikhal & Riggan 2021, eq. 3).

    Mean and maximum over channels, as two channels, go through a 7×7 convolution and a sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights ``(B, 1, H, W)`` in (0, 1) for feature maps ``(B, C, H, W)``."""
        # Reduced along the last dimension, so that the gradients are laid out with channels last.
        x = x.permute(0, 2, 3, 1)
        maxima = x.max(3).values if x.requires_grad else x.amax(3)
        return torch.sigmoid(self.conv(torch.stack([x.mean(3), maxima], 1)))


class ChannelSpatialAttention(nn.Module):
    """A_s ⊗ (A_c ⊗ F): feature maps weighted by channel, then by position.

    Args:
        channels: C of the feature maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Weighted feature maps ``(B, C, H, W)`` of feature maps ``(B, C, H, W)``."""
        x = x * self.channel(x)
        return cast(Tensor, x * self.spatial(x))


class VoxelAttention(nn.Module):
    """A ⊗ F with A = S ⊗ Ch: a weight for every channel at every position of a feature map (Ji et al. 2020).

    S, over positions, is the softmax of the mean of F over channels; it has no parameters. Ch, over channels, is the
    mean of F over positions, put through a linear layer, a ReLU, a linear layer and a sigmoid. Computed in float32.

    Args:
        channels: C of the feature maps.
        hidden: d, the number of hidden units.
        rescale: Whether S is multiplied by the number of positions, so that its mean is 1. The paper does not say. With
            average pooling and a BN neck only the scale of the pooled features differs.
    """

    def __init__(self, channels: int, hidden: int = 800, rescale: bool = True) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.rescale = rescale

    @staticmethod
    def spatial(x: Tensor) -> Tensor:
        """S ``(B, 1, H, W)`` of feature maps ``(B, C, H, W)``, not rescaled: its sum over positions is 1."""
        mean = _full(x).mean(1, keepdim=True)
        return F.softmax(mean.flatten(1), dim=1).view_as(mean)

    def channel(self, x: Tensor) -> Tensor:
        """Ch ``(B, C, 1, 1)`` in (0, 1) of feature maps ``(B, C, H, W)``."""
        hidden = F.relu(self.squeeze(_full(x).mean((2, 3))))
        return torch.sigmoid(self.excite(hidden))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Weighted feature maps ``(B, C, H, W)`` of feature maps ``(B, C, H, W)``."""
        x = _full(x)
        positions = x.shape[2] * x.shape[3] if self.rescale else 1
        return x * (self.spatial(x) * positions) * self.channel(x)


def _full(x: Tensor) -> Tensor:
    """A tensor of lower precision as float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def activation_map(feature_map: Tensor) -> Tensor:
    """The strength of each position of a feature map, for pictures like figure 5 of Nikhal & Riggan 2021.

    The paper does not say how channels become one number. Here it is the L2 norm over channels, which suits feature
    maps of both signs. The map of each crop is then stretched to [0, 1].

    Args:
        feature_map: ``(B, C, h, w)``.

    Returns:
        ``(B, h, w)`` float32; 0 everywhere for a crop whose map is constant.
    """
    strength = feature_map.float().norm(dim=1)
    low, high = strength.amin((1, 2), True), strength.amax((1, 2), True)
    return (strength - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
