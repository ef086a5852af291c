"""What a method is: what it needs, how it labels crops, what it minimises. The training loop calls it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from resight.clustering import PseudoLabels, cluster_crops
from resight.clustering.config import ClusteringConfig, TrainingClusteringConfig
from resight.clustering.tracks import Tracks
from resight.common.settings import Settings
from resight.crops import CropTable
from resight.encoders import Encoder, Features


class MethodOptions(Settings):
    """The constants of a method; each method adds its own."""

    name: str

    def identity_settings(self, crops: int | None) -> dict[str, Any]:
        """How a trained model clusters other crops: settings of the method's algorithm in :mod:`resight.identities`.

        Args:
            crops: How many crops the model was trained on, if known. A number of clusters was chosen for these, so it
                is returned as crops per cluster.
        """
        return {}


AnyOptions = TypeVar("AnyOptions", bound=MethodOptions)


def _no_features() -> np.ndarray:
    return np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Needs:
    """What a method needs, checked once before training.

    Attributes:
        identities: Whether it learns from identities. No other method ever sees them.
        source: Whether it also learns from a source: labelled crops of other identities, some in every batch.
        parts: Whether it needs the features of parts (``encoder.parts``).
        groups: Whether its labels group crops. If not, they only say which crops are drawn for batches; they are not
            saved and not compared with identities.
        views: Views of each crop in a batch.
        plain_view: Whether the first view is the crop itself; otherwise all views are augmented.
        cameras: Settings by which it uses camera labels, such as ``method.camera_weight``. Empty if it uses none.
        settings: Names of settings, or of whole groups, that it reads beside its own ``method.*``. Training warns of
            a changed setting that is not read.
    """

    identities: bool = False
    source: bool = False
    parts: bool = False
    groups: bool = True
    views: int = 1
    plain_view: bool = False
    cameras: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("clustering",)


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch of a method consists of.

    Attributes:
        embed: Whether the epoch begins with the features of all crops.
        teacher: Whether the EMA teacher gives these features, and sees each batch after the step on it.
        schedule_length: Length of the learning rate's schedule in epochs, after which it starts again. None: the
            whole run.
        finished: Whether the run ends before this epoch, although ``epochs`` asks for more.
    """

    embed: bool = True
    teacher: bool = False
    schedule_length: int | None = None
    finished: bool = False


@dataclass(frozen=True)
class MethodData:
    """The crops that a method learns from.

    Attributes:
        table: The N crops; with identities only if the method needs them.
        device: Where training runs.
        source_labels: ``(M,)`` int64 identity of each source crop, numbered from 0, if there is a source.
        source_names: The name of each identity of the source.
    """

    table: CropTable
    device: torch.device
    source_labels: np.ndarray | None = None
    source_names: tuple[str, ...] = ()

    @property
    def camera(self) -> Tensor | None:
        """``(N,)`` int64 cameras on the device, if the table has them."""
        return None if self.table.camera is None else torch.from_numpy(self.table.camera).to(self.device)


@dataclass(frozen=True)
class EpochData(MethodData):
    """What is known when an epoch begins.

    Attributes:
        epoch: Number of the epoch, from 0.
        features: ``(N, D)`` float32 L2-normalised features of all crops; ``(N, 1 + P, D)`` if the method needs parts,
            the whole crop first. Without rows if the plan's ``embed`` is false.
        source_features: ``(M, D)`` float32 features of the source crops, or without rows.
        tracks: The tracks of the crops, where the run uses them in labelling.
    """

    epoch: int = 0
    features: np.ndarray = field(default_factory=_no_features)
    source_features: np.ndarray = field(default_factory=_no_features)
    tracks: Tracks | None = None

    def on_device(self, values: np.ndarray) -> Tensor:
        """An array as a tensor on the device."""
        return torch.from_numpy(values).to(self.device)


@dataclass
class Batch:
    """One batch of B crops, and of S source crops if there is a source.

    Attributes:
        indices: ``(B,)`` int64 indices into the crop table.
        labels: ``(B,)`` int64 pseudo-labels.
        camera: ``(B,)`` int64 cameras, if the table has them.
        epoch: Number of the epoch, from 0.
        views: The encoder's features of each view, B crops each.
        source: Its features of the source crops.
        source_labels: ``(S,)`` int64 identities of the source crops, numbered from 0.
        teacher: The EMA teacher's features of the first view. Set only in :meth:`Method.after_step`, in epochs whose
            plan asks for the teacher.
    """

    indices: Tensor
    labels: Tensor
    camera: Tensor | None
    epoch: int
    views: tuple[Features, ...] = ()
    source: Features | None = None
    source_labels: Tensor | None = None
    teacher: Features | None = None

    @property
    def features(self) -> Features:
        """Features of the first view."""
        return self.views[0]


