"""Cluster Contrast: one proxy a cluster, moved crop by crop (Dai et al. 2021, https://arxiv.org/abs/2103.11568)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder, Features
from resight.losses import camera_contrast, cluster_contrast
from resight.methods.base import Batch, Method, MethodOptions
from resight.proxies import CameraProxies, ClusterMemory


class ClusterContrastOptions(MethodOptions):
    """Constants of Cluster Contrast, and of the inter-camera term that may be added to it."""

    name: Literal["cluster_contrast"] = "cluster_contrast"
    temperature: float = Field(0.05, gt=0, description="τ")
    momentum: float = Field(0.1, ge=0, le=1, description="m: share of the old proxy kept in an update")
    update: Literal["each", "hard", "mean"] = Field("each", description="which crops move their proxy")
    camera_weight: float = Field(0.0, ge=0, description="weight of the inter-camera contrastive loss")
    camera_temperature: float = Field(0.07, gt=0, description="τ of that loss")
    camera_negatives: int = Field(50, ge=1, description="nearest proxies of other clusters in that loss")


class ClusterContrast(Method):
    """Cluster, contrast each crop with the cluster proxies, move the proxies, repeat."""

    name = "cluster_contrast"
    summary = "one proxy a cluster, contrasted and moved by momentum (Dai et al. 2021)"
    Options = ClusterContrastOptions
    options: ClusterContrastOptions

    def __init__(self, options: ClusterContrastOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.memory = ClusterMemory(options.momentum, options.update)
        self.camera_proxies = CameraProxies()

    @property
    def camera_use(self) -> tuple[str, ...]:
        return super().camera_use + (("method.camera_weight",) if self.options.camera_weight else ())

    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        self.memory.reset(features, labels)
        if self.options.camera_weight and camera is not None:
            self.camera_proxies.reset(features, labels, camera)

    def loss(self, batch: Batch, features: Features) -> dict[str, Tensor]:
        options, proxies = self.options, self.camera_proxies
        terms = {
            "contrast": cluster_contrast(features.embedding, self.memory.centroids, batch.labels, options.temperature)
        }
        if options.camera_weight and batch.camera is not None:
            terms["camera"] = options.camera_weight * camera_contrast(
                features.embedding,
                batch.labels,
                batch.camera,
                proxies.proxies,
                proxies.cluster,
                proxies.camera,
                temperature=options.camera_temperature,
                negatives=options.camera_negatives,
            )
        return terms

    def after_step(self, batch: Batch, features: Features) -> None:
        self.memory.update(features.embedding, batch.labels)
