"""One proxy a cluster: the memory of Cluster Contrast."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.proxies.state import register_state

UpdateRule = Literal["each", "hard", "mean"]


def cluster_means(features: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """``(C, D)`` mean of the features of each cluster, not normalised; label −1 is left out."""
    inside = labels >= 0
    features, labels = features[inside], labels[inside]
    sums = features.new_zeros(clusters, features.shape[1]).index_add_(0, labels, features)
    return sums / torch.bincount(labels, minlength=clusters).clamp(min=1).unsqueeze(1)


def rank_within_cluster(labels: Tensor) -> Tensor:
    """For each crop of a batch, how many crops of its cluster stand before it: ``(B,)``."""
    order = torch.argsort(labels, stable=True)
    position = torch.arange(len(labels), device=labels.device)
    ordered = labels[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = torch.cummax(torch.where(starts, position, 0), dim=0).values
    return torch.empty_like(position).scatter_(0, order, position - first)


def _least(values: Tensor, groups: Tensor, count: int, empty: float) -> Tensor:
    """``(count,)`` least value of each group, ``empty`` for one without any."""
    return values.new_full((count,), empty).scatter_reduce(0, groups, values, "amin")


class ClusterMemory(nn.Module):
    """Memory M ∈ R^{C×D} of L2-normalised cluster proxies (Dai et al. 2021).

    Args:
        momentum: Share m of the old proxy that stays: M_y ← normalise(m·M_y + (1−m)·f).
        update: ``each``: every crop of the batch in turn; ``hard``: only the crop least similar to its proxy;
            ``mean``: the mean of the cluster's crops in the batch.
    """

    centroids: Tensor

    def __init__(self, momentum: float = 0.1, update: UpdateRule = "each") -> None:
        super().__init__()
        self.momentum = momentum
        self.rule = update
        register_state(self, "centroids", torch.empty(0, 0))

    def __len__(self) -> int:
        return len(self.centroids)

    @torch.no_grad()
    def reset(self, features: Tensor, labels: Tensor) -> None:
        """Starts an epoch: each proxy is the normalised mean feature of its cluster.

        Args:
            features: ``(N, D)`` of all crops.
            labels: ``(N,)`` int64 in −1…C−1.
        """
        self.centroids = F.normalize(cluster_means(features.float(), labels, int(labels.max()) + 1))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Moves the proxies of a batch's clusters.

        Order matters within a cluster and not across clusters, so ``each`` goes through a cluster's first crops
        at once, then through the second ones, and so on.

        Args:
            features: ``(B, D)`` L2-normalised.
            labels: ``(B,)`` int64.
        """
        features = features.detach().to(self.centroids.dtype)
        if self.rule == "each":
            rank = rank_within_cluster(labels)
            for turn in range(int(rank.max()) + 1):
                now = rank == turn
                self._move(labels[now], features[now])
            return
        # A cluster goes by the position of its first crop, and all its crops write the same: so no shape depends on the
        # labels, and a GPU need not be waited for.
        position = torch.arange(len(labels), device=labels.device)
        leader = _least(position, labels, len(self), len(labels))[labels]
        if self.rule == "mean":
            sums = torch.zeros_like(features).index_add_(0, leader, features)
            counts = torch.zeros_like(labels).index_add_(0, leader, torch.ones_like(labels))
            targets = (sums / counts.clamp(min=1).unsqueeze(1))[leader]
        else:
            similarity = (features * self.centroids[labels]).sum(1)
            least = _least(similarity, leader, len(labels), torch.inf)
            candidates = torch.where(similarity == least[leader], position, len(labels))
            targets = features[_least(candidates, leader, len(labels), len(labels))[leader]]
        self._move(labels, targets)

    def _move(self, clusters: Tensor, targets: Tensor) -> None:
        moved = self.momentum * self.centroids[clusters] + (1 - self.momentum) * targets
        self.centroids[clusters] = F.normalize(moved)
