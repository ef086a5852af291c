"""Soft multilabel learning, MAR (Yu et al., CVPR 2019). Nothing is clustered.

A crop is described by its likeness to each reference identity of a labelled source (``--source``): its soft multilabel.
Two crops that look alike are taken for the same identity if their multilabels agree, and for a hard negative pair if
they do not. Half of each batch are source crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from resight.clustering import PseudoLabels
from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.losses import (
    agent_learning,
    agreement_quantile,
    cross_view_consistency,
    joint_embedding,
    multilabel_discriminative,
    pair_agreement,
)
from resight.methods.base import Batch, EpochData, EpochPlan, Method, MethodData, MethodOptions, Needs
from resight.proxies import CameraStatistics, MultilabelMemory, cluster_means, log_multilabels
from resight.proxies.state import register_state


class MarOptions(MethodOptions):
    """Constants of the four losses and of their running statistics."""

    name: Literal["mar"] = "mar"
    scale: float = Field(30.0, gt=0, description="scale of the similarities to the agents, in softmax and multilabel")
    agent_start: Literal["means", "classifier"] = Field(
        "means",
        description="first agents: mean features of the reference identities, or the classifier of the run that "
        "encoder.weights names, of supervised with method.keep_classifier=true on the same source",
    )
    agent_weight: float = Field(50.0, gt=0, description="weight of AL + β·RJ, the losses on source crops")
    beta: float = Field(0.2, ge=0, description="β: weight of the joint embedding loss (RJ); 0 leaves it out")
    margin: float = Field(1.0, gt=0, le=4, description="RJ: least squared distance from agents of other identities")
    consistency_weight: float = Field(
        2e-4, ge=0, description="weight of the cross-view consistency loss (CML; uses cameras); 0 leaves it out"
    )
    statistics_rate: float = Field(
        0.0368, gt=0, le=1, description="CML: share of the batch in the running mean and deviation over all cameras"
    )
    discriminative_weight: float = Field(
        1.0, ge=0, description="weight of the discriminative loss on mined pairs (MDL); 0 leaves it out"
    )
    first_epochs: int = Field(1, ge=0, description="epochs without MDL")
    mining_ratio: float = Field(
        0.005, gt=0, le=1, description="p: share of a batch's pairs that MDL mines, and that count as agreeing"
    )
    memory_momentum: float = Field(0.9, ge=0, lt=1, description="share of a crop's old multilabel that an update keeps")
    threshold_momentum: float = Field(
        0.9, ge=0, lt=1, description="share of the old threshold of agreement that an update keeps"
    )
    threshold_crops: int = Field(
        1000, ge=2, description="crops drawn before the first epoch to estimate the first threshold"
    )
    memory_gb: float = Field(1.0, ge=0, description="a multilabel memory larger than this many GB is kept on disk")


class ReferenceAgents(nn.Module):
    """The reference identities of a trained model, and descriptions of crops by them.

    Args:
        agents: ``(P, D)`` L2-normalised agents.
        scale: Scale of the similarities to the agents.
        names: The P names of the reference identities.
    """

    agents: Tensor

    def __init__(self, agents: Tensor, scale: float, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.register_buffer("agents", agents)
        self.scale = scale
        self.names = tuple(names)

    def multilabels(self, features: np.ndarray) -> np.ndarray:
        """Soft multilabels of crops: their likeness to each reference identity.

        Args:
            features: ``(N, D)`` embeddings of the model.

        Returns:
            ``(N, P)`` float32. Each row sums to 1; its columns are in the order of ``names``.
        """
        blocks = [block.cpu().numpy() for block in self._multilabels(features)]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.agents)), np.float32)

    def describe(self, features: np.ndarray, top: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The reference identities that crops are most like.

        Args:
            features: ``(N, D)`` embeddings of the model.
            top: How many reference identities for each crop; at most P are returned.

        Returns:
            ``(N, top)`` names, the most alike first, and ``(N, top)`` float32, their shares of the soft multilabel.
        """
        top = min(top, len(self.agents))
        found = [block.topk(top) for block in self._multilabels(features)]
        if not found:
            return np.empty((0, top), str), np.empty((0, top), np.float32)
        shares, columns = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        return np.array(self.names)[columns], shares

    def _multilabels(self, features: np.ndarray) -> Iterator[Tensor]:
        for start in range(0, len(features), 1024):
            block = torch.from_numpy(np.ascontiguousarray(features[start : start + 1024], np.float32))
            yield log_multilabels(block.to(self.agents.device), self.agents, self.scale).exp()


