"""Soft multilabel learning, MAR (Yu et al., CVPR 2019), with nothing clustered.

A crop is described by how like it is to each person of a labelled reference set: its soft multilabel. Two crops that
look alike show one person if their multilabels agree, and are a hard negative if they do not. Needs a source
(``--source``), whose crops are in each batch beside those to learn from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from resight.clustering import PseudoLabels
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, Features
from resight.losses import (
    agent_learning,
    agreement_quantile,
    cross_view_consistency,
    joint_embedding,
    multilabel_discriminative,
    pair_agreement,
)
from resight.methods.base import Batch, Method, MethodOptions
from resight.proxies import CameraStatistics, MultilabelMemory, cluster_means, log_multilabels
from resight.proxies.state import register_state


class MarOptions(MethodOptions):
    """Constants of the four losses and of what they look back at."""

    name: Literal["mar"] = "mar"
    scale: float = Field(30.0, gt=0, description="of the similarities to the agents, in softmax and multilabel")
    agent_weight: float = Field(50.0, gt=0, description="weight of AL + β·RJ, the losses of the reference agents")
    beta: float = Field(0.2, ge=0, description="β: weight of the joint embedding loss (RJ) within; 0 leaves it out")
    margin: float = Field(1.0, gt=0, le=4, description="of RJ: squared distance kept from agents of others")
    consistency_weight: float = Field(
        2e-4, ge=0, description="weight of the cross-view consistency loss (CML), which uses cameras; 0 leaves it out"
    )
    statistics_rate: float = Field(
        0.0368, gt=0, le=1, description="share of a batch in CML's running mean and deviation over all cameras"
    )
    discriminative_weight: float = Field(
        1.0, ge=0, description="weight of the discriminative loss on mined pairs (MDL); 0 leaves it out"
    )
    first_epochs: int = Field(1, ge=0, description="epochs without MDL")
    mining_ratio: float = Field(
        0.005, gt=0, le=1, description="p: share of a batch's pairs that MDL takes, and that are to agree"
    )
    memory_momentum: float = Field(0.9, ge=0, lt=1, description="share of a crop's old multilabel kept in an update")
    threshold_momentum: float = Field(0.9, ge=0, lt=1, description="share of the old threshold of agreement kept")
    threshold_crops: int = Field(
        1000, ge=2, description="crops drawn before the first epoch, of whose pairs the first threshold is taken"
    )
    memory_gb: float = Field(1.0, ge=0, description="a multilabel memory above so many GB is kept on disk")


class Mar(Method):
    """Learn agents of reference persons, compare crops by their likeness to them, mine pairs by that."""

    name = "mar"
    summary = "soft multilabels: likeness to the persons of a labelled reference set, --source (Yu et al. 2019)"
    Options = MarOptions
    uses_source = True
    groups_crops = False
    options: MarOptions
    agents: nn.Parameter
    threshold: Tensor
    camera_index: Tensor

    def __init__(self, options: MarOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.dim = encoder.dim
        register_state(self, "agents", nn.Parameter(torch.empty(0, encoder.dim)))
        self.memory = MultilabelMemory(options.memory_momentum, 1e9 * options.memory_gb)
        self.statistics = CameraStatistics(options.statistics_rate)
        self.register_buffer("threshold", torch.zeros(()))
        # Found anew from the table each epoch, so no part of a checkpoint.
        self.register_buffer("camera_index", torch.empty(0, dtype=torch.int64), persistent=False)
        self.cameras = 0
        self._after: list[Callable[[], object]] = []

    @property
    def camera_use(self) -> tuple[str, ...]:
        return ("method.consistency_weight",) if self.options.consistency_weight else ()

    @property
    def model_state(self) -> dict[str, Tensor]:
        """The agents, for the multilabels of other crops."""
        return {"agents": self.unit_agents}

    @property
    def unit_agents(self) -> Tensor:
        """``(P, D)`` agents, L2-normalised."""
        return F.normalize(self.agents)

    def needs_features(self, epoch: int) -> bool:
        """To begin with: agents, threshold and statistics start from them."""
        return epoch == 0

    def discriminates(self, epoch: int) -> bool:
        """Whether an epoch, from 0, has the loss on mined pairs."""
        return epoch >= self.options.first_epochs and self.options.discriminative_weight > 0

    def prepare_source(self, people: int) -> None:
        self.agents = nn.Parameter(torch.zeros(people, self.dim))

    def label(self, features: np.ndarray, table: CropTable, epoch: int) -> PseudoLabels:
        """Every crop by itself; with the size of the memory, and the threshold that the epoch starts from."""
        facts = {"reference_persons": float(len(self.agents))}
        if self.options.discriminative_weight:
            facts["multilabel_mb"] = 2e-6 * len(table) * len(self.agents)
        if epoch > 0:
            facts["pair_threshold"] = self.threshold.item()
        return PseudoLabels(np.arange(len(table)), facts)

    @torch.no_grad()
    def start_source(self, features: Tensor, labels: Tensor) -> None:
        """Each agent starts as the mean feature of its person."""
        self.agents.copy_(F.normalize(cluster_means(features.float(), labels, len(self.agents))))

    @torch.no_grad()
    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        """Numbers the cameras; before the first epoch, starts statistics, threshold and memory."""
        options = self.options
        if camera is not None:
            names, self.camera_index = camera.unique(return_inverse=True)
            self.cameras = len(names)
        if not len(features):
            return
        agents = self.unit_agents
        if options.consistency_weight:
            blocks = (log_multilabels(block.float(), agents, options.scale) for block in features.split(1024))
            self.statistics.reset(blocks, self.camera_index, self.cameras)
        if options.discriminative_weight:
            self.memory.reset(len(features), len(agents))
            drawn = torch.randperm(len(features), device=features.device)[: options.threshold_crops]
            if len(drawn) > 1:
                multilabels = log_multilabels(features[drawn].float(), agents, options.scale).exp()
                self.threshold.copy_(agreement_quantile(pair_agreement(multilabels), options.mining_ratio))

    def loss(self, batch: Batch, features: Features) -> dict[str, Tensor]:
        options, agents = self.options, self.unit_agents
        assert batch.source_labels is not None
        target, source = features.embedding.tensor_split([len(batch.rows)])
        weight = options.agent_weight
        terms = {"agents": weight * agent_learning(source, agents, batch.source_labels, options.scale)}
        if options.beta:
            terms["joint"] = (
                weight * options.beta * joint_embedding(source, batch.source_labels, target, agents, options.margin)
            )
        self._after = []
        logs = log_multilabels(target, agents, options.scale)
        if options.consistency_weight:
            camera = self.camera_index[batch.rows]
            # moved by the batch before they are compared with it, as in the authors' public code
            moved = self.statistics.moved(logs, camera, self.cameras)
            self._after.append(partial(self.statistics.update, *moved))
            terms["consistency"] = options.consistency_weight * cross_view_consistency(
                logs, camera, self.cameras, *moved
            )
        if self.discriminates(batch.epoch):
            blended = self.memory.blend(batch.rows, logs.detach().exp())
            agreement = pair_agreement(blended)
            terms["discriminative"] = options.discriminative_weight * multilabel_discriminative(
                target, agreement, self.threshold, options.mining_ratio
            )
            self._after.append(partial(self.memory.update, batch.rows, blended))
            if len(agreement):
                found = agreement_quantile(agreement, options.mining_ratio)
                found = torch.lerp(found, self.threshold, options.threshold_momentum)
                self._after.append(partial(self.threshold.copy_, found))
        return terms

    @torch.no_grad()
    def after_step(self, batch: Batch, features: Features) -> None:
        """Keeps what the loss saw and moved: the memory, the threshold and the statistics."""
        for keep in self._after:
            keep()
