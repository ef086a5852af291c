"""Many proxies a cluster, each the feature of one of its crops."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resight.proxies.cluster_memory import rank_within_cluster


class InstanceMemory(nn.Module):
    """K instance proxies a cluster (DCMIP, Zou et al. 2023): drawn when an epoch begins, replaced batch by batch.

    Args:
        size: K.

    Attributes:
        proxies: ``(C, K, D)`` L2-normalised.
        oldest: ``(C,)`` which of a cluster's proxies is replaced next.
    """

    proxies: Tensor
    oldest: Tensor

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.size = size
        # Drawn from the features at each epoch's start, so no part of a checkpoint.
        self.register_buffer("proxies", torch.empty(0, size, 0), persistent=False)
        self.register_buffer("oldest", torch.empty(0, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def reset(self, features: Tensor, labels: Tensor) -> None:
        """Starts an epoch: K crops of each cluster at random, none twice; of fewer, all, as evenly repeated as can be.

        Args:
            features: ``(N, D)`` of all crops, L2-normalised.
            labels: ``(N,)`` int64 in −1…C−1; −1 is left out.
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
        """Puts each crop of a batch, in its order, in the place of its cluster's oldest proxy.

        So K crops or more of a cluster replace all its proxies, and the last K stay.

        Args:
            features: ``(B, D)`` L2-normalised.
            labels: ``(B,)`` int64.
        """
        position = torch.arange(len(labels), device=labels.device)
        slot = labels * self.size + (self.oldest[labels] + rank_within_cluster(labels)) % self.size
        # crops that share a slot all write what the last of them would, so that the order of writing is no matter
        last = position.new_zeros(len(self.oldest) * self.size).scatter_reduce(0, slot, position, "amax")[slot]
        self.proxies.view(-1, self.proxies.shape[2])[slot] = features.to(self.proxies.dtype)[last]
        self.oldest = self.oldest.index_add(0, labels, torch.ones_like(labels)) % self.size