class Mar(Method[MarOptions]):
    """Learn one agent per reference identity, compare crops by their likeness to the agents, mine pairs by that."""

    name = "mar"
    summary = "soft multilabels: likeness to the identities of a labelled source, --source (Yu et al. 2019)"
    Options = MarOptions
    agents: nn.Parameter
    threshold: Tensor
    camera_index: Tensor

    def __init__(self, options: MarOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        self.dim = encoder.dim
        register_state(self, "agents", nn.Parameter(torch.empty(0, encoder.dim)))
        self.classifier = encoder.extension.get("classifier.weight")
        self.memory = MultilabelMemory(options.memory_momentum, 1e9 * options.memory_gb)
        self.statistics = CameraStatistics(options.statistics_rate)
        self.register_buffer("threshold", torch.zeros(()))
        # taken from the table in each epoch, so not part of a checkpoint
        self.register_buffer("camera_index", torch.empty(0, dtype=torch.int64), persistent=False)
        self.cameras = 0
        self._after: list[Callable[[], object]] = []

    @classmethod
    def needs(cls, options: MarOptions) -> Needs:
        cameras = ("method.consistency_weight",) if options.consistency_weight else ()
        return Needs(source=True, groups=False, cameras=cameras, settings=())

    def plan(self, epoch: int) -> EpochPlan:
        """Agents, threshold and statistics start from features, so only the first epoch needs them."""
        return EpochPlan(embed=epoch == 0)

    @property
    def unit_agents(self) -> Tensor:
        """``(P, D)`` agents, L2-normalised."""
        return F.normalize(self.agents)

    def discriminates(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, has the loss on mined pairs."""
        return epoch >= self.options.first_epochs and self.options.discriminative_weight > 0

    def setup(self, data: MethodData) -> None:
        """Makes room for one agent per reference identity."""
        self.agents = nn.Parameter(torch.zeros(len(data.source_names), self.dim))

    def label(self, data: EpochData) -> PseudoLabels:
        """Each crop alone. The facts are the size of the memory and the threshold at the start of the epoch."""
        facts, sentences = {"reference_persons": float(len(self.agents))}, []
        if self.options.discriminative_weight:
            facts["multilabel_mb"] = 2e-6 * len(data.table) * len(self.agents)
            sentences.append(
                f"multilabels of {len(self.agents)} reference identities in {facts['multilabel_mb']:.0f} MB"
            )
        if data.epoch > 0:
            facts["pair_threshold"] = self.threshold.item()
            sentences.append(f"agreement above {facts['pair_threshold']:.2f}")
        return PseudoLabels(np.arange(len(data.table)), facts, sentences=tuple(sentences))

    @torch.no_grad()
    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        """Numbers the cameras; before the first epoch, starts agents, statistics, threshold and memory."""
        options, camera = self.options, data.camera
        if camera is not None:
            names, self.camera_index = camera.unique(return_inverse=True)
            self.cameras = len(names)
        if not len(data.features):
            return
        assert data.source_labels is not None
        if options.agent_start == "classifier":
            self.agents.copy_(self._trained_classifier())
        else:
            source, identities = data.on_device(data.source_features), data.on_device(data.source_labels)
            self.agents.copy_(F.normalize(cluster_means(source.float(), identities, len(self.agents))))
        agents, features = self.unit_agents, data.on_device(data.features)
        if options.consistency_weight:
            blocks = (log_multilabels(block.float(), agents, options.scale) for block in features.split(1024))
            self.statistics.reset(blocks, self.camera_index, self.cameras)
        if options.discriminative_weight:
            self.memory.reset(len(features), len(agents))
            drawn = torch.randperm(len(features), device=features.device)[: options.threshold_crops]
            if len(drawn) > 1:
                multilabels = log_multilabels(features[drawn].float(), agents, options.scale).exp()
                self.threshold.copy_(agreement_quantile(pair_agreement(multilabels), options.mining_ratio))

    def _trained_classifier(self) -> Tensor:
        """``(P, D)`` classifier that the first weights were trained with."""
        found = self.classifier
        if found is None:
            raise ResightError(
                "method.agent_start=classifier starts the agents from the classifier of a supervised run, and "
                "encoder.weights hold none: train them with 'resight train supervised' and "
                "method.keep_classifier=true, or set method.agent_start=means."
            )
        if found.shape != self.agents.shape:
            raise ResightError(
                f"The classifier in encoder.weights has {found.shape[0]} identities of {found.shape[1]} dimensions, "
                f"and the source has {self.agents.shape[0]} of {self.agents.shape[1]}: give the source and the encoder "
                "that these weights were trained with, or set method.agent_start=means."
            )
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """MDL + consistency_weight · CML + agent_weight · (AL + β · RJ)."""
        options, agents = self.options, self.unit_agents
        assert batch.source is not None
        assert batch.source_labels is not None
        target, source = batch.features.embedding, batch.source.embedding
        weight = options.agent_weight
        terms = {"agents": weight * agent_learning(source, agents, batch.source_labels, options.scale)}
        if options.beta:
            terms["joint"] = (
                weight * options.beta * joint_embedding(source, batch.source_labels, target, agents, options.margin)
            )
        self._after = []
        logs = log_multilabels(target, agents, options.scale)
        if options.consistency_weight:
            camera = self.camera_index[batch.indices]
            # the public code moves the statistics by the batch before it compares the batch with them
            moved = self.statistics.moved(logs, camera, self.cameras)
            self._after.append(partial(self.statistics.update, *moved))
            terms["consistency"] = options.consistency_weight * cross_view_consistency(
                logs, camera, self.cameras, *moved
            )
        if self.discriminates(batch.epoch):
            blended = self.memory.blend(batch.indices, logs.detach().exp())
            agreement = pair_agreement(blended)
            terms["discriminative"] = options.discriminative_weight * multilabel_discriminative(
                target, agreement, self.threshold, options.mining_ratio
            )
            self._after.append(partial(self.memory.update, batch.indices, blended))
            if len(agreement):
                found = agreement_quantile(agreement, options.mining_ratio)
                found = torch.lerp(found, self.threshold, options.threshold_momentum)
                self._after.append(partial(self.threshold.copy_, found))
        return terms

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """Keeps the memory, the threshold and the statistics as the loss moved them."""
        for keep in self._after:
            keep()

    def extension(self) -> ReferenceAgents:
        """The agents, for soft multilabels of other crops."""
        return ReferenceAgents(self.unit_agents.detach(), self.options.scale)

    @classmethod
    def load_extension(
        cls, options: MarOptions, state: Mapping[str, Tensor], data: Mapping[str, Any]
    ) -> ReferenceAgents | None:
        if "agents" not in state:
            return None
        return ReferenceAgents(state["agents"], options.scale, data["source"]["people"])
