"""Cluster Contrast: one proxy per cluster, moved crop by crop (Dai et al. 2021, https://arxiv.org/abs/2103.11568)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor

from resight.clustering import PseudoLabels
from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.losses import (
    CameraForm,
    camera_contrast,
    cluster_contrast,
    intra_camera_contrast,
    neighbour_refinement,
    offline_association,
    online_association,
)
from resight.methods.base import Batch, EpochData, Method, MethodOptions, Needs
from resight.proxies import CameraProxies, ClusterMemory


class ClusterContrastOptions(MethodOptions):
    """Constants of Cluster Contrast, and of the losses that can be added to it.

    The inter-camera loss is PPLR's, the losses of proxy association are those of O2CAP (Wang et al. 2022, arXiv
    2201.05820), the refined labels those of NCPLR.
    """

    name: Literal["cluster_contrast"] = "cluster_contrast"
    temperature: float = Field(0.05, gt=0, description="temperature τ of the softmax over proxies")
    momentum: float = Field(0.1, ge=0, le=1, description="m: share of the old proxy that an update keeps")
    update: Literal["each", "hard", "mean"] = Field(
        "each", description="which crops of a batch move their proxy: each in turn, the least similar, or their mean"
    )
    contrast_weight: float = Field(1.0, ge=0, description="weight of the cluster contrast; 0 leaves it out")
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
    offline_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the offline association: proxies of the crop's cluster in all cameras (uses cameras)",
    )
    online_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the online association: the nearest proxies of other cameras, whatever their cluster "
        "(uses cameras)",
    )
    intra_weight: float = Field(
        0.0, ge=0, description="weight of the contrast among the proxies of the crop's camera (uses cameras)"
    )
    proxy_temperature: float = Field(
        0.05, gt=0, description="temperature τ of these three losses (O2CAP: 0.05, its public command 0.07)"
    )
    proxy_negatives: int = Field(50, ge=1, description="negatives in the offline and the online association (O2CAP)")
    proxy_momentum: float = Field(
        0.2, ge=0, le=1, description="share of the old (cluster, camera) proxy that each crop's update keeps (O2CAP)"
    )
    online_mix: float = Field(
        0.15,
        ge=0,
        le=1,
        description="weight of the crop's own similarity in the choice of the online positives; the rest is its "
        "proxy's (O2CAP)",
    )
    online_positives: int = Field(
        3, ge=1, description="positives of the online association, each of another camera (O2CAP)"
    )
    neighbour_weight: float = Field(
        0.0, ge=0, description="weight of the cross-entropy with labels refined by the neighbours in the batch"
    )
    neighbour_alpha: float = Field(
        0.1, ge=0, le=1, description="share of a crop's own label in its refined label (NCPLR's public code)"
    )
    neighbour_reach: float = Field(
        0.2, gt=0, le=1, description="Jaccard distance below which a crop is a neighbour (NCPLR's public code)"
    )
    neighbour_temperature: float = Field(
        0.05, gt=0, description="temperature of the neighbours' weights (NCPLR's public code)"
    )

    @property
    def uses_proxies(self) -> bool:
        """Whether a loss uses the moving (cluster, camera) proxies."""
        return bool(self.offline_weight or self.online_weight or self.intra_weight)


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
        weights = ("contrast_weight", "camera_weight", "offline_weight", "online_weight", "intra_weight")
        if not any(getattr(options, name) for name in (*weights, "neighbour_weight")):
            raise ResightError("All losses are left out: set method.contrast_weight=1, for example.")
        self.memory = ClusterMemory(options.momentum, options.update)
        self.camera_proxies = CameraProxies()
        self.moving_proxies = CameraProxies()
        # Jaccard distances of what was clustered in this epoch, and the row of each crop (None: its own number). They
        # are computed again in each epoch, so they are not part of a checkpoint.
        self.distances: sp.csr_matrix | None = None
        self.rows: np.ndarray | None = None

    @classmethod
    def needs(cls, options: ClusterContrastOptions) -> Needs:
        names = ("camera_weight", "offline_weight", "online_weight", "intra_weight")
        return Needs(cameras=tuple(f"method.{name}" for name in names if getattr(options, name)))

    def label(self, data: EpochData) -> PseudoLabels:
        if not self.options.neighbour_weight:
            return self.cluster(data)
        found = self.cluster(data, keep_within=self.options.neighbour_reach)
        assert found.distances is not None
        self.distances, whole = found.distances, found.distances.shape[0] == len(found)
        self.rows = None if whole or data.tracks is None else data.tracks.of_crop
        return found

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        features, camera = data.on_device(data.features), data.camera
        self.memory.reset(features, labels)
        if camera is not None:
            if self.options.camera_weight:
                self.camera_proxies.reset(features, labels, camera)
            if self.options.uses_proxies:
                self.moving_proxies.reset(features, labels, camera)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, embedding, terms = self.options, batch.features.embedding, {}
        if options.contrast_weight:
            terms["contrast"] = options.contrast_weight * cluster_contrast(
                embedding, self.memory.centroids, batch.labels, options.temperature
            )
        if options.camera_weight and batch.camera is not None:
            proxies = self.camera_proxies
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
        if options.uses_proxies and batch.camera is not None:
            terms |= self._associations(embedding, batch.labels, batch.camera, self.moving_proxies.own[batch.indices])
        if options.neighbour_weight and self.distances is not None:
            terms["neighbours"] = options.neighbour_weight * neighbour_refinement(
                embedding @ self.memory.centroids.T / options.temperature,
                batch.labels,
                distances_among(self.distances, batch.indices, self.rows),
                alpha=options.neighbour_alpha,
                reach=options.neighbour_reach,
                temperature=options.neighbour_temperature,
            )
        return terms

    def _associations(self, embedding: Tensor, labels: Tensor, camera: Tensor, own: Tensor) -> dict[str, Tensor]:
        """The losses of proxy association that have a weight."""
        options, proxies, terms = self.options, self.moving_proxies, {}
        if options.offline_weight:
            terms["offline"] = options.offline_weight * offline_association(
                embedding,
                labels,
                camera,
                proxies.proxies,
                proxies.cluster,
                temperature=options.proxy_temperature,
                negatives=options.proxy_negatives,
            )
        if options.online_weight:
            terms["online"] = options.online_weight * online_association(
                embedding,
                own,
                camera,
                proxies.proxies,
                proxies.camera,
                temperature=options.proxy_temperature,
                negatives=options.proxy_negatives,
                positives=options.online_positives,
                mix=options.online_mix,
            )
        if options.intra_weight:
            terms["intra"] = options.intra_weight * intra_camera_contrast(
                embedding, own, camera, proxies.proxies, proxies.camera, temperature=options.proxy_temperature
            )
        return terms

    def after_step(self, batch: Batch) -> None:
        self.memory.update(batch.features.embedding, batch.labels)
        if self.options.uses_proxies and batch.camera is not None:
            proxies = self.moving_proxies
            proxies.update(batch.features.embedding, proxies.own[batch.indices], self.options.proxy_momentum)


def distances_among(distances: sp.csr_matrix, indices: Tensor, rows: np.ndarray | None = None) -> Tensor:
    """The distances among the crops of a batch.

    Args:
        distances: ``(N, N)`` sparse distances, zeros stored; pairs that are not stored are infinitely far apart.
        indices: ``(B,)`` int64 indices of the crops, which may come more than once.
        rows: Row of the matrix of each crop, such as that of its track; ``None``: crop i has row i.

    Returns:
        ``(B, B)`` float32 on the device of the indices; 0 between crops of one row.
    """
    wanted = indices.cpu().numpy()
    crops, place = np.unique(wanted if rows is None else rows[wanted], return_inverse=True)
    part = distances[crops]
    found = np.searchsorted(crops, part.indices).clip(max=len(crops) - 1)
    inside = crops[found] == part.indices
    row = np.repeat(np.arange(len(crops)), np.diff(part.indptr))
    among = np.full((len(crops), len(crops)), np.inf, np.float32)
    among[row[inside], found[inside]] = part.data[inside]
    np.fill_diagonal(among, 0.0)
    place = place.reshape(-1)
    return torch.from_numpy(among[place[:, None], place]).to(indices.device)
