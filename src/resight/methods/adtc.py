"""Attention-driven two-stage clustering, ADTC (Ji et al., ECCV 2020).

Training goes in rounds. A round begins with two-stage clustering: k-means over all crops, of which each cluster keeps
the crops nearest to its centroid. Some epochs of batch-hard triplets on these labels follow. The first weights come
from a model of a labelled source: ``encoder.weights=RUN`` takes over the encoder of a run of ``supervised``. The
paper's voxel attention is part of the encoder: ``encoder.attention=voxel``.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from resight.clustering import NoClusters, PseudoLabels, label_agreement, two_stage
from resight.clustering.config import ClusteringConfig
from resight.clustering.two_stage import Contested, Unwanted
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.losses import batch_hard_triplet
from resight.methods.base import Batch, EpochData, EpochPlan, Method, MethodOptions, Needs
from resight.proxies.state import register_state


class AdtcOptions(MethodOptions):
    """Constants of the clustering, of the rounds and of the loss."""

    name: Literal["adtc"] = "adtc"
    clusters: int | None = Field(None, ge=2, description="M: centroids of k-means; null: by crops_per_cluster")
    crops_per_cluster: float = Field(13, ge=1, description="if clusters is null: one centroid for this many crops")
    components: int = Field(50, ge=1, description="principal components of the features that k-means clusters")
    second_stage: bool = Field(True, description="whether centroids keep only their nearest crops; else k-means alone")
    nearest: int = Field(20, ge=1, description="p: crops that a centroid keeps, by the k-reciprocal Jaccard distance")
    contested: Contested = Field(
        "nearest", description="a crop that several centroids keep: goes to the nearest of them, or out"
    )
    unwanted: Unwanted = Field("out", description="a crop that no centroid keeps: out, or to its k-means cluster")
    round_epochs: int = Field(
        10, ge=1, description="E: epochs in a round, on the same labels; also the length of the learning rate schedule"
    )
    settled: float | None = Field(
        0.98,
        ge=0,
        le=1,
        description="the run ends after the first round whose labels agree with those of the round before by more than "
        "this ARI; null: never",
    )
    margin: float | None = Field(0.3, gt=0, description="margin of the triplet loss; null: the soft margin")
    triplet_feature: Literal["pooled", "pre_norm", "embedding"] = Field(
        "embedding",
        description="feature that the triplet loss compares: before the BN neck (pooled), behind it (pre_norm) or "
        "L2-normalised (embedding); the paper names none",
    )

    def identity_settings(self, crops: int | None) -> dict[str, Any]:
        names = ("components", "second_stage", "nearest", "contested", "unwanted")
        each = crops / self.clusters if self.clusters and crops else self.crops_per_cluster
        return {name: getattr(self, name) for name in names} | {"crops_per_cluster": max(1.0, each)}


class Adtc(Method[AdtcOptions]):
    """Cluster in two stages, train on triplets of the labels for a round, repeat until the labels settle."""

    name = "adtc"
    summary = "from a labelled source: k-means, the surest crops of each cluster, triplets (Ji et al. 2020)"
    Options = AdtcOptions
    clustering_algorithm = "two_stage"
    takes_links = False
    assignment: Tensor
    has_settled: Tensor

    def __init__(self, options: AdtcOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        register_state(self, "assignment", torch.empty(0, dtype=torch.int64))
        self.register_buffer("has_settled", torch.tensor(False))

    @classmethod
    def needs(cls, options: AdtcOptions) -> Needs:
        search = ("clustering.centre_cameras", "clustering.search", "clustering.recall")
        return Needs(settings=(*search, "clustering.k1", "clustering.k2") if options.second_stage else search[:1])

    def plan(self, epoch: int) -> EpochPlan:
        """Features are needed when a round begins. The run ends after the round whose labels settled."""
        begins = epoch % self.options.round_epochs == 0
        return EpochPlan(
            embed=begins, schedule_length=self.options.round_epochs, finished=begins and bool(self.has_settled)
        )

    def label(self, data: EpochData) -> PseudoLabels:
        """Clusters when a round begins; within a round the labels stay."""
        options, clustering, epoch = self.options, self.clustering, data.epoch
        facts: dict[str, float] = {"round": epoch // options.round_epochs + 1}
        before = self.assignment.cpu().numpy()
        if not self.plan(epoch).embed:
            return PseudoLabels(before, facts)
        crops = len(data.table)
        clusters = options.clusters or max(2, math.ceil(crops / options.crops_per_cluster))
        if clusters > crops:
            raise ResightError(
                f"k-means can make at most {crops} clusters of {crops} crops, and {clusters} were asked for: set "
                "method.clusters or method.crops_per_cluster accordingly."
            )
        settings: dict[str, Any] = {
            "keep": options.nearest if options.second_stage else None,
            "components": options.components,
            "k1": clustering.k1,
            "k2": clustering.k2,
            "contested": options.contested,
            "unwanted": options.unwanted,
            "seed": int(torch.randint(2**31 - 1, ())),
            "camera": data.table.camera,
            "centre_cameras": clustering.centre_cameras,
            "search": clustering.search,
            "recall": clustering.recall,
            "device": data.device,
        }
        try:
            found = two_stage(data.features, clusters, **settings)
        except NoClusters as error:
            raise NoClusters(f"{error} The settings are clustering.k1 and method.contested.") from error
        sentences: tuple[str, ...] = ()
        if epoch:
            facts["round_ari"] = label_agreement(found, before)
            self.has_settled.fill_(options.settled is not None and facts["round_ari"] > options.settled)
            sentences = (f"round {facts['round']}: ARI {facts['round_ari']:.3f} with the labels of the round before",)
        self.assignment = torch.from_numpy(found.labels)
        return PseudoLabels(found.labels, {**facts, **found.facts}, sentences=sentences)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features = batch.features.feature(self.options.triplet_feature)
        return {"triplet": batch_hard_triplet(features, batch.labels, self.options.margin)}
