"""An encoder: images in, features out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import AliasChoices, ConfigDict, Field, model_validator
from torch import Tensor, nn

from resight.common.processes import Processes
from resight.common.settings import Settings
from resight.encoders.attention import SpatialAttention, VoxelAttention, activation_map
from resight.encoders.efficientnet import EfficientNetLite0
from resight.encoders.norms import SharedBatch, group_batch_norms, share_batch_norms
from resight.encoders.pooling import POOLING, stripes
from resight.encoders.resnet import ResNet, matching_width, stage_widths
from resight.encoders.weights import is_whole, load_backbone_weights, load_whole, read_state, split_extension
from resight.errors import ResightError

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


class EncoderConfig(Settings):
    """What an encoder is made of."""

    model_config = ConfigDict(populate_by_name=True)

    backbone: Backbone = Field("efficientnet_lite0", description="network that turns images into feature maps")
    weights: str = Field(
        "imagenet",
        min_length=1,
        description="first weights: 'none' (random), 'imagenet', a safetensors or torch file, or a run folder",
    )
    init_from: Literal["encoder", "backbone"] = Field(
        "encoder",
        validation_alias=AliasChoices("init_from", "start"),
        description="what a run's weights give: the whole encoder, which must be built alike, or its backbone alone",
    )
    height: int = Field(128, ge=16, le=4096, description="image height in pixels")
    width: int = Field(64, ge=16, le=4096, description="image width in pixels")
    standardise: Literal["imagenet", "crops"] = Field(
        "imagenet",
        description="mean and deviation of each colour channel that pixels are standardised by: those of ImageNet, or "
        "those of the crops trained on (and of a source, for its crops)",
    )
    last_stride: Literal[1, 2] = Field(1, description="stride of the last stage; 1 doubles the size of the feature map")
    last_relu: bool = Field(
        True,
        description="whether the backbone ends in a ReLU; false gives embeddings of both signs (pooling=avg or max)",
    )
    width_multiplier: float = Field(1.0, gt=0, le=4, description="factor on the channels of the backbone")
    attention: Literal["none", "cbam", "voxel"] = Field(
        "none",
        description="cbam: channel and spatial attention in each block of a ResNet (GAM: cbam with groups=4); voxel: "
        "ADTC's voxel attention behind any backbone",
    )
    voxel_units: int = Field(
        800, ge=1, le=100_000, description="d: hidden units of the channel part of voxel attention"
    )
    voxel_rescale: bool = Field(
        True, description="multiply the softmax of voxel attention by the number of positions, so that its mean is 1"
    )
    groups: Literal[1, 2, 4, 8, 16] = Field(
        1, description="filter groups of the convolutions in the blocks of a ResNet (GAM: groups=4, attention=cbam)"
    )
    match_groups: Literal[2, 4, 8, 16] | None = Field(
        None,
        description="narrow an ungrouped ResNet to the parameters it would have with this many groups (A-CBAM: 4)",
    )
    pooling: Literal["avg", "max", "gem"] = Field("gem", description="average, maximum or generalised mean (GeM)")
    embedding_dim: int | None = Field(
        None, ge=1, le=100_000, description="size of a linear layer after pooling; null: no such layer"
    )
    neck: bool = Field(True, description="batch norm before normalising (BN neck, its bias fixed at 0)")
    parts: int = Field(0, ge=0, description="horizontal stripes of the feature map that get embeddings of their own")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the embedding that is dropped in training")
    freeze_norms: bool = Field(False, description="keep the batch-norm statistics of the backbone as loaded")
    norm_groups: int = Field(
        1,
        ge=1,
        description="groups of a training batch that the batch norms normalise apart, as where a paper spreads a batch "
        "over this many GPUs",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> EncoderConfig:
        """Refuses settings that exclude each other; not a ValueError, which would lose the sentence."""
        if self.pooling == "gem" and not self.last_relu:
            raise ResightError(
                "encoder.last_relu=false keeps what is below 0, and encoder.pooling=gem raises it to 0 all the same: "
                "set encoder.pooling=avg."
            )
        # each halving of EfficientNet rounds down, of a ResNet up
        stride = 16 * self.last_stride
        rows = self.height // stride if self.backbone == "efficientnet_lite0" else -(-self.height // stride)
        if self.parts > rows:
            raise ResightError(
                f"encoder.parts={self.parts} is more than the {rows} rows of the last feature map, with encoder.height="
                f"{self.height} and encoder.last_stride={self.last_stride}: lower encoder.parts, raise encoder.height"
                f"{', or set encoder.last_stride=1' if self.last_stride == 2 else ''}."
            )
        if self.backbone == "efficientnet_lite0":
            for name, usable in (("attention", ("none", "voxel")), ("groups", (1,)), ("match_groups", (None,))):
                if (value := getattr(self, name)) not in usable:
                    raise ResightError(
                        f"encoder.{name}={value} needs a ResNet, and encoder.backbone is efficientnet_lite0: choose "
                        f"a backbone such as resnet50, or leave {name} out."
                    )
            return self
        if self.match_groups is not None and self.groups != 1:
            raise ResightError(
                f"encoder.match_groups={self.match_groups} makes a network without groups, and encoder.groups="
                f"{self.groups} asks for them: leave one of the two out."
            )
        stage_widths(self.width_multiplier, groups=self.groups, setting="encoder.groups")
        stage_widths(self.width_multiplier, groups=self.match_groups or 1, setting="encoder.match_groups")
        return self


@dataclass
class Features:
    """What an encoder computes of a batch of B images.

    Attributes:
        embedding: ``(B, D)`` L2-normalised embeddings, which are clustered, searched and compared. In training with
            dropout.
        pre_norm: ``(B, D)`` the features before normalising (behind the BN neck, if there is one).
        map: ``(B, C, h, w)`` the feature map that is pooled (behind voxel attention, if there is some). ``None`` where
            the features are those of several processes, which do not exchange it.
        parts: ``(B, P, D)`` L2-normalised embeddings of the P horizontal stripes from top to bottom, if there are any.
        part_pre_norms: ``(B, P, D)`` the features of the stripes before normalising.
        pooled: ``(B, C)`` what pooling gives, before the linear layer and the BN neck.
    """

    embedding: Tensor
    pre_norm: Tensor
    map: Tensor | None
    parts: Tensor | None = None
    part_pre_norms: Tensor | None = None
    pooled: Tensor | None = None

    def feature(self, name: Literal["pooled", "pre_norm", "embedding"]) -> Tensor:
        """One feature of each image, by name: ``(B, C)`` or ``(B, D)``."""
        found: Tensor = getattr(self, name)
        return found

    def split(self, sizes: Sequence[int]) -> list[Features]:
        """The features of consecutive groups of images, of these sizes."""
        if len(sizes) == 1:
            return [self]
        pieces = {name: value.split(list(sizes)) for name, value in vars(self).items() if value is not None}
        every = ({name: piece[n] for name, piece in pieces.items()} for n in range(len(sizes)))
        return [Features(**{"map": None} | values) for values in every]

    def gathered(self, processes: Processes, counts: Sequence[int]) -> Features:
        """The features of the images of all processes, those of the first process first.

        Args:
            processes: The processes.
            counts: Images of each process. These features may be of more images than the process has.
        """
        named = {name: value for name, value in vars(self).items() if value is not None and name != "map"}
        own = torch.cat([value.flatten(1) for value in named.values()], dim=1)[: counts[processes.rank]]
        every = processes.gather(own, counts)
        widths = [value[0].numel() for value in named.values()]
        pieces = zip(named, every.split(widths, dim=1), strict=True)
        return Features(**{"map": None} | {name: piece.unflatten(1, named[name].shape[1:]) for name, piece in pieces})


def build_backbone(config: EncoderConfig) -> ResNet | EfficientNetLite0:
    """The backbone alone, with random weights."""
    if config.backbone == "efficientnet_lite0":
        return EfficientNetLite0(config.last_stride, config.width_multiplier, config.last_relu)
    name, _, ibn = config.backbone.removeprefix("resnet").partition("_")
    attention, multiplier, step = config.attention == "cbam", config.width_multiplier, 8
    if config.match_groups is not None:
        multiplier, step = matching_width(int(name), config.last_stride, multiplier, attention, config.match_groups)
    return ResNet(
        int(name),
        config.last_stride,
        multiplier,
        ibn=bool(ibn),
        groups=config.groups,
        attention=attention,
        width_step=step,
        last_relu=config.last_relu,
    )


class Encoder(nn.Module):
    """Backbone → optional voxel attention → pooling → optional linear layer → BN neck → L2 norm.

    With ``config.parts``, horizontal stripes of the feature map go through the same pooling and linear layer as the
    whole map; each stripe has a BN neck of its own (Cho et al. 2022, https://arxiv.org/abs/2203.14675). The embedding
    stays that of the whole map.

    Args:
        config: What to build.
        weights: Replaces ``config.weights``. With ``none`` nothing is loaded: for a state that is loaded later.

    Attributes:
        mean: ``(1, 3, 1, 1)`` mean of each colour channel that :meth:`preprocess` subtracts, in [0, 1].
        std: ``(1, 3, 1, 1)`` deviation of each colour channel that it divides by.
        extension: What the file of the first weights holds of its run's method, by name; empty if nothing.
        shared: The training batch, where several processes share it; see :meth:`share_batches`.

    Raises:
        ResightError: there are no such weights, or they belong to another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EncoderConfig, *, weights: str | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        self.attention = (
            VoxelAttention(self.backbone.channels, config.voxel_units, config.voxel_rescale)
            if config.attention == "voxel"
            else nn.Identity()
        )
        self.pooling = POOLING[config.pooling]()
        self.dim = config.embedding_dim or self.backbone.channels
        self.projection = (
            nn.Linear(self.backbone.channels, config.embedding_dim) if config.embedding_dim else nn.Identity()
        )
        self.neck = self._make_neck()
        self.part_necks = nn.ModuleList(self._make_neck() for _ in range(config.parts))
        if config.norm_groups > 1:
            group_batch_norms(self, config.norm_groups)
        for name, values in (("mean", self.backbone.mean), ("std", self.backbone.std)):
            own = config.standardise == "crops"  # part of the model only if they are no constants
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=own)
        self.extension: dict[str, Tensor] = {}
        self.shared: SharedBatch | None = None
        self._load_weights(config.weights if weights is None else weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train()

    def _load_weights(self, weights: str) -> None:
        config = self.config
        state = None if weights in ("none", "imagenet") else read_state(weights)
        if state is not None:
            _, self.extension = split_extension(state)
        if state is not None and config.init_from == "encoder" and is_whole(state):
            load_whole(self, state, weights)
        else:
            load_backbone_weights(self.backbone, config.backbone, weights, state)

    def _make_neck(self) -> nn.Module:
        if not self.config.neck:
            return nn.Identity()
        neck = nn.BatchNorm1d(self.dim)
        neck.bias.requires_grad_(False)
        return neck

    def share_batches(self, processes: Processes) -> SharedBatch:
        """From now on a batch in training mode is this process's share of a batch, whose statistics the norms use.

        Returns:
            The batch, whose number of rows is set before each pass.
        """
        self.shared = SharedBatch(processes)
        share_batch_norms(self, self.shared, leave=self.backbone if self.config.freeze_norms else None)
        return self.shared

    def train(self, mode: bool = True) -> Encoder:
        """Training or evaluation mode; with ``freeze_norms`` the backbone's batch norms stay in evaluation mode."""
        super().train(mode)
        if self.config.freeze_norms:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def preprocess(self, images: Tensor, statistics: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Normalised float images of uint8 RGB images ``(B, 3, H, W)``.

        Args:
            images: The images.
            statistics: Mean and deviation to use for them in place of :attr:`mean` and :attr:`std`.
        """
        mean, std = statistics or (self.mean, self.std)
        images = (images.float() / 255 - mean) / std
        return images.contiguous(memory_format=torch.channels_last)

    def standardise_by(self, statistics: tuple[Tensor, Tensor]) -> None:
        """Makes a set's mean and deviation those of :meth:`preprocess`."""
        for own, value in zip((self.mean, self.std), statistics, strict=True):
            own.copy_(value)

    def forward(self, images: Tensor) -> Features:
        """Features of normalised images ``(B, 3, H, W)``; the head runs in float32 even under autocast."""
        feature_map = self.backbone(images)
        with torch.autocast(images.device.type, enabled=False):
            feature_map = self.attention(feature_map)
            pooled = self.pooling(feature_map)
            pre_norm = self.neck(self.projection(pooled))
            features = Features(self._embedding(pre_norm), pre_norm, feature_map, pooled=pooled)
            if len(self.part_necks):
                pooled_parts = [self.pooling(stripe) for stripe in stripes(feature_map, len(self.part_necks))]
                features.part_pre_norms = torch.stack(
                    [own(self.projection(part)) for own, part in zip(self.part_necks, pooled_parts, strict=True)], dim=1
                )
                features.parts = self._embedding(features.part_pre_norms)
            return features

    def _embedding(self, pre_norm: Tensor) -> Tensor:
        """``(…, D)`` L2-normalised; in training with dropout."""
        unit = F.normalize(pre_norm, dim=-1)
        if not (self.training and self.config.dropout):
            return unit
        if self.shared is not None:
            return self.shared.dropout(unit, self.config.dropout)
        return F.dropout(unit, self.config.dropout)

    @torch.no_grad()
    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """What the encoder looks at, in evaluation mode; the mode it was in is restored.

        Args:
            images: ``(B, 3, H, W)`` normalised, as for :meth:`forward`.

        Returns:
            Float32 maps ``(B, h, w)`` in [0, 1]: ``activation``, that of the map that is pooled (see
            :func:`~resight.encoders.attention.activation_map`), then the spatial attention A_s of each block that has
            one, from first to last, under the block's name, such as ``layer4.2``, then S of voxel attention as
            ``voxel``, which sums to 1.
        """
        found: dict[str, Tensor] = {}

        def keep(block: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                found[block] = output[:, 0].float()

            return hook

        hooks = [
            module.register_forward_hook(keep(name.removesuffix(".attention.spatial")))
            for name, module in self.backbone.named_modules()
            if isinstance(module, SpatialAttention)
        ]
        was_training = self.training
        self.eval()
        try:
            feature_map = self.backbone(images)
            if isinstance(self.attention, VoxelAttention):
                found["voxel"] = self.attention.spatial(feature_map)[:, 0]
            with torch.autocast(images.device.type, enabled=False):
                return {"activation": activation_map(self.attention(feature_map))} | found
        finally:
            self.train(was_training)
            for handle in hooks:
                handle.remove()
