"""Instance discrimination and agglomerative clustering, IDL + ACL (Nikhal and Riggan, WACV 2021).

Every crop starts as its own cluster, and every few epochs the nearest clusters are merged. Without the instance loss
this is bottom-up clustering, BUC (Lin et al., AAAI 2019, https://doi.org/10.1609/aaai.v33i01.33018738). The paper's
grouped attention is part of the encoder: ``encoder.attention=cbam encoder.groups=4``.
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
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.losses import InstanceForm, cluster_contrast, instance_discrimination
from resight.methods.base import Batch, EpochData, EpochPlan, Method, MethodOptions, Needs
from resight.proxies import ClusterMemory
from resight.proxies.state import register_state


class IdlAclOptions(MethodOptions):
    """Constants of the two losses and of the merging."""

    name: Literal["idl_acl"] = "idl_acl"
    instance_weight: float = Field(1.0, ge=0, description="weight of the instance loss (IDL); 0 leaves it out")
    instance_form: InstanceForm = Field(
        "paper", description="form of the instance loss: equations 4 to 6 of the paper, or Ye et al.'s public code"
    )
    first_view: Literal["augmented", "plain"] = Field(
        "augmented",
        description="first of the two views that the instance loss compares, which the cluster loss uses as well: "
        "augmented, as the second one, or plain, the crop itself (equations 4 to 8 of the paper)",
    )
    cluster_weight: float = Field(1.0, ge=0, description="weight of the cluster loss (ACL); 0: nothing is merged")
    temperature: float = Field(0.1, gt=0, description="temperature τ of both losses")
    momentum: float = Field(0.5, ge=0, le=1, description="share of the old proxy that an update keeps")
    proxy_start: Literal["means", "zeros"] = Field(
        "means",
        description="proxies at the start of a stage: the clusters' mean features, or zeros (BUC's public code), which "
        "the first crop of the cluster replaces",
    )
    first_epochs: int = Field(20, ge=1, description="epochs before the first merging")
    stage_epochs: int = Field(2, ge=1, description="epochs between mergings")
    merge_share: float = Field(
        0.04, gt=0, lt=1, description="clusters that one merging removes, as a share of the number of crops"
    )
    clusters: int | None = Field(
        None, ge=1, description="number of clusters to stop at: the number of identities, if it is known"
    )
    crops_per_person: float = Field(
        10, ge=1, description="if clusters is null: stop at one cluster for this many crops"
    )
    size_penalty: float = Field(0.003, ge=0, description="λ: cost of a merge for each crop of the two clusters")
    merge_cameras: Literal["any", "different"] = Field(
        "any", description="pairs of crops that can merge their clusters: any, or of different cameras (uses cameras)"
    )
    squared_distance: bool = Field(
        False, description="merge by the squared Euclidean distance, as BUC's public code does"
    )

    def identity_settings(self, crops: int | None) -> dict[str, Any]:
        names = ("merge_share", "size_penalty", "squared_distance", "merge_cameras")
        each = crops / self.clusters if self.clusters and crops else self.crops_per_person
        return {name: getattr(self, name) for name in names} | {"crops_per_identity": max(1.0, each)}


class IdlAcl(Method[IdlAclOptions]):
    """Tell instances apart, pull crops to their clusters, merge the nearest clusters, repeat."""

    name = "idl_acl"
    summary = (
        "instance discrimination and bottom-up clusters (Nikhal and Riggan 2021); recipe buc: BUC (Lin et al. 2019)"
    )
    Options = IdlAclOptions
    clustering_algorithm = "bottom_up"
    takes_links = False
    assignment: Tensor

    def __init__(self, options: IdlAclOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        if options.instance_weight == 0 and options.cluster_weight == 0:
            raise ResightError("Both losses are left out: set method.instance_weight or method.cluster_weight above 0.")
        self.memory = ClusterMemory(options.momentum, "each")
        self.dim = encoder.dim
        register_state(self, "assignment", torch.empty(0, dtype=torch.int64))

    @classmethod
    def needs(cls, options: IdlAclOptions) -> Needs:
        """The instance loss compares two views of each crop. Without the cluster loss nothing is merged."""
        merges = bool(options.cluster_weight)
        return Needs(
            views=2 if options.instance_weight else 1,
            plain_view=bool(options.instance_weight) and options.first_view == "plain",
            cameras=("method.merge_cameras",) if merges and options.merge_cameras == "different" else (),
            settings=("clustering.centre_cameras", "clustering.search", "clustering.recall") if merges else (),
        )

    def plan(self, epoch: int) -> EpochPlan:
        """Features are needed when clusters are merged, and to start the first proxies as means."""
        means = epoch == 0 and bool(self.options.cluster_weight) and self.options.proxy_start == "means"
        return EpochPlan(embed=means or self._merges(epoch) > 0)

    def label(self, data: EpochData) -> PseudoLabels:
        """Merges clusters when a stage begins. Between, and without the cluster loss, the labels stay."""
        features, camera = data.features, data.table.camera
        if data.epoch == 0:
            self.assignment = torch.arange(len(data.table))
        labels = self.assignment.cpu().numpy()
        facts: dict[str, float] = {}
        sentences = []
        if merges := self._merges(data.epoch):
            options, clustering = self.options, self.clustering
            if clustering.centre_cameras:
                features = centre_by_camera(features, camera)
            found = merge_clusters(
                features,
                labels,
                merges,
                size_penalty=options.size_penalty,
                squared=options.squared_distance,
                camera=camera if options.merge_cameras == "different" else None,
                search=clustering.search,
                recall=clustering.recall,
                device=data.device,
            )
            labels = found.labels
            self.assignment = torch.from_numpy(labels)
            facts = {"merged": len(found.costs), "merge_distance": float(found.distances.max(initial=0.0))}
            if found.recall is not None:
                facts["neighbour_recall"] = found.recall
            sentences.append(f"{facts['merged']} merged up to a distance of {facts['merge_distance']:.3f}")
        sizes = np.bincount(labels)
        facts |= {"largest_cluster": int(sizes.max()), "singletons": int((sizes == 1).sum())}
        sentences.append(f"largest cluster {facts['largest_cluster']}")
        return PseudoLabels(labels, facts, sentences=tuple(sentences))

    def _merges(self, epoch: int) -> int:
        """Number of merges at the start of an epoch."""
        options = self.options
        since = epoch - options.first_epochs
        if since < 0 or since % options.stage_epochs or not options.cluster_weight or not len(self.assignment):
            return 0
        crops, clusters = len(self.assignment), int(self.assignment.max()) + 1
        target = options.clusters or math.ceil(crops / options.crops_per_person)
        return min(math.ceil(options.merge_share * crops), max(clusters - target, 0))

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        """When a stage begins the proxies start again; otherwise they go on as they are."""
        begins = self.options.cluster_weight > 0 and data.epoch == 0
        if self.options.proxy_start == "zeros" and (begins or len(data.features)):
            self.memory.centroids = torch.zeros(int(labels.max()) + 1, self.dim, device=labels.device)
        elif len(data.features):
            self.memory.reset(data.on_device(data.features), labels)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Equation 11. The cluster loss uses the first views, the instance loss both."""
        options, terms, first = self.options, {}, batch.views[0].embedding
        if options.instance_weight:
            terms["instance"] = options.instance_weight * instance_discrimination(
                first, batch.views[1].embedding, options.temperature, options.instance_form
            )
        if options.cluster_weight:
            terms["cluster"] = options.cluster_weight * cluster_contrast(
                first, self.memory.centroids, batch.labels, options.temperature
            )
        return terms

    def after_step(self, batch: Batch) -> None:
        if self.options.cluster_weight:
            self.memory.update(batch.features.embedding, batch.labels)
