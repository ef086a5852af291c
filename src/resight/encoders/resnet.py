"""ResNet-18/34/50/101 (He et al. 2016) and their IBN-a variants (Pan et al. 2018), with optional attention.

State-dict names are torchvision's (and IBN-Net's for the instance-batch norms), so that published weights load.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache, partial
from math import ceil
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.encoders.attention import ChannelSpatialAttention
from resight.errors import ResightError


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
    """Two 3×3 convolutions, optional attention, and a shortcut."""

    expansion = 1
    rectified = True

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool, groups: int, attention: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, groups=groups, bias=False)
        self.bn1: nn.Module = InstanceBatchNorm(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.attention = ChannelSpatialAttention(width) if attention else nn.Identity()
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.attention(self.bn2(self.conv2(y)))
        y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y, inplace=True) if self.rectified else y


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride, as in torchvision) and 1×1 convolutions, optional attention, and a shortcut."""

    expansion = 4
    rectified = True

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool, groups: int, attention: bool) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, groups=groups, bias=False)
        self.bn1: nn.Module = InstanceBatchNorm(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.attention = ChannelSpatialAttention(outputs) if attention else nn.Identity()
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.attention(self.bn3(self.conv3(y)))
        y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y, inplace=True) if self.rectified else y


_DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


def stage_widths(width_multiplier: float, step: int = 8, *, groups: int = 1, setting: str = "groups") -> list[int]:
    """Widths of the four stages: 64, 128, 256 and 512 times a factor, rounded to multiples of ``step``.

    Raises:
        ResightError: ``groups`` does not divide all widths. The sentence calls it ``setting``.
    """
    widths = [max(step, int(64 * 2**stage * width_multiplier + step / 2) // step * step) for stage in range(4)]
    if any(width % groups for width in widths):
        raise ResightError(
            f"{setting}={groups} does not divide the widths {', '.join(map(str, widths))} of the stages at "
            f"width_multiplier={width_multiplier:g}: choose fewer groups or a larger width_multiplier."
        )
    return widths


class ResNet(nn.Module):
    """A ResNet up to its last feature map.

    Args:
        depth: 18, 34, 50 or 101.
        last_stride: Stride of the last stage: 2 as published, 1 as re-identification uses it.
        width_multiplier: Factor on the channels of every stage, rounded to multiples of 8, for small models.
        ibn: IBN-a: instance-batch norm after the first convolution of every block of the first three stages.
        groups: Filter groups of the convolutions inside the blocks; stem and shortcuts are never grouped.
        attention: Whether every block weighs its channels and positions before the shortcut is added. With grouped
            convolutions this is the grouped attention module of Nikhal & Riggan 2021.
        width_step: Widths are rounded to multiples of this number.
        last_relu: Whether the last block ends in a ReLU. If not, the feature map has both signs.

    Raises:
        ResightError: the groups do not divide the widths.
    """

    #: ImageNet's channel statistics, which published weights were trained with.
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(
        self,
        depth: int,
        last_stride: int = 2,
        width_multiplier: float = 1.0,
        ibn: bool = False,
        *,
        groups: int = 1,
        attention: bool = False,
        width_step: int = 8,
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        block, repeats = _DEPTHS[depth]
        widths = stage_widths(width_multiplier, width_step, groups=groups)
        self.groups = groups
        inputs = widths[0]
        self.conv1 = nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for stage, (width, count) in enumerate(zip(widths, repeats, strict=True)):
            first_stride = (1, 2, 2, last_stride)[stage]
            blocks = []
            for repeat in range(count):
                stride = first_stride if repeat == 0 else 1
                blocks.append(block(inputs, width, stride, ibn and stage < 3, groups, attention))
                inputs = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        blocks[-1].rectified = last_relu
        self.channels = inputs
        for name, module in self.named_modules():
            # The attention's convolution is followed by a sigmoid, not a ReLU: it keeps torch's initialisation.
            if isinstance(module, nn.Conv2d) and ".attention." not in name:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def early(self, images: Tensor) -> Tensor:
        """An early feature map ``(B, C, H/8, W/8)``: what the second of the four stages gives."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in (self.layer1, self.layer2):
            x = cast(nn.Module, stage)(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """Feature map ``(B, C, H/32, W/32)`` of images ``(B, 3, H, W)``; H/16 and W/16 at ``last_stride=1``."""
        x = self.early(images)
        for stage in (self.layer3, self.layer4):
            x = cast(nn.Module, stage)(x)
        return x


@cache
def matching_width(
    depth: int, last_stride: int, width_multiplier: float, attention: bool, groups: int
) -> tuple[float, int]:
    """The width at which a ResNet without groups has as many parameters as one with groups.

    This is the adjusted comparator (A-CBAM) of Nikhal & Riggan 2021, section 5.5. All stages get the same factor, which
    keeps the proportions of the network. Widths are multiples of 8 if these come within 1 % of the number of
    parameters, else multiples of 4, of 2 or of 1.

    Args:
        depth: 18, 34, 50 or 101.
        last_stride: Stride of the last stage, 1 or 2.
        width_multiplier: Factor on the widths of the network with groups.
        attention: Whether both networks have attention.
        groups: Filter groups of the network to match.

    Returns:
        ``width_multiplier`` and ``width_step`` of the network without groups.
    """

    def count(factor: float, step: int, groups: int = 1) -> int:
        with torch.device("meta"):  # shapes alone
            net = ResNet(depth, last_stride, factor, groups=groups, attention=attention, width_step=step)
        return sum(parameter.numel() for parameter in net.parameters())

    aim = count(width_multiplier, 8, groups)
    found: list[tuple[float, float, int]] = []
    for step in (8, 4, 2, 1):
        # Widths change at multiples of step/1024 only, and the count grows with them.
        factors = [step * turn / 1024 for turn in range(1, ceil(1024 * width_multiplier / step) + 1)]
        place = bisect_left(factors, aim, key=partial(count, step=step))
        found += [(abs(count(f, step) / aim - 1), f, step) for f in factors[max(0, place - 1) : place + 1]]
        if min(found)[0] < 0.01:
            break
    _, factor, step = min(found)
    return factor, step
