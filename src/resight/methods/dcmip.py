"""Discrepant and multi-instance proxies, DCMIP (Zou et al., ICCV 2023).

Every cluster has two proxies. They start equal and are then moved by different crops. In later epochs it also has
instance proxies: features of single crops, of which the hardest in the whole memory are contrasted. The paper's
momentum encoder is the run's EMA teacher (settings ``ema.*``): ``ema.restart`` makes it a copy of the encoder at the
start of each epoch, ``ema.keep`` makes it the model that is kept.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder
from resight.losses import DiscrepantForm, Hardness, Mining, discrepant_contrast, multi_instance_contrast
from resight.methods.base import Batch, EpochData, EpochPlan, Method, MethodOptions
from resight.proxies import ClusterMemory, InstanceMemory


class DcmipOptions(MethodOptions):
    """Constants of the two kinds of proxies and of their losses."""

    name: Literal["dcmip"] = "dcmip"
    temperature: float = Field(0.05, gt=0, description="temperature τ of both losses")
    momentum: float = Field(0.1, ge=0, le=1, description="share of the old cluster proxy that an update keeps")
    discrepant_update: Literal["hard", "each"] = Field(
        "hard", description="which crops of a batch move the discrepant proxy: the least similar to it, or each in turn"
    )
    cluster_form: DiscrepantForm = Field(
        "hardest",
        description="form of the cluster loss: the harder proxy of each cluster, or a sum over both kinds, with a "
        "margin on the mean proxies (sum) or the discrepant ones (sum_discrepant, as in unofficial code)",
    )
    cluster_margin: float = Field(0.2, ge=0, description="margin in the forms with a sum")
    cluster_weight: float = Field(
        0.5, ge=0, le=1, description="λ: weight of the cluster loss; the instance loss has 1 − λ"
    )
    first_epochs: int | None = Field(
        20, ge=0, description="E_ins: first epochs, with the cluster loss alone; null: all epochs"
    )
    instances: int = Field(16, ge=1, description="K: instance proxies per cluster")
    instance_encoder: Literal["average", "encoder"] = Field(
        "average", description="whose features the instance proxies are: the EMA teacher's ('average') or the encoder's"
    )
    negatives: int = Field(50, ge=1, description="N: negative instance proxies in a crop's loss")
    mining: Mining = Field(
        "global", description="negatives: the N hardest of all other clusters together, or one from each other cluster"
    )
    hardness: Hardness = Field("hardest", description="which instance proxies are the positive and the negatives")


class Dcmip(Method[DcmipOptions]):
    """Cluster, contrast with two proxies per cluster and then also with mined instance proxies, move them, repeat.

    All proxies move after each step, as in section C of the supplement. Its algorithm 1 can also be read as once per
    epoch.
    """

    name = "dcmip"
    summary = "two discrepant proxies per cluster, then mined instance proxies of an EMA teacher (Zou et al. 2023)"
    Options = DcmipOptions

    def __init__(self, options: DcmipOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.mean = ClusterMemory(options.momentum, "mean")
        self.discrepant = ClusterMemory(options.momentum, options.discrepant_update)
        self.instances = InstanceMemory(options.instances)

    def contrasts_instances(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, has the instance loss."""
        first = self.options.first_epochs
        return first is not None and epoch >= first and self.options.cluster_weight < 1

    def plan(self, epoch: int) -> EpochPlan:
        """The teacher serves the epochs whose instance proxies are its features."""
        return EpochPlan(teacher=self.options.instance_encoder == "average" and self.contrasts_instances(epoch))

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        """Both cluster proxies are the cluster's mean feature; instance proxies are features of crops drawn from it."""
        features = data.on_device(data.features)
        self.mean.reset(features, labels)
        self.discrepant.reset(features, labels)
        self.instances.reset(features, labels)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """λ · cluster loss + (1 − λ) · instance loss."""
        options, embedding, terms = self.options, batch.features.embedding, {}
        instances = self.contrasts_instances(batch.epoch)
        weight = options.cluster_weight if instances else 1.0
        if weight:
            terms["cluster"] = weight * discrepant_contrast(
                embedding,
                self.mean.centroids,
                self.discrepant.centroids,
                batch.labels,
                options.temperature,
                options.cluster_form,
                options.cluster_margin,
            )
        if instances:
            terms["instance"] = (1 - weight) * multi_instance_contrast(
                embedding,
                self.instances.proxies,
                batch.labels,
                temperature=options.temperature,
                negatives=options.negatives,
                mining=options.mining,
                hardness=options.hardness,
            )
        return terms

    def after_step(self, batch: Batch) -> None:
        embedding = batch.features.embedding
        self.mean.update(embedding, batch.labels)
        self.discrepant.update(embedding, batch.labels)
        if self.contrasts_instances(batch.epoch):
            source = batch.features if batch.teacher is None else batch.teacher
            self.instances.update(source.embedding, batch.labels)
