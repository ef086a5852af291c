"""ResNet-18/34/50/101 (He et al. 2016) and their IBN-a variants (Pan et al. 2018).

State-dict names are torchvision's (and IBN-Net's for the instance-batch norms), so that published weights load.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceBatchNorm(nn.Module):
    """IBN: instance norm on the first half of the channels, batch norm on the rest (Pan et al. 2018, IBN-a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = channels // 2, channels - channels // 2
        self.IN = nn.InstanceNorm2d(self.split[0], affine=True)
        self.BN = nn.BatchNorm2d(self.split[1])

    def forward(self, x: Tensor) -> Tensor:
        first, rest = x.split(self.split, dim=1)
        return torch.cat([self.IN(first.contiguous()), self.BN(rest.contiguous())], dim=1)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1: nn.Module = InstanceBatchNorm(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 (which carries the stride, as torchvision's), 1×1 and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1: nn.Module = InstanceBatchNorm(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


_DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """A ResNet up to its last feature map.

    Args:
        depth: 18, 34, 50 or 101.
        last_stride: Stride of the last stage: 2 as published, 1 as re-identification uses it.
        width_multiplier: Factor on the channels of every stage, rounded to multiples of 8, for small models.
        ibn: IBN-a: instance-batch norm after the first convolution of every block of the first three stages.
    """

    #: ImageNet's channel statistics, which published weights were trained with.
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, depth: int, last_stride: int = 2, width_multiplier: float = 1.0, ibn: bool = False) -> None:
        super().__init__()
        block, repeats = _DEPTHS[depth]
        widths = [max(8, int(64 * 2**stage * width_multiplier + 4) // 8 * 8) for stage in range(4)]
        inputs = widths[0]
        self.conv1 = nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for stage, (width, count) in enumerate(zip(widths, repeats, strict=True)):
            first_stride = (1, 2, 2, last_stride)[stage]
            blocks = []
            for repeat in range(count):
                blocks.append(block(inputs, width, first_stride if repeat == 0 else 1, ibn and stage < 3))
                inputs = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Feature map ``(B, C, H/32, W/32)``, twice as fine at ``last_stride=1``, of images ``(B, 3, H, W)``."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = cast(nn.Module, stage)(x)
        return x