class Method(nn.Module, ABC, Generic[AnyOptions]):
    """A way to learn from crops.

    The order of calls: :meth:`setup` once. In each epoch :meth:`plan`, :meth:`label` and :meth:`start_epoch`; in each
    step :meth:`loss`, then the optimiser, then :meth:`after_step`. :meth:`extension` when weights are saved.

    Parameters and buffers of a method are optimised and checkpointed with the encoder's. A parameter that
    :meth:`start_epoch` replaces by a new one, of any size, starts without optimiser state.

    Args:
        options: The constants of the method.
        clustering: How crops are clustered.
        encoder: The encoder that is trained. A method may look at its configuration and its dimension D.

    Attributes:
        name: What ``resight train`` calls the method.
        summary: One line for ``resight methods``.
        Options: The type of its constants.
        clustering_algorithm: How a trained model clusters other crops: a name in :mod:`resight.identities`.
        takes_links: Whether labels may be changed to obey decisions: false where they last for several epochs.
        cameras_worth: What the recipe 'cameras' was measured to gain, with its source; empty if it was not measured.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[MethodOptions]]
    clustering_algorithm: ClassVar[str] = "dbscan"
    takes_links: ClassVar[bool] = True
    cameras_worth: ClassVar[str] = ""

    def __init__(self, options: AnyOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__()
        self.options = options
        self.clustering = clustering

    @classmethod
    def needs(cls, options: AnyOptions) -> Needs:
        """What the method needs under these options. By default crops, and the settings of clustering."""
        return Needs()

    def plan(self, epoch: int) -> EpochPlan:
        """What an epoch, counted from 0, consists of. May be asked for any epoch at any time after construction."""
        return EpochPlan()

    def setup(self, data: MethodData) -> None:
        """Builds parameters whose size depends on the crops, before there is an optimiser.

        Raises:
            ResightError: the crops are not enough for the method.
        """
        return None

    def label(self, data: EpochData) -> PseudoLabels:
        """Pseudo-labels of all N crops for an epoch. By default those of clustering the features."""
        return self.cluster(data)

    def cluster(self, data: EpochData, keep_within: float | None = None) -> PseudoLabels:
        """Labels of clustering the features of all N crops, with the method's settings of clustering.

        With ``clustering.unit=tracks`` the mean features of tracks are clustered, and each crop gets the label of its
        track.

        Args:
            data: As in :meth:`label`.
            keep_within: See :func:`~resight.clustering.cluster_crops`. With ``clustering.unit=tracks`` the distances
                are those among tracks.
        """
        settings, own = self.clustering.arguments(), self.clustering
        features, camera, tracks = data.features, data.table.camera, data.tracks
        if not isinstance(own, TrainingClusteringConfig) or own.unit == "crops" or tracks is None:
            return cluster_crops(features, camera=camera, device=data.device, keep_within=keep_within, **settings)
        settings["min_samples"] = own.track_min_samples
        found = cluster_crops(
            tracks.means(features), camera=tracks.camera, device=data.device, keep_within=keep_within, **settings
        )
        return replace(found, labels=found.labels[tracks.of_crop], facts={**found.facts, "tracks": float(len(tracks))})

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        """Prepares an epoch, such as its proxies, after labelling.

        Args:
            data: As in :meth:`label`.
            labels: ``(N,)`` int64 pseudo-labels on the device.
        """
        return None

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms to minimise, by name and already weighted: their sum is the loss."""

    def after_step(self, batch: Batch) -> None:
        """Updates what the optimiser does not, such as proxies."""
        return None

    def extension(self) -> nn.Module | None:
        """What a trained model needs of the method beside its encoder. Its state is saved with the weights."""
        return None

    @classmethod
    def load_extension(
        cls, options: AnyOptions, state: Mapping[str, Tensor], data: Mapping[str, Any]
    ) -> nn.Module | None:
        """Rebuilds :meth:`extension` for a loaded model.

        Args:
            options: The constants of the run.
            state: The state of the extension that was saved; empty if there was none.
            data: What ``data.json`` of the run folder says of the crops and of the source.
        """
        return None
