"""Discrepant and multi-instance proxies, DCMIP (Zou et al., ICCV 2023).

Every cluster has two proxies that start alike and come to differ by how they are moved; later also many instance
proxies, features of single crops by a momentum encoder, of which the hardest of the whole memory are contrasted. The
momentum encoder is the run's averaged encoder (``ema``): ``ema.restart`` begins each epoch with a copy of the encoder,
``ema.keep`` makes it the model.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder, Features
from resight.losses import DiscrepantForm, Hardness, Mining, discrepant_contrast, multi_instance_contrast
from resight.methods.base import Batch, Method, MethodOptions
from resight.proxies import ClusterMemory, InstanceMemory


class DcmipOptions(MethodOptions):
    """Constants of the two kinds of proxies and of their losses."""

    name: Literal["dcmip"] = "dcmip"
    temperature: float = Field(0.05, gt=0, description="τ of both losses")
    momentum: float = Field(0.1, ge=0, le=1, description="share of the old cluster proxy kept in an update")
    discrepant_update: Literal["hard", "each"] = Field(
        "hard", description="which crops move the discrepant proxy: the least similar to it, or each in turn"
    )
    cluster_form: DiscrepantForm = Field(
        "hardest", description="of the cluster loss: the harder proxy of each cluster, or the sum over both kinds"
    )
    cluster_margin: float = Field(0.2, ge=0, description="of cluster_form=sum, on the mean proxies' loss")
    cluster_weight: float = Field(
        0.5, ge=0, le=1, description="λ: weight of the cluster loss beside the instance loss, which has 1 − λ"
    )
    first_epochs: int | None = Field(
        20, ge=0, description="E_ins: epochs without instance proxies, by the cluster loss alone; null: all of them"
    )
    instances: int = Field(16, ge=1, description="K: instance proxies a cluster")
    instance_encoder: Literal["average", "encoder"] = Field(
        "average", description="whose features the instance proxies are: the averaged encoder's or the trained one's"
    )
    negatives: int = Field(50, ge=1, description="N: instance proxies of other clusters in a crop's loss")
    mining: Mining = Field("global", description="the N hardest of all others together, or one of each other cluster")
    hardness: Hardness = Field("hardest", description="of the instance proxies that count, as positive and negative")


class Dcmip(Method):
    """Cluster, contrast with two proxies a cluster and then also with mined instance proxies, move them, repeat.

    All proxies move after each step, as section C of the supplement has it; its algorithm 1 could also be read as once
    an epoch.
    """

    name = "dcmip"
    summary = "two discrepant proxies a cluster, then mined instance proxies of a momentum encoder (Zou et al. 2023)"
    Options = DcmipOptions
    options: DcmipOptions

    def __init__(self, options: DcmipOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.mean = ClusterMemory(options.momentum, "mean")
        self.discrepant = ClusterMemory(options.momentum, options.discrepant_update)
        self.instances = InstanceMemory(options.instances)

    def contrasts_instances(self, epoch: int) -> bool:
        """Whether an epoch, from 0, has the instance loss."""
        first = self.options.first_epochs
        return first is not None and epoch >= first and self.options.cluster_weight < 1

    def uses_average(self, epoch: int) -> bool:
        """Where instance proxies are its features."""
        return self.options.instance_encoder == "average" and self.contrasts_instances(epoch)

    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        """Both cluster proxies are the cluster's centroid; instance proxies are features of crops drawn from it."""
        self.mean.reset(features, labels)
        self.discrepant.reset(features, labels)
        self.instances.reset(features, labels)

    def loss(self, batch: Batch, features: Features) -> dict[str, Tensor]:
        options, terms = self.options, {}
        instances = self.contrasts_instances(batch.epoch)
        weight = options.cluster_weight if instances else 1.0
        if weight:
            terms["cluster"] = weight * discrepant_contrast(
                features.embedding,
                self.mean.centroids,
                self.discrepant.centroids,
                batch.labels,
                options.temperature,
                options.cluster_form,
                options.cluster_margin,
            )
        if instances:
            terms["instance"] = (1 - weight) * multi_instance_contrast(
                features.embedding,
                self.instances.proxies,
                batch.labels,
                temperature=options.temperature,
                negatives=options.negatives,
                mining=options.mining,
                hardness=options.hardness,
            )
        return terms

    def after_step(self, batch: Batch, features: Features) -> None:
        self.mean.update(features.embedding, batch.labels)
        self.discrepant.update(features.embedding, batch.labels)
        if self.contrasts_instances(batch.epoch):
            source = batch.averaged if self.uses_average(batch.epoch) else features
            assert source is not None
            self.instances.update(source.embedding, batch.labels)
