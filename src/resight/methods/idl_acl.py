"""Instance discrimination and agglomerative clustering together (Nikhal and Riggan, WACV 2021).

Every crop starts as its own cluster; training alternates with merging the nearest clusters. With the instance loss
left out this is bottom-up clustering, BUC (Lin et al., AAAI 2019, https://doi.org/10.1609/aaai.v33i01.33018738). The
paper's grouped attention is a matter of the encoder: ``encoder.attention=cbam encoder.groups=4``.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from resight.clustering import PseudoLabels, centre_by_camera, merge_clusters
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, Features
from resight.errors import ResightError
from resight.losses import InstanceForm, cluster_contrast, instance_discrimination
from resight.methods.base import Batch, Method, MethodOptions
from resight.proxies import ClusterMemory
from resight.proxies.state import register_state


class IdlAclOptions(MethodOptions):
    """Constants of the two losses and of the merging."""

    name: Literal["idl_acl"] = "idl_acl"
    instance_weight: float = Field(1.0, ge=0, description="weight of the instance loss (IDL); 0 leaves it out")
    instance_form: InstanceForm = Field("paper", description="of IDL: equations 4 to 6, or Ye et al.'s public code")
    cluster_weight: float = Field(1.0, ge=0, description="weight of the cluster loss (ACL); 0: nothing is merged")
    temperature: float = Field(0.1, gt=0, description="τ of both losses")
    momentum: float = Field(0.5, ge=0, le=1, description="share of a memory row kept in its update")
    first_epochs: int = Field(20, ge=1, description="epochs before the first merging")
    stage_epochs: int = Field(2, ge=1, description="epochs between mergings")
    merge_share: float = Field(0.04, gt=0, lt=1, description="clusters merged at once, as a share of the crops")
    clusters: int | None = Field(None, ge=1, description="clusters to stop at: the number of people, where it is known")
    crops_per_person: float = Field(10, ge=1, description="where it is not: stop at a cluster for so many crops")
    size_penalty: float = Field(0.003, ge=0, description="λ: cost of merging, for each crop of the two clusters")
    merge_cameras: Literal["any", "different"] = Field(
        "any", description="which pairs of crops merge their clusters; different: those of two cameras (uses cameras)"
    )
    squared_distance: bool = Field(False, description="merge by squared Euclidean distance, as BUC's public code")

    def identity_settings(self, crops: int | None) -> dict[str, Any]:
        names = ("merge_share", "size_penalty", "squared_distance", "merge_cameras")
        each = crops / self.clusters if self.clusters and crops else self.crops_per_person
        return {name: getattr(self, name) for name in names} | {"crops_per_identity": max(1.0, each)}


class IdlAcl(Method):
    """Tell instances apart, draw crops to their clusters, merge the nearest clusters, repeat."""

    name = "idl_acl"
    summary = (
        "instance discrimination and bottom-up clusters (Nikhal and Riggan 2021); recipe buc: BUC (Lin et al. 2019)"
    )
    Options = IdlAclOptions
    clustering_algorithm = "bottom_up"
    options: IdlAclOptions
    assignment: Tensor

    def __init__(self, options: IdlAclOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        if options.instance_weight == 0 and options.cluster_weight == 0:
            raise ResightError("Both losses are left out: set method.instance_weight or method.cluster_weight above 0.")
        self.memory = ClusterMemory(options.momentum, "each")
        register_state(self, "assignment", torch.empty(0, dtype=torch.int64))

    @property
    def camera_use(self) -> tuple[str, ...]:
        if not self.options.cluster_weight:
            return ()
        return super().camera_use + (("method.merge_cameras",) if self.options.merge_cameras == "different" else ())

    @property
    def views(self) -> int:
        """The instance loss compares two views of a crop."""
        return 2 if self.options.instance_weight else 1

    def needs_features(self, epoch: int) -> bool:
        """When clusters are merged, and to start the memory."""
        return bool(self.options.cluster_weight) and (epoch == 0 or self._merges(epoch) > 0)

    def label(self, features: np.ndarray, table: CropTable, epoch: int) -> PseudoLabels:
        """Merges clusters when a stage begins; between, and without ACL, the labels stay."""
        if epoch == 0:
            self.assignment = torch.arange(len(table))
        labels = self.assignment.cpu().numpy()
        facts: dict[str, float] = {}
        if merges := self._merges(epoch):
            options, clustering = self.options, self.clustering
            if clustering.centre_cameras:
                features = centre_by_camera(features, table.camera)
            found = merge_clusters(
                features,
                labels,
                merges,
                size_penalty=options.size_penalty,
                squared=options.squared_distance,
                camera=table.camera if options.merge_cameras == "different" else None,
                search=clustering.search,
                recall=clustering.recall,
                device=self.device,
            )
            labels = found.labels
            self.assignment = torch.from_numpy(labels)
            facts = {"merged": len(found.costs), "merge_distance": float(found.distances.max(initial=0.0))}
            if found.recall is not None:
                facts["neighbour_recall"] = found.recall
        sizes = np.bincount(labels)
        facts |= {"largest_cluster": int(sizes.max()), "singletons": int((sizes == 1).sum())}
        return PseudoLabels(labels, facts=facts)

    def _merges(self, epoch: int) -> int:
        """How many merges an epoch begins with."""
        options = self.options
        since = epoch - options.first_epochs
        if since < 0 or since % options.stage_epochs or not options.cluster_weight:
            return 0
        crops, clusters = len(self.assignment), int(self.assignment.max()) + 1
        target = options.clusters or math.ceil(crops / options.crops_per_person)
        return min(math.ceil(options.merge_share * crops), max(clusters - target, 0))

    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        """After a merging each memory row is its cluster's mean feature; otherwise the memory goes on as it is."""
        if len(features):
            self.memory.reset(features, labels)

    def loss(self, batch: Batch, features: Features) -> dict[str, Tensor]:
        """Equation 11. The cluster loss looks at the first views, the instance loss at both."""
        options, terms = self.options, {}
        first, *second = features.embedding.split(len(batch.labels))
        if options.instance_weight:
            terms["instance"] = options.instance_weight * instance_discrimination(
                first, second[0], options.temperature, options.instance_form
            )
        if options.cluster_weight:
            terms["cluster"] = options.cluster_weight * cluster_contrast(
                first, self.memory.centroids, batch.labels, options.temperature
            )
        return terms

    def after_step(self, batch: Batch, features: Features) -> None:
        if self.options.cluster_weight:
            self.memory.update(features.embedding[: len(batch.labels)], batch.labels)
