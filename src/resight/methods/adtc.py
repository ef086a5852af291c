"""Attention-driven two-stage clustering, ADTC (Ji et al., ECCV 2020).

Training goes by rounds: all crops are clustered by k-means, each centroid keeps the crops that are surely its own, and
some epochs of batch-hard triplets follow on these labels. It starts from a model of a labelled source:
``encoder.weights=RUN`` takes over the whole encoder of a run of ``supervised``. The paper's voxel attention is a matter
of the encoder: ``encoder.attention=voxel``.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from resight.clustering import PseudoLabels, label_agreement, two_stage
from resight.clustering.config import ClusteringConfig
from resight.clustering.two_stage import Contested, Unwanted
from resight.crops import CropTable
from resight.encoders import Encoder, Features
from resight.losses import batch_hard_triplet
from resight.methods.base import Batch, Method, MethodOptions
from resight.proxies.state import register_state


class AdtcOptions(MethodOptions):
    """Constants of the clustering, of the rounds and of the loss."""

    name: Literal["adtc"] = "adtc"
    clusters: int | None = Field(None, ge=2, description="M: centroids of k-means; null: by crops_per_cluster")
    crops_per_cluster: float = Field(13, ge=1, description="where M is null: a centroid for so many crops")
    components: int = Field(50, ge=1, description="principal components that are clustered")
    second_stage: bool = Field(True, description="whether centroids keep their nearest crops only; else k-means alone")
    nearest: int = Field(20, ge=1, description="p: crops that a centroid keeps, by the k-reciprocal Jaccard distance")
    contested: Contested = Field("nearest", description="a crop that several centroids keep: to the nearest, or out")
    unwanted: Unwanted = Field("out", description="a crop that none keeps: out, or to its cluster by k-means")
    round_epochs: int = Field(
        10, ge=1, description="E: epochs on the same labels; the learning rate's schedule is E long"
    )
    settled: float | None = Field(
        0.98, ge=0, le=1, description="the last round is the first whose labels have a larger ARI with those before"
    )
    margin: float | None = Field(0.3, gt=0, description="of the triplets; null is the soft margin")

    def identity_settings(self, crops: int | None) -> dict[str, Any]:
        names = ("components", "second_stage", "nearest", "contested", "unwanted")
        each = crops / self.clusters if self.clusters and crops else self.crops_per_cluster
        return {name: getattr(self, name) for name in names} | {"crops_per_cluster": max(1.0, each)}


class Adtc(Method):
    """Cluster in two stages, train on triplets of the labels for a round, repeat until the labels settle."""

    name = "adtc"
    summary = "from a labelled source: k-means, its surest crops, triplets, round by round (Ji et al. 2020)"
    Options = AdtcOptions
    clustering_algorithm = "two_stage"
    options: AdtcOptions
    assignment: Tensor
    has_settled: Tensor

    def __init__(self, options: AdtcOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        register_state(self, "assignment", torch.empty(0, dtype=torch.int64))
        self.register_buffer("has_settled", torch.tensor(False))

    @property
    def round_epochs(self) -> int:
        return self.options.round_epochs

    def needs_features(self, epoch: int) -> bool:
        """When a round begins."""
        return epoch % self.options.round_epochs == 0

    def finished(self, epoch: int) -> bool:
        """After the round whose labels were about those of the round before."""
        return self.needs_features(epoch) and bool(self.has_settled)

    def label(self, features: np.ndarray, table: CropTable, epoch: int) -> PseudoLabels:
        """Clusters when a round begins; within it the labels stay."""
        options, clustering = self.options, self.clustering
        facts: dict[str, float] = {"round": epoch // options.round_epochs + 1}
        before = self.assignment.cpu().numpy()
        if not self.needs_features(epoch):
            return PseudoLabels(before, facts)
        found = two_stage(
            features,
            options.clusters or max(2, math.ceil(len(table) / options.crops_per_cluster)),
            keep=options.nearest if options.second_stage else None,
            components=options.components,
            k1=clustering.k1,
            k2=clustering.k2,
            contested=options.contested,
            unwanted=options.unwanted,
            seed=int(torch.randint(2**31 - 1, ())),
            camera=table.camera,
            centre_cameras=clustering.centre_cameras,
            search=clustering.search,
            recall=clustering.recall,
            device=self.device,
        )
        if epoch:
            facts["round_ari"] = label_agreement(found, before)
            self.has_settled.fill_(options.settled is not None and facts["round_ari"] > options.settled)
        self.assignment = torch.from_numpy(found.labels)
        return PseudoLabels(found.labels, {**facts, **found.facts})

    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        """Nothing to prepare."""

    def loss(self, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"triplet": batch_hard_triplet(features.embedding, batch.labels, self.options.margin)}
