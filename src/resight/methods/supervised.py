"""Training with identities: the source model of transfer methods, and the upper bound of those without labels.

Batch-hard triplets (Hermans et al. 2017, https://arxiv.org/abs/1703.07737) and, unless left out, softmax over the
identities with label smoothing behind the BN neck (Luo et al. 2019, https://arxiv.org/abs/1903.07071).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from resight.clustering import PseudoLabels
from resight.clustering.config import ClusteringConfig
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.losses import batch_hard_triplet
from resight.methods.base import Batch, EpochData, EpochPlan, Method, MethodData, MethodOptions, Needs


class SupervisedOptions(MethodOptions):
    """Constants of the two losses."""

    name: Literal["supervised"] = "supervised"
    triplet_weight: float = Field(1.0, ge=0, description="weight of the batch-hard triplet loss; 0 leaves it out")
    margin: float | None = Field(0.3, gt=0, description="margin of the triplet loss; null: the soft margin")
    triplet_feature: Literal["pooled", "pre_norm", "embedding"] = Field(
        "embedding",
        description="feature that the triplet loss compares: before the BN neck (pooled), behind it (pre_norm) or "
        "L2-normalised (embedding); Luo et al.: pooled",
    )
    softmax_weight: float = Field(1.0, ge=0, description="weight of the softmax over identities; 0 leaves it out")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="ε of label smoothing in the softmax")
    softmax_scale: float | None = Field(
        None,
        gt=0,
        description="scale of the softmax over cosines, for encoders without a BN neck; null: softmax over products",
    )
    keep_classifier: bool = Field(
        False, description="save the classifier with the weights, so that method mar can start its agents from it"
    )


class Supervised(Method[SupervisedOptions]):
    """The identities are the labels; nothing is clustered."""

    name = "supervised"
    summary = "with identities: batch-hard triplets and softmax, for a source model or an upper bound"
    Options = SupervisedOptions

    def __init__(self, options: SupervisedOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        if options.triplet_weight == 0 and options.softmax_weight == 0:
            raise ResightError("Both losses are left out: set method.triplet_weight or method.softmax_weight above 0.")
        if options.keep_classifier and options.softmax_weight == 0:
            raise ResightError(
                "method.keep_classifier=true keeps the classifier of the softmax, which method.softmax_weight=0 leaves "
                "out: raise method.softmax_weight, or set method.keep_classifier=false."
            )
        self.dim = encoder.dim
        self.classifier: nn.Linear | None = None

    @classmethod
    def needs(cls, options: SupervisedOptions) -> Needs:
        return Needs(identities=True, settings=())

    def plan(self, epoch: int) -> EpochPlan:
        return EpochPlan(embed=False)

    def setup(self, data: MethodData) -> None:
        """Builds the classifier, with one row per identity."""
        table = data.table
        identities = len(np.unique(table.require("identity", self.name)[table.is_person]))
        if identities < 2:
            raise ResightError(
                f"Supervised training needs crops of at least two identities; the training crops show {identities}. "
                "Identities count from 1: 0 is a distractor, -1 junk."
            )
        if self.options.softmax_weight:
            self.classifier = nn.Linear(self.dim, identities, bias=False)
            # Where only the direction of a row counts, short rows would be turned too fast: those have length 1.
            std = 0.001 if self.options.softmax_scale is None else self.dim**-0.5
            nn.init.normal_(self.classifier.weight, std=std)

    def label(self, data: EpochData) -> PseudoLabels:
        """The identities, numbered from 0; −1 for junk and distractors."""
        table = data.table
        labels = np.full(len(table), -1, np.int64)
        assert table.identity is not None
        labels[table.is_person] = np.unique(table.identity[table.is_person], return_inverse=True)[1]
        return PseudoLabels(labels)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, features, terms = self.options, batch.features, {}
        if options.triplet_weight:
            terms["triplet"] = options.triplet_weight * batch_hard_triplet(
                features.feature(options.triplet_feature), batch.labels, options.margin
            )
        if self.classifier is not None:
            if options.softmax_scale is None:
                logits = self.classifier(features.pre_norm)
            else:
                logits = options.softmax_scale * F.linear(features.embedding, F.normalize(self.classifier.weight))
            terms["softmax"] = options.softmax_weight * F.cross_entropy(
                logits, batch.labels, label_smoothing=options.label_smoothing
            )
        return terms

    def extension(self) -> nn.Module | None:
        """The classifier, if it is to be kept: one row for each identity, in the order of their codes."""
        if self.classifier is None or not self.options.keep_classifier:
            return None
        return nn.ModuleDict({"classifier": self.classifier})
