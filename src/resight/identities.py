"""Identities for crops that a model has embedded: three ways to cluster, each with defaults for a set of any size."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationError

from resight.clustering import PseudoLabels, bottom_up, centre_by_camera, cluster_crops, merge_clusters, two_stage
from resight.clustering.config import ClusteringConfig
from resight.clustering.two_stage import Contested, Unwanted
from resight.common.checks import shown
from resight.common.settings import Settings, explain
from resight.errors import ResightError


class Dbscan(ClusteringConfig):
    """DBSCAN in the k-reciprocal Jaccard distance (:func:`resight.clustering.cluster_crops`).

    It finds the number of identities itself. Crops in sparse regions get none.
    """

    name: ClassVar[str] = "dbscan"

    def __call__(self, features: np.ndarray, camera: np.ndarray | None = None, device: Any = None) -> PseudoLabels:
        """Clusters crops.

        Args:
            features: ``(N, D)`` embeddings.
            camera: ``(N,)`` camera of each crop; needed only by settings that use cameras.
            device: Where to search for neighbours, a torch device; ``None`` is the CPU.

        Returns:
            A cluster number for each crop, -1 for none.

        Raises:
            NoClusters: every crop is an outlier; the sentence suggests an ``eps``.
            ResightError: cameras are needed and missing.
        """
        return cluster_crops(features, camera=camera, device=device, **self.model_dump())

    def for_half(self, found: PseudoLabels) -> Dbscan:
        """The settings for half of the crops, where an identity has half as many neighbours.

        Args:
            found: What the settings gave for all crops: ``k1`` and ``eps`` that were chosen are kept.
        """
        k1 = int(found.facts.get("k1", 0)) or self.k1
        k1 = max(2, round(k1 / 2)) if isinstance(k1, int) else k1
        halves = {name: max(1, round(getattr(self, name) / 2)) for name in ("k2", "intra_k1", "inter_k1")}
        halves["k2"] = min(halves["k2"], k1) if isinstance(k1, int) else halves["k2"]
        eps = float(found.facts["eps"]) if "eps" in found.facts else self.eps
        samples = min(self.min_samples, max(2, round(self.min_samples / 2)))
        return self.model_copy(update={**halves, "k1": k1, "eps": eps, "min_samples": samples})


class _Neighbours(Settings):
    """How neighbours are searched for; the names are those of :class:`ClusteringConfig`."""

    clusters: int | None = None
    centre_cameras: bool = False
    search: Literal["auto", "exact", "approximate"] = "auto"
    recall: float = Field(0.95, gt=0, le=1)

    def _number(self, crops: int, crops_per_cluster: float, least: int) -> int:
        """The number of clusters: the one asked for, or one per ``crops_per_cluster`` crops."""
        if self.clusters is not None and self.clusters > crops:
            raise ResightError(f"{self.clusters} clusters were asked for, but there are {crops} crops: ask for fewer.")
        return self.clusters or min(crops, max(least, math.ceil(crops / crops_per_cluster)))


class TwoStage(_Neighbours):
    """k-means, then each centroid keeps its nearest crops (:func:`resight.clustering.two_stage`).

    Attributes:
        clusters: Number of centroids; ``None``: by ``crops_per_cluster``.
        crops_per_cluster: Crops per centroid where their number is not given.
        components: Principal components that are clustered.
        second_stage: Whether centroids keep their nearest crops only; else k-means alone, without outliers.
        nearest: How many crops a centroid keeps.
        contested: A crop that several centroids keep goes to the nearest of them, or stays out.
        unwanted: A crop that no centroid keeps stays out, or gets its cluster by k-means.
        k1: Neighbours of a crop, itself counted.
        k2: Neighbours averaged in local expansion.
        centre_cameras: Subtract each camera's mean feature first (uses cameras).
        search: How neighbours are found.
        recall: Share of the true neighbours that an approximate search aims to find.
    """

    name: ClassVar[str] = "two_stage"
    clusters: int | None = Field(None, ge=2)
    crops_per_cluster: float = Field(13, ge=1)
    components: int = Field(50, ge=1)
    second_stage: bool = True
    nearest: int = Field(20, ge=1)
    contested: Contested = "nearest"
    unwanted: Unwanted = "out"
    k1: int = Field(20, ge=1)
    k2: int = Field(6, ge=1)

    def __call__(self, features: np.ndarray, camera: np.ndarray | None = None, device: Any = None) -> PseudoLabels:
        """Clusters crops; arguments and result as :meth:`Dbscan.__call__`.

        Raises:
            NoClusters: no centroid kept a crop.
            ResightError: there are fewer crops than clusters, or fewer than 2, or cameras are needed and missing.
        """
        if len(features) < 2:
            raise ResightError(f"Two-stage clustering needs at least 2 crops, and there are {len(features)}.")
        return two_stage(
            features,
            self._number(len(features), self.crops_per_cluster, least=2),
            keep=self.nearest if self.second_stage else None,
            components=self.components,
            k1=self.k1,
            k2=self.k2,
            contested=self.contested,
            unwanted=self.unwanted,
            camera=camera,
            centre_cameras=self.centre_cameras,
            search=self.search,
            recall=self.recall,
            device=device,
        )

    def for_half(self, found: PseudoLabels) -> TwoStage:
        """The settings for half of the crops: as many clusters, of half as many crops."""
        halves = {name: max(2, round(getattr(self, name) / 2)) for name in ("nearest", "k1")}
        halves["k2"] = min(max(1, round(self.k2 / 2)), halves["k1"])
        return self.model_copy(update={**halves, "crops_per_cluster": max(1.0, self.crops_per_cluster / 2)})


class BottomUp(_Neighbours):
    """Single crops are merged, the nearest first (:func:`resight.clustering.bottom_up`); no crop stays out.

    Attributes:
        clusters: Number of identities to stop at; ``None``: by ``crops_per_identity``.
        crops_per_identity: Crops per identity where their number is not given.
        merge_share: Merges per stage, as a share of the crops; the sizes of clusters count anew in each stage.
        size_penalty: λ, the cost that each crop of two clusters adds to their merging.
        squared_distance: Merge by squared Euclidean distance.
        merge_cameras: Which pairs of crops may merge their clusters: ``any``, or those of ``different`` cameras (uses
            cameras). With ``different`` more clusters may be left than asked for.
        centre_cameras: Subtract each camera's mean feature first (uses cameras).
        search: How neighbours are found.
        recall: Share of the true neighbours that an approximate search aims to find.
    """

    name: ClassVar[str] = "bottom_up"
    clusters: int | None = Field(None, ge=1)
    crops_per_identity: float = Field(10, ge=1)
    merge_share: float = Field(0.04, gt=0, le=1)
    size_penalty: float = Field(0.003, ge=0)
    squared_distance: bool = False
    merge_cameras: Literal["any", "different"] = "any"

    def __call__(self, features: np.ndarray, camera: np.ndarray | None = None, device: Any = None) -> PseudoLabels:
        """Clusters crops; arguments and result as :meth:`Dbscan.__call__`.

        Raises:
            ResightError: there are fewer crops than clusters, or cameras are needed and missing.
        """
        different = self.merge_cameras == "different"
        if camera is None and (different or self.centre_cameras):
            name = "merge_cameras=different" if different else "centre_cameras"
            raise ResightError(
                f"{name} needs the camera of every crop, and none are known: give the crop table a camera column, or "
                f"set {'merge_cameras=any' if different else 'centre_cameras=false'}."
            )
        if self.centre_cameras:
            features = centre_by_camera(features, camera)
        crops = len(features)
        clusters = self._number(crops, self.crops_per_identity, least=1)
        options: dict[str, Any] = {"search": self.search, "recall": self.recall, "device": device}
        options["size_penalty"] = self.size_penalty
        if not (self.squared_distance or different):
            return bottom_up(features, clusters, share=self.merge_share, **options)
        options |= {"squared": self.squared_distance, "camera": camera if different else None}
        stage, labels, facts = math.ceil(self.merge_share * crops), np.arange(crops), {}
        while left := int(labels.max()) + 1 - clusters:
            merged = merge_clusters(features, labels, min(stage, left), **options)
            labels = merged.labels
            if merged.recall is not None:
                facts["neighbour_recall"] = merged.recall
            if not len(merged.costs):  # no pair of different cameras is left
                break
        return PseudoLabels(labels, facts)

    def for_half(self, found: PseudoLabels) -> BottomUp:
        """The settings for half of the crops: as many clusters, of half as many crops."""
        return self.model_copy(update={"crops_per_identity": max(1.0, self.crops_per_identity / 2)})


#: The clusterings by name.
ALGORITHMS: dict[str, type[Dbscan | TwoStage | BottomUp]] = {kind.name: kind for kind in (Dbscan, TwoStage, BottomUp)}


def build_clustering(
    algorithm: str, defaults: Mapping[str, Any], changes: Mapping[str, Any]
) -> Dbscan | TwoStage | BottomUp:
    """A clustering with its settings, checked before there are any crops.

    Args:
        algorithm: A name in :data:`ALGORITHMS`.
        defaults: Settings to use where the algorithm has them; others are passed over.
        changes: Settings to use instead.

    Raises:
        ResightError: there is no such algorithm, it has no such setting, or a value is not possible.
    """
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ResightError(f"There is no clustering {shown(algorithm)}: choose one of {', '.join(ALGORITHMS)}.")
    known = ALGORITHMS[algorithm].model_fields
    for name in changes:
        if name not in known:
            raise ResightError(f"The clustering {algorithm} has no setting '{name}'. {_elsewhere(str(name), known)}")
    try:
        return ALGORITHMS[algorithm](
            **{name: value for name, value in {**defaults, **changes}.items() if name in known}
        )
    except ValidationError as error:
        raise ResightError("The setting {}{}.".format(*explain(error))) from error


def _elsewhere(name: str, known: Mapping[str, Any]) -> str:
    """What to do about a setting that an algorithm lacks."""
    having = [algorithm for algorithm, kind in ALGORITHMS.items() if name in kind.model_fields]
    if having:
        verb = "has" if len(having) == 1 else "have"
        return f"{' and '.join(having)} {verb} it: choose algorithm {' or '.join(having)}."
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"It has {', '.join(known)}."
