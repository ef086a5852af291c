"""Cluster Contrast: one proxy per cluster, moved crop by crop (Dai et al. 2021, https://arxiv.org/abs/2103.11568)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder
from resight.losses import CameraForm, camera_contrast, cluster_contrast
from resight.methods.base import Batch, EpochData, Method, MethodOptions, Needs
from resight.proxies import CameraProxies, ClusterMemory


class ClusterContrastOptions(MethodOptions):
    """Constants of Cluster Contrast, and of the inter-camera loss that can be added to it."""

    name: Literal["cluster_contrast"] = "cluster_contrast"
    temperature: float = Field(0.05, gt=0, description="temperature τ of the softmax over proxies")
    momentum: float = Field(0.1, ge=0, le=1, description="m: share of the old proxy that an update keeps")
    update: Literal["each", "hard", "mean"] = Field(
        "each", description="which crops of a batch move their proxy: each in turn, the least similar, or their mean"
    )
    camera_weight: float = Field(0.0, ge=0, description="weight of the inter-camera contrastive loss (uses cameras)")
    camera_temperature: float = Field(0.07, gt=0, description="temperature τ of the inter-camera loss")
    camera_negatives: int = Field(
        50, ge=1, description="negatives in the inter-camera loss: the nearest proxies of other clusters"
    )
    camera_form: CameraForm = Field(
        "separate",
        description="softmax of the inter-camera loss: over all positives and the negatives (joint, as published), or "
        "over each positive and the negatives (separate)",
    )


class ClusterContrast(Method[ClusterContrastOptions]):
    """Cluster, contrast each crop with the cluster proxies, move the proxies, repeat."""

    name = "cluster_contrast"
    summary = "one proxy per cluster, contrasted and moved by momentum (Dai et al. 2021)"
    Options = ClusterContrastOptions
    cameras_worth = (
        "on Market-1501 it reached 64.1 % mAP in 40 epochs, the recipe default 29.3 % in 12 (docs/results.md)"
    )

    def __init__(self, options: ClusterContrastOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.memory = ClusterMemory(options.momentum, options.update)
        self.camera_proxies = CameraProxies()

    @classmethod
    def needs(cls, options: ClusterContrastOptions) -> Needs:
        return Needs(cameras=("method.camera_weight",) if options.camera_weight else ())

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        features, camera = data.on_device(data.features), data.camera
        self.memory.reset(features, labels)
        if self.options.camera_weight and camera is not None:
            self.camera_proxies.reset(features, labels, camera)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, proxies, embedding = self.options, self.camera_proxies, batch.features.embedding
        terms = {"contrast": cluster_contrast(embedding, self.memory.centroids, batch.labels, options.temperature)}
        if options.camera_weight and batch.camera is not None:
            terms["camera"] = options.camera_weight * camera_contrast(
                embedding,
                batch.labels,
                batch.camera,
                proxies.proxies,
                proxies.cluster,
                proxies.camera,
                temperature=options.camera_temperature,
                negatives=options.camera_negatives,
                form=options.camera_form,
            )
        return terms

    def after_step(self, batch: Batch) -> None:
        self.memory.update(batch.features.embedding, batch.labels)
