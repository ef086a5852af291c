"""What a method is: the labels it gives and what it minimises. The loop is not its business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from resight.clustering import PseudoLabels, cluster_crops
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, Features


class MethodOptions(BaseModel):
    """The constants of a method; each method adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    def identity_settings(self, crops: int | None) -> dict[str, Any]:
        """How a trained model clusters other crops: settings of the method's algorithm in :mod:`resight.identities`.

        Args:
            crops: How many crops the model was trained on, if known. A number of clusters was chosen for these, so it
                is returned as crops per cluster.
        """
        return {}


@dataclass
class Batch:
    """What a loss may know of a batch.

    Attributes:
        rows: ``(B,)`` rows of the crop table. Where a method has several views, the features of a batch are those of
            the B first views, then of the B second ones.
        labels: ``(B,)`` pseudo-labels.
        camera: ``(B,)`` cameras, if the table has them.
        epoch: From 0.
        averaged: What the averaged encoder says of it, in :meth:`Method.after_step` of a method that asks for it.
        source_labels: ``(S,)`` people, numbered from 0, of the crops of a labelled source that the batch holds as well,
            for a method that learns from one; their features come after all others.
    """

    rows: Tensor
    labels: Tensor
    camera: Tensor | None
    epoch: int
    averaged: Features | None = None
    source_labels: Tensor | None = None


class Method(nn.Module, ABC):
    """A way to learn, without labels or (where it says so) with them.

    The loop owns the encoder and calls, each epoch: :meth:`label` on the features of all crops, then
    :meth:`start_epoch`; and each step: the encoder, :meth:`loss`, the optimiser, :meth:`after_step`. Parameters and
    buffers that a method registers are optimised and checkpointed with the encoder's. A parameter that
    :meth:`start_epoch` replaces by another, of whatever size, is optimised from there on without a past.

    Attributes:
        device: Where the training runs; the loop sets it. Neighbours are searched there.
        name: What ``resight train`` calls it.
        summary: One line for ``resight methods``.
        Options: The type of its constants.
        uses_identities: Whether it learns from identities; all others never see them.
        uses_source: Whether it also learns from a second table, of labelled crops of other people. Its own loop hooks
            are :meth:`prepare_source` and :meth:`start_source`.
        groups_crops: Whether its labels are groups of crops; else they only say which crops make batches, one by one,
            and are neither kept nor compared with identities.
        clustering_algorithm: How a trained model clusters other crops: a name in :mod:`resight.identities`.
        uses_parts: Whether the features of all crops come with those of their parts, as ``(N, 1 + P, D)``, the whole
            crop's first; else they are ``(N, D)``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[MethodOptions]]
    uses_identities: ClassVar[bool] = False
    uses_source: ClassVar[bool] = False
    groups_crops: ClassVar[bool] = True
    clustering_algorithm: ClassVar[str] = "dbscan"
    uses_parts: ClassVar[bool] = False

    def __init__(self, options: MethodOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__()
        self.options = options
        self.clustering = clustering
        self.device = torch.device("cpu")

    @property
    def camera_use(self) -> tuple[str, ...]:
        """In what ways this method, so configured, uses camera labels; empty for a camera-free one."""
        return ("clustering.centre_cameras",) if self.clustering.centre_cameras else ()

    @property
    def views(self) -> int:
        """How many augmented views of each crop a batch holds."""
        return 1

    @property
    def round_epochs(self) -> int | None:
        """Over how many epochs the learning rate's schedule goes, before it begins anew; None: over the whole run."""
        return None

    def finished(self, epoch: int) -> bool:
        """Whether the labels have settled, so that the run ends before this epoch, though ``epochs`` asks for more."""
        return False

    def needs_features(self, epoch: int) -> bool:
        """Whether an epoch's labels or proxies come from features; else no crop is embedded for them."""
        return True

    def uses_average(self, epoch: int) -> bool:
        """Whether an epoch's batches are shown to the averaged encoder as well, after each step of it.

        The features that the epoch begins with are then those of the averaged encoder, too.
        """
        return False

    def check(self, table: CropTable) -> None:
        """Says in a sentence if the table lacks what this method needs."""
        for use in self.camera_use:
            table.require("camera", f"{self.name} with {use} set")

    def prepare(self, table: CropTable) -> None:
        """Builds what depends on the training crops, before there is an optimiser."""
        return None

    def prepare_source(self, people: int) -> None:
        """Likewise what depends on the source, which shows so many people."""
        return None

    def start_source(self, features: Tensor, labels: Tensor) -> None:
        """Comes before :meth:`start_epoch` where an epoch needs features, with those of all source crops.

        Args:
            features: ``(M, D)``.
            labels: ``(M,)`` people, numbered from 0.
        """
        return None

    @property
    def model_state(self) -> dict[str, Tensor]:
        """What a trained model needs of the method, beside its encoder; kept with the weights under ``method.``."""
        return {}

    def label(self, features: np.ndarray, table: CropTable, epoch: int) -> PseudoLabels:
        """Pseudo-labels from all features.

        Args:
            features: ``(N, D)``, or with parts (see :attr:`uses_parts`); no rows where :meth:`needs_features` says no.
            table: The N crops, with identities only if :attr:`uses_identities`.
            epoch: From 0.
        """
        return cluster_crops(features, camera=table.camera, device=self.device, **self.clustering.model_dump())

    @abstractmethod
    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        """Prepares the epoch's proxies from all features as in :meth:`label`, labels ``(N,)`` and cameras ``(N,)``."""

    @abstractmethod
    def loss(self, batch: Batch, features: Features) -> dict[str, Tensor]:
        """The terms to minimise, by name and already weighted: their sum is the loss."""

    def after_step(self, batch: Batch, features: Features) -> None:
        """Updates what the optimiser does not, such as proxies."""
        return None
