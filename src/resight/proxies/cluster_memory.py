"""One proxy per cluster, moved by every batch: the memory of Cluster Contrast."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.proxies.state import register_state

UpdateRule = Literal["each", "hard", "mean"]


def cluster_means(features: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Mean feature of each cluster.

    Args:
        features: ``(N, D)`` features.
        labels: ``(N,)`` int64 clusters, 0…C−1; crops with label −1 are ignored.
        clusters: C.

    Returns:
        ``(C, D)`` means, not normalised; 0 for a cluster without crops.
    """
    inside = labels >= 0
    features, labels = features[inside], labels[inside]
    sums = features.new_zeros(clusters, features.shape[1]).index_add_(0, labels, features)
    return sums / torch.bincount(labels, minlength=clusters).clamp(min=1).unsqueeze(1)


def rank_within_cluster(labels: Tensor) -> Tensor:
    """``(B,)`` int64: for each crop of a batch, the number of crops of the same cluster before it."""
    order = torch.argsort(labels, stable=True)
    position = torch.arange(len(labels), device=labels.device)
    ordered = labels[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = torch.cummax(torch.where(starts, position, 0), dim=0).values
    return torch.empty_like(position).scatter_(0, order, position - first)


def _least(values: Tensor, groups: Tensor, count: int, empty: float) -> Tensor:
    """``(count,)`` least value of each group, or ``empty`` for a group without values."""
    return values.new_full((count,), empty).scatter_reduce(0, groups, values, "amin")


class ClusterMemory(nn.Module):
    """One L2-normalised proxy M_y for each cluster y, updated by M_y ← normalise(m·M_y + (1−m)·f).

    Source: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2021,
    https://arxiv.org/abs/2103.11568.

    Args:
        momentum: m, the share of the old proxy, 0…1.
        update: What f is. ``"each"``: each of the cluster's crops in the batch, one update after another. ``"hard"``:
            only the crop least similar to its proxy. ``"mean"``: the mean of the cluster's crops in the batch.

    Attributes:
        centroids: ``(C, D)`` float32 proxies, L2-normalised.
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
        """Sets each proxy to the normalised mean feature of its cluster when an epoch starts.

        Args:
            features: ``(N, D)`` features of all crops.
            labels: ``(N,)`` int64 clusters, 0…C−1; crops with label −1 are ignored.
        """
        self.centroids = F.normalize(cluster_means(features.float(), labels, int(labels.max()) + 1))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Moves the proxies of the clusters in a batch.

        With ``"each"`` the order of a cluster's crops matters, but not the order of clusters: the first crops of all
        clusters are applied together, then the second crops, and so on.

        Args:
            features: ``(B, D)`` L2-normalised features; no gradient flows into them.
            labels: ``(B,)`` int64 clusters, 0…C−1.
        """
        features = features.detach().to(self.centroids.dtype)
        if self.rule == "each":
            rank = rank_within_cluster(labels)
            for turn in range(int(rank.max()) + 1):
                now = rank == turn
                self._move(labels[now], features[now])
            return
        # The position of its first crop represents a cluster, and all its crops write the same value. So no shape
        # depends on the labels, and the CPU does not wait for a GPU.
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
