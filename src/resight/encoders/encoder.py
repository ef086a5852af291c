"""An encoder: images in, features out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from resight.encoders.efficientnet import EfficientNetLite0
from resight.encoders.pooling import POOLING
from resight.encoders.resnet import ResNet
from resight.encoders.weights import load_backbone_weights

Backbone = Literal[
    "efficientnet_lite0",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet18_ibn_a",
    "resnet34_ibn_a",
    "resnet50_ibn_a",
    "resnet101_ibn_a",
]


class EncoderConfig(BaseModel):
    """What an encoder is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Backbone = "efficientnet_lite0"
    weights: str = Field("imagenet", description="'none', 'imagenet', or a file of weights (safetensors or torch)")
    height: int = Field(128, ge=16, description="image height in pixels")
    width: int = Field(64, ge=16, description="image width in pixels")
    last_stride: Literal[1, 2] = 1
    width_multiplier: float = Field(1.0, gt=0, le=4, description="factor on the channels of a backbone")
    pooling: Literal["avg", "max", "gem"] = "gem"
    embedding_dim: int | None = Field(None, ge=1, description="size of a linear layer after pooling; none if null")
    neck: bool = Field(True, description="batch norm before normalising (BN neck, bias frozen at 0)")
    freeze_norms: bool = Field(False, description="keep the backbone's batch-norm statistics as they were loaded")


@dataclass
class Features:
    """What an encoder says of a batch.

    Attributes:
        embedding: ``(B, D)`` L2-normalised: what is clustered, searched and compared.
        neck: ``(B, D)`` before normalising.
        map: ``(B, C, h, w)`` the last feature map.
        parts: ``(B, P, D)`` part embeddings, where the head has parts.
    """

    embedding: Tensor
    neck: Tensor
    map: Tensor
    parts: Tensor | None = None


def build_backbone(config: EncoderConfig) -> ResNet | EfficientNetLite0:
    """The backbone alone, with random weights."""
    if config.backbone == "efficientnet_lite0":
        return EfficientNetLite0(config.last_stride, config.width_multiplier)
    name, _, ibn = config.backbone.removeprefix("resnet").partition("_")
    return ResNet(int(name), config.last_stride, config.width_multiplier, ibn=bool(ibn))


class Encoder(nn.Module):
    """Backbone → pooling → optional linear layer → BN neck → L2 norm.

    Args:
        config: What to build.
        load_weights: Whether to fetch ``config.weights``; not when a trained state is about to be loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EncoderConfig, *, load_weights: bool = True) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        if load_weights:
            load_backbone_weights(self.backbone, config.backbone, config.weights)
        self.pooling = POOLING[config.pooling]()
        self.dim = config.embedding_dim or self.backbone.channels
        self.projection = (
            nn.Linear(self.backbone.channels, config.embedding_dim) if config.embedding_dim else nn.Identity()
        )
        self.neck = nn.BatchNorm1d(self.dim) if config.neck else nn.Identity()
        if isinstance(self.neck, nn.BatchNorm1d):
            self.neck.bias.requires_grad_(False)
        for name, values in (("mean", self.backbone.mean), ("std", self.backbone.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train()

    def train(self, mode: bool = True) -> Encoder:
        """Training or evaluation mode; with ``freeze_norms`` the backbone's batch norms stay in evaluation mode."""
        super().train(mode)
        if self.config.freeze_norms:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalised float images of uint8 RGB images ``(B, 3, H, W)``."""
        images = (images.float() / 255 - self.mean) / self.std
        return images.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Features:
        """Features of normalised images ``(B, 3, H, W)``; the head runs in float32 even under autocast."""
        feature_map = self.backbone(images)
        with torch.autocast(images.device.type, enabled=False):
            neck = self.neck(self.projection(self.pooling(feature_map)))
            return Features(F.normalize(neck), neck, feature_map)
