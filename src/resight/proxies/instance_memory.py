"""Several proxies per cluster, each of them the feature of a crop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resight.proxies.cluster_memory import rank_within_cluster


class InstanceMemory(nn.Module):
    """K instance proxies per cluster, drawn when an epoch starts and replaced by the crops of each batch.

    Source: Zou et al., "Discrepant and Multi-Instance Proxies for Unsupervised Person Re-Identification" (DCMIP), ICCV
    2023, supplement, algorithm 1.

    Args:
        size: K, the number of proxies per cluster.

    Attributes:
        proxies: ``(C, K, D)`` float32, L2-normalised.
        oldest: ``(C,)`` int64 number of the proxy of each cluster that is replaced next.
    """

    proxies: Tensor
    oldest: Tensor

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.size = size
        # drawn from the features when an epoch starts, so checkpoints need not hold them
        self.register_buffer("proxies", torch.empty(0, size, 0), persistent=False)
        self.register_buffer("oldest", torch.empty(0, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def reset(self, features: Tensor, labels: Tensor) -> None:
        """Draws the proxies when an epoch starts: the features of K random crops of each cluster.

        No crop of a cluster with at least K crops is drawn twice. In a smaller cluster every crop is drawn, and numbers
        of draws differ by one at most.

        Args:
            features: ``(N, D)`` L2-normalised features of all crops.
            labels: ``(N,)`` int64 clusters, 0…C−1; crops with label −1 are ignored.
        """
        rows = torch.randperm(len(labels), device=labels.device)
        rows = rows[labels[rows] >= 0]
        rows = rows[torch.argsort(labels[rows], stable=True)]
        sizes = torch.bincount(labels[rows])
        places = torch.arange(self.size, device=labels.device) % sizes[:, None]
        self.proxies = features[rows[places + (sizes.cumsum(0) - sizes)[:, None]]].float()
        self.oldest = torch.zeros_like(sizes)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Replaces the oldest proxy of a crop's cluster by the crop's feature, crop by crop in the order of the batch.

        A cluster with K or more crops in the batch ends with the last K of them as its proxies.

        Args:
            features: ``(B, D)`` L2-normalised features; no gradient flows into them.
            labels: ``(B,)`` int64 clusters, 0…C−1.
        """
        position = torch.arange(len(labels), device=labels.device)
        slot = labels * self.size + (self.oldest[labels] + rank_within_cluster(labels)) % self.size
        # crops with the same slot all write the feature of the last of them, so the order of writing does not matter
        last = position.new_zeros(len(self.oldest) * self.size).scatter_reduce(0, slot, position, "amax")[slot]
        self.proxies.view(-1, self.proxies.shape[2])[slot] = features.to(self.proxies.dtype)[last]
        self.oldest = self.oldest.index_add(0, labels, torch.ones_like(labels)) % self.size
